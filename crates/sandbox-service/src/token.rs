//! The token by which a sandbox-agent proves on the link which sandbox it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A fresh token of 256 random bits, as text.
pub fn mint() -> SecretString {
    let bytes: [u8; 32] = rand::rng().random();
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// What is stored of a token. It has 256 random bits, so a slow hash would add nothing.
pub fn hash(token: &SecretString) -> Vec<u8> {
    hash_text(token.expose_secret())
}

/// Whether the token that was shown is the one whose hash was stored.
pub fn matches(shown: &str, stored: &[u8]) -> bool {
    hash_text(shown).ct_eq(stored).into()
}

fn hash_text(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_its_own_hash_alone() {
        let (ours, other) = (mint(), mint());
        assert_eq!(ours.expose_secret().len(), 43);
        assert!(matches(ours.expose_secret(), &hash(&ours)));
        assert!(!matches(other.expose_secret(), &hash(&ours)));
        assert!(!matches("", &hash(&ours)));
    }
}
