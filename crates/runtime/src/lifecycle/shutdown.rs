//! The wish that the process end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Tells everybody in the process that it is to end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn request(&self) {
        self.token.cancel();
    }

    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The same wish in the form that libraries take.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// From now on SIGTERM and SIGINT request the shutdown; a second one ends the process at once.
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = self.token.clone();
        tokio::spawn(async move {
            for is_first in [true, false] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if is_first {
                    info!(signal = name, "asked to end");
                    token.cancel();
                } else {
                    warn!(signal = name, "asked to end again: ending at once");
                    std::process::exit(1);
                }
            }
        });
        Ok(())
    }
}
