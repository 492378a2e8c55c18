//! A real Kubernetes node on a bare machine, for tests: without Docker, without a registry.

mod access;
mod address;
mod cache;
mod command;
mod directory;
mod failure;
mod images;
mod kubectl;
mod machine;
mod network;
mod node;
mod parts;
mod process;
mod programs;
mod progress;
mod remains;

pub use address::{API_PORT, BRIDGE, NODE};
pub use cache::Cache;
pub use directory::NodeDirectory;
pub use failure::NodeError;
pub use images::{AGENT, HARNESS, PROBE};
pub use kubectl::Kubectl;
pub use node::{Node, Places};
pub use progress::Progress;
