//! `test-node`: the node as a command. `scripts/test-node` hands over to it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use test_node::{AGENT, HARNESS, NODE, Node, NodeDirectory, PROBE, Places, Progress};

/// Runs a Kubernetes node on this machine, for tests.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The clone of the repository
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    /// Where the node keeps its data [default: target/test-node in the clone]
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Where the clone's programs are built [default: where this program lies]
    #[arg(long, global = true, hide = true)]
    binaries: Option<PathBuf>,
    #[arg(long, global = true, env = "LAP_CACHE_DIR", hide = true)]
    cache_dir: Option<PathBuf>,
    #[arg(long, global = true, env = "XDG_CACHE_HOME", hide = true)]
    user_cache: Option<PathBuf>,
    #[arg(long, global = true, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    /// Seconds that the calling script has already taken
    #[arg(long, global = true, hide = true, default_value_t = 0)]
    elapsed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and fetch what the node needs, and start nothing
    Build,
    /// Start the node, or what is missing of it, and print the variables that tests read
    Up,
    /// Stop the node, and take away what it made on the machine
    Down {
        /// Remove what it knew, too
        #[arg(long)]
        purge: bool,
    },
    /// Show every part with its pid
    Status,
    /// Make the images again, and load those that have changed
    Images,
    /// Run kubectl towards the node
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let root = arguments.root.canonicalize().context("cannot find the clone")?;
    let path = arguments.data_dir.unwrap_or_else(|| root.join("target/test-node"));
    let progress = Progress::since(Duration::from_secs(arguments.elapsed));
    let cache = match (arguments.cache_dir, arguments.user_cache, arguments.home) {
        (Some(folder), _, _) => folder,
        (None, Some(caches), _) => caches.join("litellm-agent-platform"),
        (None, None, Some(home)) => home.join(".cache/litellm-agent-platform"),
        (None, None, None) => anyhow::bail!("name a folder for what is kept in LAP_CACHE_DIR"),
    };
    let own = std::env::current_exe().context("cannot find this program")?;
    let beside = own.parent().map(Path::to_path_buf).unwrap_or_default();
    let places = Places { root, binaries: arguments.binaries.unwrap_or(beside), cache };
    let open = |directory| Node::new(directory, places, progress);
    match arguments.command {
        Command::Build => Ok(open(NodeDirectory::create(&path)?).build()?),
        Command::Up => {
            let directory = NodeDirectory::create(&path)?;
            let kubeconfig = directory.kubeconfig();
            let node = open(directory);
            node.up()?;
            announce(&node, &kubeconfig)
        }
        Command::Down { purge } => match NodeDirectory::find(&path) {
            Some(directory) => Ok(open(directory).down(purge)?),
            None => Ok(()),
        },
        Command::Status => {
            let node = open(existing(&path)?);
            for (part, pid) in node.status() {
                let state =
                    pid.map_or_else(|| "does not run".to_owned(), |pid| format!("pid {pid}"));
                println!("{part:26}{state}");
            }
            Ok(())
        }
        Command::Images => Ok(open(existing(&path)?).images_again()?),
        Command::Kubectl { arguments } => {
            let mut kubectl = open(existing(&path)?).kubectl()?.command();
            Err(kubectl.args(arguments).exec()).context("cannot run kubectl")
        }
    }
}

fn existing(path: &Path) -> anyhow::Result<NodeDirectory> {
    let found = NodeDirectory::find(path);
    found.with_context(|| format!("no node in {}: scripts/test-node up starts one", path.display()))
}

/// For `eval`.
fn announce(node: &Node, kubeconfig: &Path) -> anyhow::Result<()> {
    let kubectl = node.kubectl()?.command().get_program().to_string_lossy().into_owned();
    println!("export KUBECONFIG='{}'", kubeconfig.display());
    println!("export LAP_TEST_NODE='{}'", kubeconfig.display());
    println!("export LAP_TEST_NODE_KUBECTL='{kubectl}'");
    println!("export LAP_NODE_ADDRESS='{NODE}'");
    println!("export LAP_AGENT_IMAGE='{AGENT}'");
    println!("export LAP_HARNESS_IMAGE='{HARNESS}'");
    println!("export LAP_PROBE_IMAGE='{PROBE}'");
    Ok(())
}
