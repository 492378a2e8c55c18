//! The manifests of the harnesses that this installation knows.

use std::fs;
use std::io;
use std::path::PathBuf;

use platform_core::harness::{HarnessName, Manifest};

/// The folder with a folder per harness. Read at each use, so that a changed manifest needs no restart.
#[derive(Debug, Clone)]
pub struct Manifests {
    folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("there is no harness named {0}")]
    Unknown(HarnessName),
    #[error("the manifest of the harness {name} cannot be read")]
    Read { name: HarnessName, source: io::Error },
    #[error("the manifest of the harness {name} is not valid")]
    Invalid { name: HarnessName, source: Box<toml::de::Error> },
}

impl Manifests {
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn find(&self, name: &HarnessName) -> Result<Manifest, ManifestError> {
        let path = self.folder.join(name.as_str()).join("harness.toml");
        let text = fs::read_to_string(path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                ManifestError::Unknown(name.clone())
            } else {
                ManifestError::Read { name: name.clone(), source }
            }
        })?;
        toml::from_str(&text)
            .map_err(|source| ManifestError::Invalid { name: name.clone(), source: source.into() })
    }
}
