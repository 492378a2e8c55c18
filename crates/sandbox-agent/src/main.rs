//! The process beside the harness. One binary: `supervise` out of the harness's reach, `init` inside its room, `tools` for the harness.

mod clock;
mod frame;
mod init;
mod supervise;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

/// Runs a coding agent in a sandbox and keeps the journal of what it does.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What is written to standard error, as JSON lines: off, error, warn, info, debug, trace.
    #[arg(long, global = true, default_value = "info")]
    log_level: LevelFilter,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Holds the link, the token and the journal, and tells `init` what to run.
    Supervise(supervise::Settings),
    /// First process of the harness's room: runs what `supervise` asks for, forwards the way out.
    Init(init::Settings),
    /// Started by a harness: carries its calls of the client's tools to `init`, and so to `supervise`.
    Tools(tools::Settings),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_max_level(arguments.log_level)
        .init();
    match run(arguments.role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log's last line is what people are told when a sandbox ends by itself.
            tracing::error!(error = format!("{error:#}"), "sandbox-agent failed");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> anyhow::Result<()> {
    // Hundreds of these run on one machine: one thread, and small stacks for the few that block.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(256 * 1024)
        .build()?;
    match role {
        Role::Supervise(settings) => runtime.block_on(Box::pin(supervise::run(settings)))?,
        Role::Init(settings) => runtime.block_on(Box::pin(init::run(settings)))?,
        Role::Tools(settings) => runtime.block_on(tools::run(settings))?,
    }
    // A thread that still waits for the disk or for a name must not keep a stopped sandbox alive.
    runtime.shutdown_background();
    Ok(())
}
