//! Values that are planted in a sandbox for nobody to use: looked for wherever its session's files are read anyway.
//!
//! This service keeps no secret and none of these is one to it: it has just put them into the sandbox. It asks vault-proxy for them and not
//! the files in which they lie, because whoever works in the sandbox can change those.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem::Finder;
use platform_core::id::SandboxId;
use platform_messaging::proto::egress::EgressBound;

use crate::egress;
use crate::reports::Occupancy;
use crate::service::Service;

/// How long the end of a turn waits to learn them.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// More places are not told: one is alarming enough.
const MOST_PLACES: usize = 10;

/// What is planted in one sandbox.
#[derive(Debug, Default)]
pub struct Planted {
    values: Vec<Finder<'static>>,
    longest: usize,
    /// Where they were planted, as the sandbox calls it.
    places: BTreeSet<PathBuf>,
}

impl Planted {
    pub fn new(bound: &EgressBound) -> Self {
        let values = bound.honey_values.iter().filter(|value| !value.is_empty());
        Self {
            values: values.clone().map(|value| Finder::new(value).into_owned()).collect(),
            longest: values.map(String::len).max().unwrap_or(0),
            places: bound.files.iter().map(|file| PathBuf::from(&file.path)).collect(),
        }
    }
}

/// What is planted in the sandboxes whose turns end here, once somebody has asked.
#[derive(Debug, Default)]
pub struct PlantedValues(Mutex<BTreeMap<SandboxId, Arc<Planted>>>);

impl PlantedValues {
    pub fn forget(&self, sandbox: SandboxId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&sandbox);
    }

    /// Nothing, when vault-proxy does not answer in time: the end of a turn waits for no alarm.
    pub async fn of(&self, service: &Service, occupancy: &Occupancy) -> Arc<Planted> {
        let Occupancy { team, session, sandbox, .. } = *occupancy;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&sandbox).cloned();
        if let Some(known) = known {
            return known;
        }
        let asked = egress::bind(service.broker(), service.ids(), sandbox, team, session);
        if let Ok(Ok(bound)) = tokio::time::timeout(TOLD_WITHIN, asked).await {
            let planted = Arc::new(Planted::new(&bound));
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(sandbox, planted.clone());
            return planted;
        }
        tracing::warn!(
            sandbox.id = %sandbox,
            session.id = %session,
            "vault-proxy does not tell what is planted, so nobody looks for it this time"
        );
        Arc::default()
    }
}

/// Looks for planted values in the files of one sandbox, and keeps where it saw one.
#[derive(Debug, Default)]
pub struct Lookout {
    planted: Arc<Planted>,
    seen: Mutex<BTreeSet<PathBuf>>,
}

impl Lookout {
    pub fn new(planted: Arc<Planted>) -> Self {
        Self { planted, seen: Mutex::default() }
    }

    /// For the content of a file, piece by piece. `None` when nothing is looked for there.
    pub fn file(&self, path: &Path) -> Option<Look<'_>> {
        let is_looked_for = self.planted.longest > 0 && !self.planted.places.contains(path);
        is_looked_for.then(|| Look { lookout: self, path: path.to_owned(), end: Vec::new() })
    }

    /// Files, as the sandbox calls them, in which a planted value stands and does not belong.
    pub fn seen(&self) -> Vec<PathBuf> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// One file while it is read.
#[derive(Debug)]
pub struct Look<'a> {
    lookout: &'a Lookout,
    path: PathBuf,
    /// The end of what was read, which may be the beginning of a value.
    end: Vec<u8>,
}

impl Look<'_> {
    pub fn read(&mut self, piece: &[u8]) {
        let Planted { values, longest, .. } = &*self.lookout.planted;
        let is_in = |text: &[u8]| values.iter().any(|value| value.find(text).is_some());
        let reach = longest.saturating_sub(1);
        let held = self.end.len();
        self.end.extend_from_slice(piece.get(..reach).unwrap_or(piece));
        if is_in(piece) || (held > 0 && is_in(&self.end)) {
            let mut seen = self.lookout.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() < MOST_PLACES {
                seen.insert(self.path.clone());
            }
        }
        // A short piece adds to what is held; of a longer one the end is all that counts.
        if piece.len() >= reach {
            self.end.clear();
            self.end.extend_from_slice(piece.get(piece.len() - reach..).unwrap_or_default());
        } else {
            let surplus = self.end.len().saturating_sub(reach);
            self.end.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use platform_messaging::proto::egress::PlantedFile;

    use super::*;

    const VALUE: &str = "bkp_N0b0dyMayUseThis123";
    const PLACE: &str = "/home/agent/.config/backup/token";

    fn lookout() -> Lookout {
        let files = vec![PlantedFile { path: PLACE.to_owned(), content: VALUE.to_owned() }];
        let honey_values = vec!["AKIAXYZ".to_owned(), VALUE.to_owned()];
        let bound = EgressBound { honey_values, files, ..EgressBound::default() };
        Lookout::new(Arc::new(Planted::new(&bound)))
    }

    fn is_seen(pieces: &[&[u8]]) -> bool {
        let lookout = lookout();
        let mut look = lookout.file(Path::new("/workspace/a")).unwrap();
        for piece in pieces {
            look.read(piece);
        }
        let seen = lookout.seen();
        assert!(seen.is_empty() || seen == [Path::new("/workspace/a")]);
        !seen.is_empty()
    }

    #[test]
    fn a_value_is_seen_however_the_file_is_cut() {
        let text = format!("0123456789012345678901234567890 {VALUE} and more");
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert!(is_seen(&pieces), "{size}");
        }
        let (begun, rest) = VALUE.as_bytes().split_at(9);
        assert!(!is_seen(&[begun, b"-", rest]));
        assert!(!is_seen(&[rest, begun]));
    }

    #[test]
    fn where_a_value_was_planted_nobody_looks() {
        assert!(lookout().file(Path::new(PLACE)).is_none());
        assert!(Lookout::default().file(Path::new("/workspace/a")).is_none());
    }
}
