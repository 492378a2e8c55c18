//! The process beside the harness. One binary: `supervise` out of the harness's reach, `init` inside its room, `tools` for the harness,
//! and what a pod does before both and asks of them.

mod clock;
mod frame;
mod init;
mod pod;
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
    /// Copies this program into a folder that the containers of a pod share.
    Install(pod::Installation),
    /// Makes the folders of a pod's volume and the file of what its harness's room trusts.
    PreparePod(pod::Preparation),
    /// Ends well if `supervise` of this container has its link.
    IsLinked(pod::Probe),
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
    match role {
        Role::Supervise(settings) => until_over(Box::pin(supervise::run(settings)))?,
        Role::Init(settings) => until_over(Box::pin(init::run(settings)))?,
        Role::Tools(settings) => until_over(tools::run(settings))?,
        Role::Install(settings) => pod::install(&settings)?,
        Role::PreparePod(settings) => pod::prepare(&settings)?,
        Role::IsLinked(settings) => pod::answer(&settings)?,
    }
    Ok(())
}

fn until_over<E>(role: impl Future<Output = Result<(), E>>) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    // Hundreds of these run on one machine: one thread, and small stacks for the few that block.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(256 * 1024)
        .build()?;
    let outcome = runtime.block_on(role);
    // A thread that still waits for the disk or for a name must not keep a stopped sandbox alive.
    runtime.shutdown_background();
    Ok(outcome?)
}
