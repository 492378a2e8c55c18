//! The form of a team's key: `lap_<16 that find it>_<43 that prove it>`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const PREFIX: &str = "lap";
const LOOKUP_BYTES: usize = 12;
const LOOKUP_CHARACTERS: usize = 16;

/// A key that was just made. Only its hash is kept.
pub struct NewKey {
    pub key: SecretString,
    /// The part that finds its row; useless by itself.
    pub lookup: String,
    pub hash: Vec<u8>,
}

impl NewKey {
    /// Twelve random bytes to look it up by, thirty-two to prove it.
    pub(super) fn generate() -> Self {
        let mut random = rand::rng();
        let (mut lookup, mut proof) = ([0_u8; LOOKUP_BYTES], [0_u8; 32]);
        random.fill_bytes(&mut lookup);
        random.fill_bytes(&mut proof);
        Self::of(lookup, proof)
    }

    /// The key that follows from `seed`, so that a repeated request is answered with the same key although none is kept. Nobody
    /// without `secret` can work it out.
    pub(super) fn derive(secret: &[u8], seed: &[u8]) -> Self {
        let part = |purpose: &[u8]| hmac_sha256(secret, &[purpose, seed].concat());
        let mut lookup = [0_u8; LOOKUP_BYTES];
        lookup.iter_mut().zip(part(b"lookup")).for_each(|(byte, derived)| *byte = derived);
        Self::of(lookup, part(b"proof"))
    }

    fn of(lookup: [u8; LOOKUP_BYTES], proof: [u8; 32]) -> Self {
        let lookup = URL_SAFE_NO_PAD.encode(lookup);
        let key =
            SecretString::from(format!("{PREFIX}_{lookup}_{}", URL_SAFE_NO_PAD.encode(proof)));
        let hash = hash(&key);
        Self { key, lookup, hash }
    }
}

/// The part of a presented key that finds its row, if the text has a key's form at all.
pub(super) fn lookup(key: &SecretString) -> Option<&str> {
    let rest = key.expose_secret().strip_prefix(PREFIX)?.strip_prefix('_')?;
    let (lookup, rest) = rest.split_at_checked(LOOKUP_CHARACTERS)?;
    rest.starts_with('_').then_some(lookup)
}

fn hmac_sha256(secret: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    Hmac::<Sha256>::new_from_slice(secret)
        .map_or([0; 32], |hmac| hmac.chain_update(message).finalize().into_bytes().into())
}

pub(super) fn hash(key: &SecretString) -> Vec<u8> {
    Sha256::digest(key.expose_secret()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_lookup_and_proved_by_its_hash() {
        let new = NewKey::generate();
        assert_eq!(lookup(&new.key), Some(new.lookup.as_str()));
        assert_eq!(hash(&new.key), new.hash);
        assert_eq!(new.key.expose_secret().len(), 4 + 16 + 1 + 43);
    }

    #[test]
    fn a_derived_key_is_the_same_for_the_same_secret_and_seed_only() {
        let key = |secret: &[u8], seed: &[u8]| {
            NewKey::derive(secret, seed).key.expose_secret().to_owned()
        };
        assert_eq!(key(b"secret", b"seed"), key(b"secret", b"seed"));
        assert_ne!(key(b"secret", b"seed"), key(b"secret", b"other"));
        assert_ne!(key(b"secret", b"seed"), key(b"other", b"seed"));
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_looked_up_nowhere() {
        for text in ["", "lap_", "lap_short_x", "sk-1234567890123456789012", "lap_ééééééééé_x"]
        {
            assert_eq!(lookup(&SecretString::from(text)), None, "{text}");
        }
    }
}
