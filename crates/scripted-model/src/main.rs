//! Serves the scripted demo model until it is told to stop.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use scripted_model::{
    request_log::RequestLog,
    server::{self, ScriptedModel},
};

/// The demo model: a script and not a language model.
///
/// It speaks /v1/chat/completions, /v1/responses and /v1/messages and does what the newest user
/// message spells out: `@say`, `@run`, `@write`, `@tool`, `@recall`, `@stream`, `@sleep`, `@fail`,
/// `@hang`, one a line. Send it any other text, with a list of tools, and it explains them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 lets the system choose, and the log names it.
    #[arg(long, default_value = "127.0.0.1:4199")]
    listen: SocketAddr,
    /// Appends one JSON line for each model request: time, path, model, tool names, size, script.
    #[arg(long, value_name = "FILE.jsonl")]
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().flatten_event(true).init();
    let log = arguments
        .log
        .map(|path| {
            RequestLog::open(&path).with_context(|| format!("cannot open {}", path.display()))
        })
        .transpose()?;
    let (server, address) = server::listen(arguments.listen, ScriptedModel::new(log))
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    tracing::info!(
        address = %address,
        "scripted demo model is listening: its answers come from a script, it is no language model"
    );
    server.await.context("the server stopped")
}
