//! Owns sandboxes: admission, backends, warm pools, and the links.

pub mod absences;
pub mod admission;
pub mod backend;
pub mod commands;
pub mod disk_limit;
pub mod egress;
pub mod ending;
pub mod figures;
pub mod hydrate;
pub mod leftovers;
pub mod link;
pub mod loops;
pub mod manifests;
pub mod models;
pub mod notes;
pub mod planted;
pub mod recovery;
pub mod reports;
pub mod service;
pub mod session_locks;
pub mod snapshots;
pub mod start;
pub mod tickets;
pub mod token;
pub mod warm_pool;
pub mod watch;
