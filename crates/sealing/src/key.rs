//! The platform's key, those that were before it, and the keys for one purpose each that are derived from them.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// A key that somebody could guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "ENCRYPTION_KEY has fewer than {LEAST_CHARACTERS} characters; take one from `openssl rand -base64 32`"
)]
pub struct WeakKey;

const LEAST_CHARACTERS: usize = 16;
const SALT: &[u8] = b"litellm-agent-platform/encryption/v1";

/// Names a key without telling anything of it: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// A stored one. Unknown names are no error: they name keys that are not here.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One key from which others are derived.
#[derive(Clone)]
pub struct EncryptionKey {
    id: KeyId,
    root: Zeroizing<[u8; 32]>,
}

impl EncryptionKey {
    /// Any text with enough characters; how it was encoded does not matter.
    pub fn new(text: &SecretString) -> Result<Self, WeakKey> {
        let text = text.expose_secret();
        if text.chars().count() < LEAST_CHARACTERS {
            return Err(WeakKey);
        }
        let root = expand(text.as_bytes(), &[b"root"]);
        let named = expand(&*root, &[b"id"]);
        let id = named.first_chunk::<8>().copied().map_or(0, u64::from_be_bytes);
        Ok(Self { id: KeyId(format!("{id:016x}")), root })
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// 32 bytes that only a holder of the key can know, for one purpose and one thing: HKDF-SHA256 (RFC 5869).
    ///
    /// `purpose` is a fixed word of the code. No two purposes begin alike and go on as another one's `context`, because the length of
    /// the purpose goes in as well.
    pub fn derive(&self, purpose: &'static str, context: &[u8]) -> Zeroizing<[u8; 32]> {
        let length = u8::try_from(purpose.len()).unwrap_or(u8::MAX).to_be_bytes();
        expand(&*self.root, &[b"derived", &length, purpose.as_bytes(), context])
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EncryptionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key under which values are sealed now, and those that some may still be sealed under.
#[derive(Debug, Clone)]
pub struct EncryptionKeys {
    current: EncryptionKey,
    previous: Vec<EncryptionKey>,
}

impl EncryptionKeys {
    pub fn new(current: &SecretString, previous: &[SecretString]) -> Result<Self, WeakKey> {
        let previous = previous.iter().map(EncryptionKey::new).collect::<Result<_, _>>()?;
        Ok(Self { current: EncryptionKey::new(current)?, previous })
    }

    pub fn current(&self) -> &EncryptionKey {
        &self.current
    }

    /// The current one first.
    pub fn all(&self) -> impl Iterator<Item = &EncryptionKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// The current one's first.
    pub fn ids(&self) -> Vec<String> {
        self.all().map(|key| key.id().to_string()).collect()
    }

    pub fn find(&self, id: &KeyId) -> Option<&EncryptionKey> {
        self.all().find(|key| key.id() == id)
    }
}

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

fn expand(secret: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    let derived = Salt::new(HKDF_SHA256, SALT).extract(secret);
    let filled = derived.expand(info, Length32).and_then(|okm| okm.fill(&mut *bytes));
    // HKDF-SHA256 gives up to 8160 bytes, so 32 are always given.
    debug_assert!(filled.is_ok(), "HKDF gave no 32 bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> EncryptionKey {
        EncryptionKey::new(&SecretString::from(text)).unwrap()
    }

    #[test]
    fn a_key_that_is_too_short_is_refused() {
        assert_eq!(EncryptionKey::new(&SecretString::from("short")).unwrap_err(), WeakKey);
    }

    #[test]
    fn what_is_derived_depends_on_key_purpose_and_context() {
        let (one, other) = (key("one key of many characters"), key("another one of the same sort"));
        assert_ne!(one.id(), other.id());
        let derived = one.derive("a", b"b");
        assert_eq!(derived, one.derive("a", b"b"));
        for different in [
            other.derive("a", b"b"),
            one.derive("ab", b""),
            one.derive("a", b"c"),
            one.derive("b", b"b"),
        ] {
            assert_ne!(derived, different);
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let shown = format!("{:?}", key("a secret that must not be seen"));
        assert!(!shown.contains("secret") && !shown.contains("root"), "{shown}");
    }
}
