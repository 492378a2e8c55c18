//! Where the servers are that tests use, and what can go wrong with them.

use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Why a test got no database or broker of its own.
#[derive(Debug, thiserror::Error)]
pub enum TestSupportError {
    #[error(
        "{0} is not set: run scripts/test, or start the servers with `eval \"$(scripts/test --services)\"`"
    )]
    NoServer(&'static str),

    #[error("{name} is no URL of such a server")]
    BadUrl { name: &'static str },

    #[error("PostgreSQL cannot {action}")]
    Database { action: String, source: tokio_postgres::Error },

    #[error("cannot read the migrations in {}", path.display())]
    Migrations { path: PathBuf, source: std::io::Error },

    #[error("RabbitMQ's management API cannot be asked to {action}")]
    Broker { action: String, source: reqwest::Error },
}

#[expect(clippy::disallowed_methods, reason = "tests are told by scripts/test, not by settings")]
pub(crate) fn server(name: &'static str) -> Result<String, TestSupportError> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or(TestSupportError::NoServer(name))
}

/// How long `drop` waits for its clean-up.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(1);

/// Runs clean-up from `drop`, on a thread of its own, whatever the test's runtime is doing. A failure is reported and
/// fails nothing: the servers are thrown away after the tests.
///
/// The wait for it is short. A test's runtime stands still while `drop` runs, and PostgreSQL drops no database while one of the
/// connections that this runtime was just opening has not said its password: the two would wait for each other for a minute.
pub(crate) fn clean_up<F>(what: String, work: F)
where
    F: Future<Output = Result<(), TestSupportError>> + Send + 'static,
{
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.map(|runtime| runtime.block_on(work)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("{what} was left behind: {error}"),
            Err(error) => eprintln!("{what} was left behind: {error}"),
        }
        // Nobody listens any more when it took too long.
        done.send(()).ok();
    });
    let _goes_on_without_us = is_done.recv_timeout(CLEAN_UP_PATIENCE);
}
