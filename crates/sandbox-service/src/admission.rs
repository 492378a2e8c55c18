//! Who may start now: a rule over free memory, processors and what runs already. Pure; [`keeper`] feeds it.

pub mod capacity;
pub mod keeper;

/// What a machine lets sandboxes have. Sizes in MiB.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// What a sandbox is taken to need before it has shown what it needs.
    pub expected_memory_mib: u64,
    /// What is left to the rest of the machine.
    pub reserved_memory_mib: u64,
    pub max_running: Option<usize>,
    /// How many may start at the same time: starts are bound by the processors.
    pub parallel_starts: usize,
}

/// How full the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub total_memory_mib: u64,
    pub available_memory_mib: u64,
    /// Started, and not yet as large as they will be.
    pub starting: usize,
    /// Everything that has processes, those that start too.
    pub running: usize,
    /// Waiting for room.
    pub queued: usize,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decision {
    /// How many of those that wait start now, first come first.
    pub start: usize,
    /// Whether one that rests should be given back, because those that wait have no room.
    pub make_room: bool,
}

/// Decides what starts, and whether room has to be made for those that wait.
pub fn decide(settings: &AdmissionSettings, load: Load) -> Decision {
    let room = free_places(settings, load);
    let may_start = settings.parallel_starts.saturating_sub(load.starting);
    let start = load.queued.min(room).min(may_start);
    Decision { start, make_room: load.queued > 0 && room == 0 }
}

/// How many further sandboxes fit, by memory and by number.
pub fn free_places(settings: &AdmissionSettings, load: Load) -> usize {
    let promised = settings.expected_memory_mib * load.starting as u64;
    let kept = settings.reserved_memory_mib + promised;
    let by_free_memory = fit(settings, load.available_memory_mib.saturating_sub(kept));
    // Those that run may rest now and need more in their next turn, all of them at once.
    let all = fit(settings, load.total_memory_mib.saturating_sub(settings.reserved_memory_mib));
    let most = settings.max_running.map_or(all, |most| most.min(all));
    by_free_memory.min(most.saturating_sub(load.running))
}

fn fit(settings: &AdmissionSettings, memory_mib: u64) -> usize {
    let places = memory_mib.checked_div(settings.expected_memory_mib).unwrap_or(u64::MAX);
    usize::try_from(places).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AdmissionSettings {
        AdmissionSettings {
            expected_memory_mib: 400,
            reserved_memory_mib: 1000,
            max_running: None,
            parallel_starts: 2,
        }
    }

    fn load(available_memory_mib: u64, starting: usize, running: usize, queued: usize) -> Load {
        Load { total_memory_mib: 24_000, available_memory_mib, starting, running, queued }
    }

    #[test]
    fn as_many_start_as_there_are_processors() {
        let decision = decide(&settings(), load(20_000, 0, 0, 100));
        assert_eq!(decision, Decision { start: 2, make_room: false });
        let decision = decide(&settings(), load(20_000, 2, 2, 98));
        assert_eq!(decision, Decision { start: 0, make_room: false });
    }

    #[test]
    fn memory_is_kept_for_those_that_have_just_started() {
        let decision = decide(&settings(), load(1900, 1, 1, 5));
        assert_eq!(decision, Decision { start: 1, make_room: false });
        let decision = decide(&settings(), load(1799, 1, 1, 5));
        assert_eq!(decision, Decision { start: 0, make_room: true });
    }

    #[test]
    fn memory_that_rests_is_not_given_away() {
        // 57 of 400 MiB each fit into what is not reserved, however little they use at the moment.
        assert_eq!(decide(&settings(), load(20_000, 0, 56, 5)).start, 1);
        let decision = decide(&settings(), load(20_000, 0, 57, 5));
        assert_eq!(decision, Decision { start: 0, make_room: true });
    }

    #[test]
    fn room_is_made_only_for_somebody_who_waits() {
        assert_eq!(decide(&settings(), load(500, 0, 9, 0)), Decision::default());
        assert!(decide(&settings(), load(500, 0, 9, 1)).make_room);
    }

    #[test]
    fn no_more_run_than_were_allowed() {
        let settings = AdmissionSettings { max_running: Some(3), ..settings() };
        assert_eq!(decide(&settings, load(20_000, 0, 2, 5)).start, 1);
        assert_eq!(
            decide(&settings, load(20_000, 0, 3, 5)),
            Decision { start: 0, make_room: true }
        );
    }
}
