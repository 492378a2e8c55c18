//! A secret as a request carries it: never shown, and wiped from memory when it is dropped.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::id::SecretId;
use crate::wire::InvalidField;

const MAX_BYTES: usize = 64 * 1024;

#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretText(SecretString);

impl SecretText {
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// 1 byte to 64 KiB of anything but U+0000, which neither an environment nor a request can carry.
    pub fn check(&self, field: &str) -> Result<(), InvalidField> {
        let text = self.expose();
        if text.is_empty() || text.len() > MAX_BYTES {
            let problem = format!("1 to {MAX_BYTES} bytes are needed, {} were sent", text.len());
            return Err(InvalidField::new(field, problem));
        }
        if text.contains('\0') {
            return Err(InvalidField::new(field, "a secret cannot contain U+0000"));
        }
        Ok(())
    }

    /// As [`SecretText::check`], for what stands in headers: servers cut spaces off, and a line break would begin another header.
    pub fn check_for_header(&self, field: &str) -> Result<(), InvalidField> {
        self.check(field)?;
        let text = self.expose();
        let fault = if text.ends_with(['\r', '\n']) {
            "it ends with a line break, which a header cannot carry; send the value without it"
        } else if text.chars().any(char::is_control) {
            "it has line breaks or other control characters, which a header cannot carry"
        } else if text.trim() != text {
            "it begins or ends with a space, which a header cannot carry"
        } else {
            return Ok(());
        };
        Err(InvalidField::new(field, fault))
    }

    /// As [`SecretText::check_for_header`], for `Authorization: Bearer`.
    pub fn check_for_bearer(&self, field: &str) -> Result<(), InvalidField> {
        self.check_for_header(field)?;
        if self.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        let problem = "a token consists of letters, digits and ASCII signs, without spaces; send it without \"Bearer\"";
        Err(InvalidField::new(field, problem))
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText")
    }
}

/// A secret that is about to be sealed and stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSecret {
    pub id: SecretId,
    /// What stands in its place where it is taken out of a text.
    pub name: String,
    pub value: SecretText,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let text = SecretText::from(text.to_owned());
        text.check_for_bearer("token").unwrap_err().problem
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused_without_repeating_it() {
        assert!(fault("sesame\n").contains("line break"));
        assert!(fault("ses\r\namex: y").contains("control"));
        assert!(fault(" sesame").contains("space"));
        assert!(fault("Bearer sesame").contains("without \"Bearer\""));
        assert!(fault("").contains("1 to 65536 bytes"));
        assert!(fault(&"s".repeat(65_537)).contains("65537 were sent"));
        for text in ["sesame\n", "a\0sesame", " sesame", "Bearer sesame", "sesame\u{e9}"] {
            assert!(!fault(text).contains("sesame"), "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let new = NewSecret {
            id: SecretId::from_uuid(uuid::Uuid::nil()),
            name: "TOKEN".to_owned(),
            value: SecretText::from("sesame".to_owned()),
        };
        assert!(!format!("{new:?}").contains("sesame"));
    }
}
