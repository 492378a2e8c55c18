//! Parsers that read what a sandbox, a harness or a model sends, as functions from bytes that may never panic.
//!
//! `cargo test -p fuzz` gives each of them its kept inputs and, for a moment, variations of those. `scripts/fuzz TARGET` searches with the
//! guidance of coverage for as long as it is told. What is found goes into `seeds/TARGET/`, so that it is tried for ever after.

mod ids;
pub mod mutation;
mod targets;

/// What sandbox-agent does with a harness's words, compiled from its sources: it is a program and offers no library.
#[path = "../../sandbox-agent/src/supervise"]
#[allow(
    dead_code,
    unused_imports,
    reason = "compiled as it is there, where the rest of it is used"
)]
mod supervise {
    mod acp;
    mod policy;
    mod translate;

    #[path = "../../../fuzz/src/harness_side/room.rs"]
    mod room;
    #[path = "../../../fuzz/src/harness_side/turn.rs"]
    pub(crate) mod turn;
}

/// How `init` answers questions about names, compiled from the same program's sources.
#[path = "../../sandbox-agent/src/init"]
#[allow(
    dead_code,
    unused_imports,
    reason = "compiled as it is there, where the rest of it is used"
)]
mod init {
    pub(crate) mod outside {
        mod names;
        mod question;

        #[path = "../../../../fuzz/src/room_side/names_asked.rs"]
        pub(crate) mod target;
    }
}

use std::io;
use std::path::{Path, PathBuf};

/// A parser, and what has to hold for whatever it is given.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the name of its folder in `seeds`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub check: fn(&[u8]),
    /// Pieces of which interesting inputs are made.
    pub words: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    targets::acp_lines::TARGET,
    targets::chat_bodies::TARGET,
    targets::cursors::TARGET,
    targets::journal_entries::TARGET,
    targets::link_frames::TARGET,
    targets::model_answers::TARGET,
    targets::model_requests::TARGET,
    targets::names_asked::TARGET,
    targets::network_rules::TARGET,
    targets::openings::TARGET,
    targets::room_frames::TARGET,
    targets::secrets::TARGET,
    targets::websockets::TARGET,
];

impl Target {
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// The inputs that are kept for it: examples of what it reads, and everything that once broke it.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(self.name);
        let entries = folder.read_dir()?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<PathBuf>>>()?;
        paths.sort();
        paths.into_iter().map(std::fs::read).collect()
    }
}
