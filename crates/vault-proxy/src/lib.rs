//! The only way out of a sandbox. In this first form it leads to the model gateway and nowhere else.

pub mod commands;
pub mod door;
pub mod doors;
pub mod forward;
pub mod owner;
pub mod policy;
pub mod refusal;
pub mod replicas;
