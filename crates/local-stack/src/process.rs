//! One process of the stack: its name, its identity, and how it is started.

mod identity;
mod name;
mod pid_files;
mod readiness;
mod specification;

pub(crate) use identity::ProcessIdentity;
pub use name::{Part, ProcessName};
pub(crate) use pid_files::PidFiles;
pub(crate) use readiness::{Prober, Readiness};
pub(crate) use specification::{ProcessSpecification, command};
