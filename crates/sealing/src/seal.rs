//! Values at rest: AES-256-GCM under a key of their own, bound to the team and the secret that they belong to.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use platform_core::id::{SecretId, TeamId};
use zeroize::Zeroizing;

use crate::key::{EncryptionKey, EncryptionKeys, KeyId};

/// What a sealed value belongs to. Under another binding it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub team: TeamId,
    pub secret: SecretId,
}

/// A value that only a holder of the key can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub key: KeyId,
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value could not be sealed")]
pub struct SealError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "it is sealed under key {0}, which is neither ENCRYPTION_KEY nor among ENCRYPTION_KEY_PREVIOUS"
    )]
    UnknownKey(KeyId),
    #[error("it was changed, or belongs to another team or secret")]
    NotAuthentic,
}

const PURPOSE: &str = "secret";
const DOMAIN: &[u8] = b"secret/v1";

impl EncryptionKeys {
    /// Seals under the current key.
    pub fn seal(&self, binding: Binding, value: &[u8]) -> Result<Sealed, SealError> {
        let key = self.current();
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_unspecified| SealError)?;
        // Encrypted where it lies, so that no copy of the value is left behind.
        let mut text = Vec::with_capacity(value.len() + 16);
        text.extend_from_slice(value);
        let cipher = cipher(key, binding).ok_or(SealError)?;
        let (sealed_nonce, aad) = (Nonce::assume_unique_for_key(nonce), associated(binding));
        cipher
            .seal_in_place_append_tag(sealed_nonce, Aad::from(aad), &mut text)
            .map_err(|_unspecified| SealError)?;
        let mut bytes = Vec::with_capacity(NONCE_LEN + text.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&text);
        Ok(Sealed { key: key.id().clone(), bytes })
    }

    /// Opens what was sealed under any of the keys.
    pub fn open(&self, binding: Binding, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let key =
            self.find(&sealed.key).ok_or_else(|| OpenError::UnknownKey(sealed.key.clone()))?;
        let (nonce, text) =
            sealed.bytes.split_at_checked(NONCE_LEN).ok_or(OpenError::NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::NotAuthentic)?;
        let cipher = cipher(key, binding).ok_or(OpenError::NotAuthentic)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = cipher
            .open_in_place(nonce, Aad::from(associated(binding)), &mut text)
            .map_err(|_unspecified| OpenError::NotAuthentic)?
            .len();
        text.truncate(opened);
        Ok(text)
    }
}

/// A key for each secret, so that random nonces can never meet.
fn cipher(key: &EncryptionKey, binding: Binding) -> Option<LessSafeKey> {
    let derived = key.derive(PURPOSE, &associated(binding));
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*derived).ok()?))
}

fn associated(binding: Binding) -> Vec<u8> {
    let (team, secret) = (binding.team.uuid(), binding.secret.uuid());
    [DOMAIN, team.as_bytes(), secret.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;

    fn keys(current: &str, previous: &[&str]) -> EncryptionKeys {
        let previous: Vec<_> = previous.iter().map(|&key| SecretString::from(key)).collect();
        EncryptionKeys::new(&SecretString::from(current), &previous).unwrap()
    }

    fn binding(team: u128, secret: u128) -> Binding {
        Binding {
            team: TeamId::from_uuid(Uuid::from_u128(team)),
            secret: SecretId::from_uuid(Uuid::from_u128(secret)),
        }
    }

    const KEY: &str = "the first key of this platform";
    const NEXT: &str = "the key that comes after that";

    #[test]
    fn a_value_opens_where_it_belongs_and_nowhere_else() {
        let keys = keys(KEY, &[]);
        let sealed = keys.seal(binding(1, 1), b"value").unwrap();
        assert_eq!(keys.open(binding(1, 1), &sealed).unwrap().as_slice(), b"value");
        for other in [binding(2, 1), binding(1, 2)] {
            assert_eq!(keys.open(other, &sealed), Err(OpenError::NotAuthentic));
        }
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(keys.open(binding(1, 1), &changed), Err(OpenError::NotAuthentic));
        }
        let short = Sealed { bytes: vec![0; 5], ..sealed };
        assert_eq!(keys.open(binding(1, 1), &short), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let keys = keys(KEY, &[]);
        let seal = || keys.seal(binding(1, 1), b"value").unwrap().bytes;
        assert_ne!(seal(), seal());
    }

    #[test]
    fn after_a_rotation_old_values_open_and_new_ones_are_under_the_new_key() {
        let old = keys(KEY, &[]);
        let sealed = old.seal(binding(1, 1), b"value").unwrap();
        let both = keys(NEXT, &[KEY]);
        assert_eq!(both.open(binding(1, 1), &sealed).unwrap().as_slice(), b"value");
        assert_eq!(&both.seal(binding(1, 1), b"value").unwrap().key, both.current().id());
        let unknown = keys(NEXT, &[]).open(binding(1, 1), &sealed).unwrap_err();
        assert_eq!(unknown, OpenError::UnknownKey(old.current().id().clone()));
    }
}
