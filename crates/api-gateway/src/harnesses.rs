//! The harnesses that agents can name: the manifests in the harness folder.

pub mod list;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use platform_core::harness::{HarnessName, Manifest};
use platform_core::wire::InvalidField;

/// The harness of an agent that names none.
pub const DEFAULT_HARNESS: &str = "opencode";
const MANIFEST: &str = "harness.toml";

/// Every harness by its name, as the manifests said at the start.
#[derive(Debug, Clone, Default)]
pub struct Harnesses {
    manifests: BTreeMap<HarnessName, Manifest>,
}

/// The harness folder, or a manifest in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadHarnessesError {
    #[error("{path} cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a manifest")]
    Malformed { path: PathBuf, source: Box<toml::de::Error> },
}

impl Harnesses {
    /// Reads `<folder>/<name>/harness.toml` of each harness.
    pub fn load(folder: &Path) -> Result<Self, LoadHarnessesError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadHarnessesError::Unreadable { path, source }
        };
        let mut manifests = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path().join(MANIFEST);
            if !path.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let manifest: Manifest = toml::from_str(&text).map_err(|source| {
                LoadHarnessesError::Malformed { path, source: Box::new(source) }
            })?;
            manifests.insert(manifest.name.clone(), manifest);
        }
        Ok(Self { manifests })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// Refuses a harness that does not exist, with those that do.
    pub fn check(&self, name: &HarnessName) -> Result<(), InvalidField> {
        if self.manifests.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.manifests.keys().map(HarnessName::as_str).collect();
        let problem = format!("there is no harness {name}; there are: {}", names.join(", "));
        Err(InvalidField::new("harness", problem))
    }
}
