//! What `scripts/bench` is asked to measure.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
#[command(about = "Measures the platform against what it is compared with, in one run.")]
pub struct Arguments {
    /// What to measure; everything, when nothing is named.
    groups: Vec<Group>,
    /// The peer of `proxy`; `scripts/bench` installs it.
    #[arg(long, env = "LAP_MITMDUMP", default_value = "mitmdump")]
    pub mitmdump: PathBuf,
}

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// From the creation of a session until it is ready.
    Starts,
    /// From the message to a session at rest until the first word of the answer.
    Resume,
    /// From the model's word to the client.
    Tokens,
    /// One message after the other made durable.
    Appends,
    /// Appends and words beside thousands of sessions at rest.
    Idle,
    /// Two hundred sessions' journals at once.
    Journals,
    /// Pages of lists with a hundred thousand entries.
    Pages,
    /// The memory that a thousand open event streams take.
    Streams,
    /// What vault-proxy adds to requests and takes from transfers.
    Proxy,
    /// The silence after something was killed.
    Recovery,
}

impl Arguments {
    pub fn wants(&self, group: Group) -> bool {
        self.groups.is_empty() || self.groups.contains(&group)
    }
}
