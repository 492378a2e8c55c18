//! Who this sandbox is. Only `supervise` can read it.

use std::path::{Path, PathBuf};

use platform_core::id::SandboxId;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Identity {
    pub(super) sandbox_id: SandboxId,
    /// Proves it to the platform. Never logged: the type has no `Debug`.
    pub(super) token: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Without the source: it would quote the file.
    #[error("{} does not hold a sandbox_id and a token", path.display())]
    Content { path: PathBuf },
}

impl Identity {
    pub(super) fn read(path: &Path) -> Result<Self, IdentityError> {
        let path = path.to_owned();
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| IdentityError::Content { path })
            }
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }
}
