//! What a harness starts as the server of the client's tools: it understands nothing and only carries bytes, from standard input and
//! output to the socket of `init`, which carries them on to `supervise`.

use std::io;
use std::path::PathBuf;

use tokio::net::UnixStream;

#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The socket that `init` opened for this.
    #[arg(long)]
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{} cannot be reached", path.display())]
pub(crate) struct ToolsError {
    path: PathBuf,
    source: io::Error,
}

/// Runs until either side has nothing more to say.
pub(crate) async fn run(settings: Settings) -> Result<(), ToolsError> {
    let path = settings.socket;
    let failed = |source| ToolsError { path: path.clone(), source };
    let mut socket = UnixStream::connect(&path).await.map_err(failed)?;
    let (mut answers, mut requests) = socket.split();
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    tokio::select! {
        sent = tokio::io::copy(&mut input, &mut requests) => sent.map_err(failed)?,
        received = tokio::io::copy(&mut answers, &mut output) => received.map_err(failed)?,
    };
    Ok(())
}
