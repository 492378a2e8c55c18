//! The whole platform as processes of one machine: what `scripts/up` runs, and what system tests and benchmarks start.
//!
//! A [`Stack`] lives in one data directory. Its pid files are the truth about what runs: every command
//! (`up`, `down`, `start`, `stop`) reads them, so any of them may come from another terminal.

mod cache;
mod caller;
mod data_directory;
mod detour;
mod dotenv;
mod failure;
mod generated;
mod parts;
mod plan;
mod port;
mod process;
mod progress;
mod sandboxes;
mod stack;
mod supervisor;

pub use caller::Caller;
pub use data_directory::DataDirectory;
pub use detour::Detour;
pub use failure::StackError;
pub use nix::sys::signal::Signal;
pub use process::{Part, ProcessName};
pub use progress::Progress;
pub use stack::{Stack, StackBuilder, StackEvent};
