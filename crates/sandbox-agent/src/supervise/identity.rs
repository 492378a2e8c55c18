//! Who this sandbox is. Only `supervise` can read it.

use std::path::{Path, PathBuf};

use platform_core::id::SandboxId;
use platform_messaging::proto::link::Hello;
use serde::Deserialize;

/// Where it is written who this sandbox is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Papers {
    /// A JSON file with the sandbox's id and its token.
    #[arg(long)]
    identity: Option<PathBuf>,
    /// In a pod: the file with the token of its service account. It is read anew for each connection, because it is replaced as it ages.
    #[arg(long)]
    pod_token: Option<PathBuf>,
}

/// What proves to the platform who this sandbox is. Never logged: the type has no `Debug`.
pub(super) enum Identity {
    Given(Given),
    /// The platform finds out by the pod which sandbox it is.
    Pod {
        token_file: PathBuf,
    },
}

#[derive(Deserialize)]
pub(super) struct Given {
    sandbox_id: SandboxId,
    token: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Without the source: it would quote the file.
    #[error("{} does not hold a sandbox_id and a token", path.display())]
    Content { path: PathBuf },
}

impl Papers {
    pub(super) fn are_a_pod_s(&self) -> bool {
        self.pod_token.is_some()
    }
}

impl Identity {
    pub(super) fn read(papers: &Papers) -> Result<Self, IdentityError> {
        match papers {
            Papers { pod_token: Some(token_file), .. } => {
                Ok(Self::Pod { token_file: token_file.clone() })
            }
            Papers { identity, .. } => {
                let path = identity.clone().unwrap_or_default();
                let text = read(&path)?;
                let given = serde_json::from_str(&text);
                given.map(Self::Given).map_err(|_| IdentityError::Content { path })
            }
        }
    }

    /// A greeting that says who this is, and nothing else yet.
    pub(super) fn hello(&self) -> Result<Hello, IdentityError> {
        match self {
            Self::Given(Given { sandbox_id, token }) => Ok(Hello {
                sandbox_id: sandbox_id.uuid().to_string(),
                token: token.clone(),
                ..Hello::default()
            }),
            Self::Pod { token_file } => {
                let token = read(token_file)?;
                Ok(Hello { pod_token: token.trim().to_owned(), ..Hello::default() })
            }
        }
    }
}

fn read(path: &Path) -> Result<String, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(failed)
}
