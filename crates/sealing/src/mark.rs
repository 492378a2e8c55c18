//! Marks at the ends of placeholders, by which each of this installation is known for one, and for whose, without a lookup.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use platform_core::id::SessionId;

use crate::key::{EncryptionKey, EncryptionKeys};
use crate::stand_in::ALPHANUMERIC;

/// What says that this installation made it: of as many texts as there are values of 35 bits one bears the right letters by chance.
const OF_INSTALLATION: usize = 6;
/// What says for which session.
const OF_SESSION: usize = 4;

/// Makes and knows marks.
pub struct Marks {
    /// Of the current key first.
    keys: Vec<MarkKeys>,
}

struct MarkKeys {
    of_installation: hmac::Key,
    of_session: hmac::Key,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Marks").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Marks {
    /// How many letters a mark has.
    pub const LETTERS: usize = OF_INSTALLATION + OF_SESSION;

    pub fn new(keys: &EncryptionKeys) -> Self {
        Self { keys: keys.all().map(MarkKeys::new).collect() }
    }

    /// Whether the text ends in a mark of this installation, made for any session.
    pub fn know(&self, text: &[u8]) -> bool {
        let Some((rest, mark)) = split(text) else { return false };
        let (of_installation, _) = mark.split_at(OF_INSTALLATION);
        self.keys.iter().any(|keys| {
            let expected: [u8; OF_INSTALLATION] = letters(&keys.of_installation, &[rest]);
            verify_slices_are_equal(&expected, of_installation).is_ok()
        })
    }

    /// Whether the mark of a text that is [known](Self::know) was made for this session.
    pub fn are_for(&self, session: SessionId, text: &[u8]) -> bool {
        let Some((rest, mark)) = split(text) else { return false };
        let (_, of_session) = mark.split_at(OF_INSTALLATION);
        self.keys.iter().any(|keys| {
            let expected = keys.of_session(session, rest);
            verify_slices_are_equal(&expected, of_session).is_ok()
        })
    }
}

impl MarkKeys {
    fn new(key: &EncryptionKey) -> Self {
        let made = |purpose| hmac::Key::new(hmac::HMAC_SHA256, &*key.derive(purpose, b""));
        Self { of_installation: made("placeholder-mark"), of_session: made("placeholder-session") }
    }

    fn of_session(&self, session: SessionId, text: &[u8]) -> [u8; OF_SESSION] {
        letters(&self.of_session, &[session.uuid().as_bytes(), text])
    }
}

impl EncryptionKey {
    /// The text with a mark behind it that only a holder of the key can make.
    pub fn marked(&self, session: SessionId, mut text: String) -> String {
        let keys = MarkKeys::new(self);
        let of_installation: [u8; OF_INSTALLATION] =
            letters(&keys.of_installation, &[text.as_bytes()]);
        let of_session = keys.of_session(session, text.as_bytes());
        text.extend(of_installation.into_iter().chain(of_session).map(char::from));
        text
    }
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.split_at_checked(text.len().checked_sub(Marks::LETTERS)?)
}

/// Some letters are a little likelier than others, which a mark can bear: it is no secret.
fn letters<const COUNT: usize>(key: &hmac::Key, parts: &[&[u8]]) -> [u8; COUNT] {
    let mut signing = hmac::Context::with_key(key);
    for part in parts {
        signing.update(part);
    }
    let tag = signing.sign();
    let mut letters = [b'0'; COUNT];
    for (letter, byte) in letters.iter_mut().zip(tag.as_ref()) {
        let place = usize::from(*byte) % ALPHANUMERIC.len();
        *letter = ALPHANUMERIC.get(place).copied().unwrap_or(*letter);
    }
    letters
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

    fn session(number: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(number))
    }

    const KEY: &str = "the first key of this platform";
    const NEXT: &str = "the key that comes after that";

    #[test]
    fn a_mark_tells_installation_and_session_and_bears_no_change() {
        let old = keys(KEY, &[]);
        let text = old.current().marked(session(1), "ghp_0123456789".to_owned());
        assert_eq!(text.len(), "ghp_0123456789".len() + Marks::LETTERS);
        for keys in [&old, &keys(NEXT, &[KEY])] {
            let marks = Marks::new(keys);
            assert!(marks.know(text.as_bytes()));
            assert!(marks.are_for(session(1), text.as_bytes()));
            assert!(!marks.are_for(session(2), text.as_bytes()));
        }
        assert!(!Marks::new(&keys(NEXT, &[])).know(text.as_bytes()));
        let marks = Marks::new(&old);
        for at in 0..text.len() - OF_SESSION {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            assert!(!marks.know(&changed), "{at}");
        }
        assert!(!marks.know(b"short"));
        assert!(!marks.know(b""));
    }
}
