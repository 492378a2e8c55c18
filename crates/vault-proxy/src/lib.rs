//! The only way out of a sandbox.

pub mod commands;
pub mod door;
pub mod doors;
pub mod gate;
pub mod model;
pub mod proxy;
pub mod refusal;
pub mod replicas;
pub mod rules;
pub mod secrets;
