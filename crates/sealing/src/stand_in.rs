//! Values that look like secrets and are none: placeholders that stand for a secret in one session, and honey values that stand for nothing.

use platform_core::id::SessionId;
use zeroize::Zeroizing;

use crate::key::{EncryptionKey, EncryptionKeys};

pub(crate) const ALPHANUMERIC: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl EncryptionKey {
    /// `length` letters and digits that stand for the variable `name` in this session: the same over its life, of no use in another.
    ///
    /// Each carries 5.95 bits, so that 22 have 128.
    pub fn placeholder(&self, session: SessionId, name: &str, length: usize) -> String {
        self.letters("placeholder", session, name, length, ALPHANUMERIC)
    }

    fn letters(
        &self,
        purpose: &'static str,
        session: SessionId,
        name: &str,
        length: usize,
        alphabet: &[u8],
    ) -> String {
        let mut text = String::with_capacity(length);
        for block in 0_u32.. {
            let uuid = session.uuid();
            let context = [uuid.as_bytes(), name.as_bytes(), &block.to_be_bytes()].concat();
            let bytes: Zeroizing<[u8; 32]> = self.derive(purpose, &context);
            // What would make some letters likelier than others is left out.
            let fair = 256 - 256 % alphabet.len();
            let letters = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
            for letter in letters {
                if text.len() == length {
                    return text;
                }
                if let Some(letter) = alphabet.get(letter % alphabet.len()) {
                    text.push(char::from(*letter));
                }
            }
        }
        text
    }
}

/// A planted value, and what it is planted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoneyValue {
    pub name: &'static str,
    pub value: String,
}

/// The values that are planted in a session's sandbox for nobody to use, under each of the keys: the current one's come first.
pub fn honey_values(keys: &EncryptionKeys, session: SessionId) -> Vec<HoneyValue> {
    let of_key = |key: &EncryptionKey| {
        let upper = |name: &str, length| key.letters("honey", session, name, length, UPPER);
        let any = |name: &str, length| key.letters("honey", session, name, length, ALPHANUMERIC);
        [
            HoneyValue { name: "aws_access_key_id", value: format!("AKIA{}", upper("id", 16)) },
            HoneyValue { name: "aws_secret_access_key", value: any("secret", 40) },
            HoneyValue { name: "backup_token", value: format!("bkp_{}", any("token", 40)) },
        ]
    };
    keys.all().flat_map(of_key).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn a_placeholder_is_its_session_s_and_its_variable_s_alone() {
        let key = EncryptionKey::new(&SecretString::from("a key of enough characters")).unwrap();
        let placeholder = key.placeholder(session(1), "A_TOKEN", 40);
        assert_eq!(placeholder.len(), 40);
        assert_eq!(placeholder, key.placeholder(session(1), "A_TOKEN", 40));
        assert_ne!(placeholder, key.placeholder(session(2), "A_TOKEN", 40));
        assert_ne!(placeholder, key.placeholder(session(1), "B_TOKEN", 40));
        assert_eq!(key.placeholder(session(1), "A_TOKEN", 300).len(), 300);
    }

    #[test]
    fn honey_values_are_shaped_like_what_they_pretend_to_be() {
        let keys = EncryptionKeys::new(&SecretString::from("a key of enough characters"), &[]);
        let honey = honey_values(&keys.unwrap(), session(1));
        let lengths: Vec<_> = honey.iter().map(|honey| honey.value.len()).collect();
        assert_eq!(lengths, [20, 40, 44]);
    }
}
