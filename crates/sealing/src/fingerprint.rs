//! Recognises secrets in text without knowing them, so that they can be taken out before the text is stored.
//!
//! A fingerprint is a keyed rolling hash of a secret's first bytes, by which candidates are found in one pass over the text however many
//! secrets there are, and an HMAC of the whole secret, by which a candidate is known for certain. Neither tells anything to whoever lacks
//! the key.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::key::{EncryptionKey, EncryptionKeys, KeyId};

/// The first bytes that are hashed. Shorter secrets are not recognised: they would be found everywhere.
const HEAD: usize = 8;
const MODULUS: u64 = (1 << 61) - 1;
const DIGEST_BYTES: usize = 16;

/// By what a secret is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    pub key: KeyId,
    /// In bytes.
    pub length: u32,
    pub head: i64,
    pub digest: Vec<u8>,
}

impl EncryptionKey {
    /// `None` for a value that is too short to be recognised.
    pub fn fingerprint(&self, value: &[u8]) -> Option<Fingerprint> {
        let head = value.get(..HEAD)?;
        let length = u32::try_from(value.len()).ok()?;
        let head = i64::try_from(hash(self.base(), head)).ok()?;
        Some(Fingerprint { key: self.id().clone(), length, head, digest: self.digest(value) })
    }

    /// The base of the rolling hash: a number that nobody without the key can know.
    fn base(&self) -> u64 {
        let derived = self.derive("fingerprint-head", b"");
        let bytes = derived.first_chunk::<8>().copied().unwrap_or_default();
        u64::from_be_bytes(bytes) % (MODULUS - 512) + 256
    }

    fn digest(&self, value: &[u8]) -> Vec<u8> {
        let derived = self.derive("fingerprint", b"");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*derived);
        hmac::sign(&key, value).as_ref().iter().copied().take(DIGEST_BYTES).collect()
    }
}

/// Takes known secrets out of text.
#[derive(Debug, Default)]
pub struct Redactor {
    /// One for each key under which there are fingerprints.
    searches: Vec<Search>,
}

struct Search {
    key: EncryptionKey,
    base: u64,
    /// `base` to the power of `HEAD - 1`: what the byte that leaves the window counts.
    leaving: u64,
    by_head: BTreeMap<u64, Vec<Known>>,
}

struct Known {
    name: String,
    length: usize,
    digest: Vec<u8>,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Search").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A text without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub text: String,
    /// How many were taken out.
    pub count: usize,
}

impl Redactor {
    /// Fingerprints under keys that are not here are left out: nothing can be recognised by them.
    pub fn new(
        keys: &EncryptionKeys,
        known: impl IntoIterator<Item = (String, Fingerprint)>,
    ) -> Self {
        let mut searches: BTreeMap<KeyId, Search> = BTreeMap::new();
        for (name, fingerprint) in known {
            let Some(key) = keys.find(&fingerprint.key) else { continue };
            let (Ok(head), Ok(length)) =
                (u64::try_from(fingerprint.head), usize::try_from(fingerprint.length))
            else {
                continue;
            };
            let search = searches.entry(key.id().clone()).or_insert_with(|| Search::new(key));
            let digest = fingerprint.digest;
            search.by_head.entry(head).or_default().push(Known { name, length, digest });
        }
        Self { searches: searches.into_values().collect() }
    }

    pub fn knows_nothing(&self) -> bool {
        self.searches.is_empty()
    }

    /// The text with `[redacted: NAME]` in the place of each known secret. `None`: there was none.
    pub fn redact(&self, text: &str) -> Option<Redacted> {
        let mut found: Vec<(usize, usize, &str)> =
            self.searches.iter().flat_map(|search| search.find(text.as_bytes())).collect();
        // The longest of those that begin at one place, then only what does not overlap.
        found.sort_unstable_by_key(|(start, length, _)| (*start, usize::MAX - length));
        let mut redacted = Redacted { text: String::with_capacity(text.len()), count: 0 };
        let mut done = 0;
        for (start, length, name) in found {
            let (Some(before), true) =
                (text.get(done..start), text.is_char_boundary(start + length))
            else {
                continue;
            };
            redacted.text.push_str(before);
            redacted.text.push_str("[redacted: ");
            redacted.text.push_str(name);
            redacted.text.push(']');
            redacted.count += 1;
            done = start + length;
        }
        if redacted.count == 0 {
            return None;
        }
        redacted.text.push_str(text.get(done..).unwrap_or_default());
        Some(redacted)
    }
}

