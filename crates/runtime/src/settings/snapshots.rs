//! What keeping files at the ends of turns may take of the machine.

use super::{Reader, Section};

const WHOLE_NUMBER: &str = "a whole number";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// How long the end of a turn waits for its snapshot.
    pub within_seconds: u64,
    /// Files, folders and links that one snapshot may have.
    pub most_files: u64,
    /// How large the files of one snapshot may be together, in MiB.
    pub most_mib: u64,
    /// What all snapshots of one session may take on disk, in MiB. The oldest ones go first.
    pub kept_mib: u64,
}

impl Section for SnapshotSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let within_seconds = reader.parsed("snapshots.within_seconds", WHOLE_NUMBER, 5);
        let most_files = reader.parsed("snapshots.most_files", WHOLE_NUMBER, 200_000);
        let most_mib = reader.parsed("snapshots.most_mib", WHOLE_NUMBER, 4096);
        let kept_mib = reader.parsed("snapshots.kept_mib", WHOLE_NUMBER, 4096);
        Some(Self {
            within_seconds: within_seconds?,
            most_files: most_files?,
            most_mib: most_mib?,
            kept_mib: kept_mib?,
        })
    }
}
