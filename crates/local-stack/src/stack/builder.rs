//! Describes a stack before it is started.

use std::path::{Path, PathBuf};

use super::Stack;
use crate::caller::Caller;
use crate::detour::Detour;
use crate::failure::StackError;
use crate::plan::Request;
use crate::progress::Progress;

/// What to start, and where. Made by [`Stack::builder`].
#[derive(Debug, Clone)]
pub struct StackBuilder {
    pub(super) data_directory: PathBuf,
    pub(super) request: Request,
    pub(super) progress: Progress,
}

impl StackBuilder {
    /// A durable stack from this clone's own build, that listens where its caller says.
    pub(super) fn new(data_directory: PathBuf) -> Self {
        let request = Request {
            caller: Caller::bare(),
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            binaries: beside_this_program(),
            port: None,
            durable: true,
            only_database_and_broker: false,
            detours: Vec::new(),
        };
        Self { data_directory, request, progress: Progress::quiet() }
    }

    /// The clone whose harnesses are used.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.request.root = root.into();
        self
    }

    /// The public port. Zero chooses a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.request.port = Some(port);
        self
    }

    /// Replaces the caller, of which a fresh builder knows only PATH, HOME and the like.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        self.request.caller = caller;
        self
    }

    /// Adds to the caller's environment: `MASTER_KEY`, `LAP__…`, `LAP_REPLICAS`, `CONTAINER_ENV_…`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.request.caller.set(name, value);
        self
    }

    /// A database that forgets in a power cut, for tests.
    #[must_use]
    pub fn not_durable(mut self) -> Self {
        self.request.durable = false;
        self
    }

    /// PostgreSQL and RabbitMQ alone, with RabbitMQ's management API.
    #[must_use]
    pub fn only_database_and_broker(mut self) -> Self {
        self.request.only_database_and_broker = true;
        self
    }

    /// Lets a process reach its database or broker over somebody who can cut the way.
    #[must_use]
    pub fn detour(mut self, detour: Detour) -> Self {
        self.request.detours.push(detour);
        self
    }

    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Starts what is missing, and answers when all of it is ready.
    pub async fn start(self) -> Result<Stack, StackError> {
        Box::pin(Stack::start(self)).await
    }
}

/// Programs lie beside the one that asks; a test's program lies one folder deeper, in `deps`.
fn beside_this_program() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_path_buf()
    } else {
        folder.to_path_buf()
    }
}