impl Search {
    fn new(key: &EncryptionKey) -> Self {
        let base = key.base();
        let leaving = (1..HEAD).fold(1, |power, _| multiply(power, base));
        Self { key: key.clone(), base, leaving, by_head: BTreeMap::new() }
    }

    /// Start, length and name of every known secret in the text.
    fn find<'a>(&'a self, text: &[u8]) -> Vec<(usize, usize, &'a str)> {
        let mut found = Vec::new();
        let Some(first) = text.get(..HEAD) else { return found };
        let mut value = hash(self.base, first);
        let entering = text.iter().skip(HEAD).map(Some).chain([None]);
        for (start, (leaving, entering)) in text.iter().zip(entering).enumerate() {
            for known in self.by_head.get(&value).into_iter().flatten() {
                let candidate = text.get(start..start + known.length);
                if candidate.is_some_and(|candidate| self.is(known, candidate)) {
                    found.push((start, known.length, known.name.as_str()));
                }
            }
            let Some(entering) = entering else { break };
            let without = value + MODULUS - multiply(u64::from(*leaving) + 1, self.leaving);
            value = (multiply(without % MODULUS, self.base) + u64::from(*entering) + 1) % MODULUS;
        }
        found
    }

    fn is(&self, known: &Known, candidate: &[u8]) -> bool {
        verify_slices_are_equal(&self.key.digest(candidate), &known.digest).is_ok()
    }
}

fn hash(base: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (multiply(value, base) + u64::from(*byte) + 1) % MODULUS)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder of a number of 61 bits has 61 bits"
)]
fn multiply(one: u64, other: u64) -> u64 {
    (u128::from(one) * u128::from(other) % u128::from(MODULUS)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;

    fn keys() -> EncryptionKeys {
        EncryptionKeys::new(&SecretString::from("a key of enough characters"), &[]).unwrap()
    }

    fn redactor(secrets: &[&str]) -> Redactor {
        let keys = keys();
        let prints = secrets.iter().map(|s| keys.current().fingerprint(s.as_bytes()).unwrap());
        Redactor::new(&keys, prints.map(|print| ("NAME".to_owned(), print)))
    }

    #[test]
    fn every_known_secret_is_taken_out() {
        let redactor = redactor(&["ghp_0123456789", "ghp_0123999999", "päßwörter"]);
        let redacted = redactor.redact("ghp_0123456789 aghp_0123999999päßwörter ghp_0123").unwrap();
        assert_eq!(redacted.text, "[redacted: NAME] a[redacted: NAME][redacted: NAME] ghp_0123");
        assert_eq!(redacted.count, 3);
        assert_eq!(redactor.redact("ghp_012345678"), None);
        assert_eq!(redactor.redact(""), None);
    }

    #[test]
    fn of_secrets_within_each_other_the_longest_is_taken_out() {
        let redactor = redactor(&["12345678", "123456789abc"]);
        assert_eq!(redactor.redact("x123456789abcx").unwrap().text, "x[redacted: NAME]x");
    }

    #[test]
    fn a_secret_that_is_too_short_has_no_fingerprint() {
        assert_eq!(keys().current().fingerprint(b"1234567"), None);
    }

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_it_stands(before in ".{0,40}", after in ".{0,40}") {
            let secret = "s3cr3t-value-ö";
            let text = format!("{before}{secret}{after}");
            let redacted = redactor(&[secret]).redact(&text).unwrap();
            prop_assert_eq!(redacted.text, format!("{before}[redacted: NAME]{after}"));
        }
    }
}
