//! Secrets that are made once and kept, and the addresses of the latest start: the file `.lap/env`.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use crate::data_directory::{DataDirectory, write_private};
use crate::dotenv;
use crate::failure::StackError;

const HEADER: &str = "# Made by scripts/up. Secrets are made once and kept; addresses change with each start.\n\
                      # What your environment or the repository's .env says wins over this file.\n";

/// The content of `.lap/env`.
pub(crate) struct Generated {
    variables: BTreeMap<String, String>,
}

impl Generated {
    pub(crate) fn load(data: &DataDirectory) -> Result<Self, StackError> {
        let path = data.environment_file();
        if !path.exists() {
            return Ok(Self { variables: BTreeMap::new() });
        }
        let text = fs::read_to_string(&path).map_err(StackError::file("read", &path))?;
        Ok(Self { variables: dotenv::parse(&text) })
    }

    pub(crate) fn save(&self, data: &DataDirectory) -> Result<(), StackError> {
        let text = format!("{HEADER}{}", dotenv::render(&self.variables));
        write_private(&data.environment_file(), &text)
    }

    /// Whether a caller's value only repeats this file: somebody sourced it before starting again.
    pub(crate) fn is_ours(&self, name: &str, value: &str) -> bool {
        self.variables.get(name).is_some_and(|kept| kept == value)
    }

    /// The kept secret, or a new one that is kept from now on.
    pub(crate) fn secret(&mut self, name: &str, make: fn() -> String) -> String {
        self.variables.entry(name.to_owned()).or_insert_with(make).clone()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.variables.remove(name);
    }
}

/// 256 random bits in letters that need no quoting in URLs and shells.
pub(crate) fn password() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

pub(crate) fn administrator_key() -> String {
    format!("lap_admin_{}", password())
}

pub(crate) fn gateway_key() -> String {
    format!("sk-lap-{}", password())
}

/// An AES-256 key.
pub(crate) fn encryption_key() -> String {
    BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::create(directory.path()).unwrap();
        let mut first = Generated::load(&data).unwrap();
        let key = first.secret("MASTER_KEY", administrator_key);
        first.save(&data).unwrap();

        let mut second = Generated::load(&data).unwrap();
        assert_eq!(second.secret("MASTER_KEY", administrator_key), key);
        assert!(second.is_ours("MASTER_KEY", &key));
        assert!(key.starts_with("lap_admin_") && key.len() >= 10 + 43);
    }
}
