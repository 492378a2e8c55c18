//! `local-stack`: the stack as a command. `scripts/up`, `scripts/down` and `scripts/test` hand over to it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use local_stack::{Caller, ProcessName, Progress, Stack};

mod commands;

/// Runs the whole platform on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The clone of the repository
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    /// Where the stack keeps its data [default: LAP_DATA_DIR, or .lap in the clone]
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Seconds that the calling script has already taken
    #[arg(long, global = true, hide = true, default_value_t = 0)]
    elapsed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the stack, or what is missing of it, and stay until Ctrl-C
    Up {
        /// Return once everything is ready
        #[arg(long)]
        detach: bool,
        /// Use nothing of the caller's settings, choose every port, and do without durability
        #[arg(long)]
        for_tests: bool,
    },
    /// Stop the stack
    Down {
        /// Remove its data, too
        #[arg(long)]
        purge: bool,
    },
    /// Start one process of a running stack, with the environment of the others
    Start {
        service: String,
        /// Which replica; a number that does not exist yet adds one
        replica: Option<u32>,
    },
    /// Stop one process of a running stack
    Stop { service: String, replica: Option<u32> },
    /// Show every process with its port and pid
    Status,
    /// Start PostgreSQL and RabbitMQ for tests, and print the variables that tests read
    TestServices,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let root = arguments.root.canonicalize().context("cannot find the clone")?;
    let caller = Caller::of_this_process(&root);
    let data = arguments
        .data_dir
        .or_else(|| caller.get("LAP_DATA_DIR").map(PathBuf::from))
        .unwrap_or_else(|| root.join(".lap"));
    let progress = Progress::since(Duration::from_secs(arguments.elapsed));
    match arguments.command {
        Command::Up { detach, for_tests } => {
            let builder = Stack::builder(&data).root(root).progress(progress);
            let builder =
                if for_tests { builder.port(0).not_durable() } else { builder.caller(caller) };
            commands::up(builder, detach, progress).await
        }
        Command::Down { purge } => commands::down(&data, purge, progress).await,
        Command::Start { service, replica } => {
            let mut stack = Stack::attach(&data, progress)?;
            stack.start_process(named(&service, replica)?).await?;
            stack.leave_running();
            Ok(())
        }
        Command::Stop { service, replica } => {
            let stack = Stack::attach(&data, progress)?;
            Ok(stack.stop_process(named(&service, replica)?).await?)
        }
        Command::Status => {
            commands::status(&Stack::attach(&data, progress)?);
            Ok(())
        }
        Command::TestServices => commands::test_services(&data, progress).await,
    }
}

fn named(service: &str, replica: Option<u32>) -> anyhow::Result<ProcessName> {
    let name: ProcessName = service.parse()?;
    Ok(replica.map_or(Ok(name), |replica| ProcessName::replica(name.part(), replica))?)
}
