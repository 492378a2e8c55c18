//! What there is on disk and among the cgroups, by name.

use std::fs;
use std::path::Path;

use platform_core::id::SandboxId;
use uuid::Uuid;

use super::layout::Layout;
use super::limits::Limits;
use crate::backend::Held;

/// Other names than ids are not ours, or of something that is just being made.
pub fn held(layout: &Layout, limits: &Limits) -> Held {
    let folders = names_in(&layout.sandboxes()).map(SandboxId::from_uuid);
    let half_restored = names_in(&layout.root().join("restoring"));
    Held {
        sandboxes: folders.chain(limits.groups()).collect(),
        workspaces: names_in(&layout.workspaces()).chain(half_restored).collect(),
    }
}

/// The entries of a folder that are named as ids are here: by their digits alone.
pub fn names_in(folder: &Path) -> impl Iterator<Item = Uuid> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| name.len() == 32)?;
        Uuid::try_parse(name).ok()
    })
}
