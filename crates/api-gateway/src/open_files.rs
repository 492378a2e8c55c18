//! How many files the process may have open. Every connection is one, and many systems begin with 1,024.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Raises the limit as far as the system lets anybody.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(failure) = raised {
        warn!(%failure, "the limit of open files stays as it is, and with it that of connections");
    }
}
