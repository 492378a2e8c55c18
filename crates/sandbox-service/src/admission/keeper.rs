//! Keeps the queue: starts what fits, tells the others their place, makes room, and fills warm pools when nobody waits.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_core::sandbox::{Sandbox, SandboxState, StartupPhase};
use platform_storage::{Connection, StorageError, sandbox as rows};
use tokio::time::Instant;

use super::{Decision, Load, capacity, decide, free_places};
use crate::notes::{Loss, Notes, NotesError};
use crate::reports::{self, Occupancy, SpawnMode};
use crate::service::Service;
use crate::{ending, start, warm_pool};

/// While somebody waits, the machine is looked at again after this time even if nothing was heard: memory comes and goes unheard.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How many that wait are looked at. Those behind hear their place when they have come nearer.
const MOST_LOOKED_AT: u32 = 200;
/// A place is told again at most this often.
const PLACE_PERIOD: Duration = Duration::from_secs(5);
/// A session that was asked to give its sandbox back is not asked again for this long.
const ASKED_PERIOD: Duration = Duration::from_secs(10);
/// A session rests at least this long before its sandbox is asked for, so that two busy ones do not take turns.
const LEAST_REST: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// A start is given up when nothing at all could start for this long.
const GIVEN_UP_AFTER: Duration = Duration::from_mins(10);

/// What the keeper remembers between two looks.
struct Keeper {
    service: Arc<Service>,
    told: HashMap<SandboxId, (usize, Instant)>,
    asked: HashMap<SandboxId, Instant>,
    /// Who waits longest.
    first: Option<SandboxId>,
    last_start: Instant,
}

/// What was seen and done in one look.
struct Look {
    queued: Vec<Sandbox>,
    living: Vec<Sandbox>,
    decision: Decision,
    started: Vec<Sandbox>,
}

/// Keeps the queue until the service ends.
pub async fn keep(service: Arc<Service>) {
    let (told, asked) = (HashMap::new(), HashMap::new());
    let (first, last_start) = (None, Instant::now());
    let mut keeper = Keeper { service: service.clone(), told, asked, first, last_start };
    loop {
        let somebody_waits = match keeper.look().await {
            Ok(somebody_waits) => somebody_waits,
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "the queue cannot be looked at");
                true
            }
        };
        let next_look = async {
            if somebody_waits {
                tokio::time::sleep(LOOK_PERIOD).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = service.admission_woken() => {}
            () = next_look => {}
        }
    }
}

impl Keeper {
    /// Answers whether somebody still waits.
    async fn look(&mut self) -> Result<bool, NotesError> {
        let Look { queued, living, decision, started } = self.decide().await?;
        self.service.figures().note_living(&living);
        for sandbox in started {
            start::spawn(&self.service, sandbox);
        }
        if decision.make_room {
            self.make_room(&living).await?;
        }
        let waiting = queued.get(decision.start..).unwrap_or_default();
        let first = waiting.first().map(|sandbox| sandbox.id);
        if first.is_none() || first != self.first {
            // Here or in another replica, the queue has moved.
            self.first = first;
            self.last_start = Instant::now();
        }
        self.tell_places(waiting).await;
        self.give_up(waiting).await;
        Ok(!waiting.is_empty())
    }

    /// Decides what starts. Other replicas of this machine decide before or after, never at the same time.
    async fn decide(&self) -> Result<Look, NotesError> {
        let service = &self.service;
        let transaction = async |connection: &mut Connection| {
            rows::lock_host(connection, service.host()).await?;
            let queued = rows::next_queued(connection, service.host(), MOST_LOOKED_AT).await?;
            let living = rows::list_living(connection, service.host()).await?;
            let load = load(&living);
            let decision = decide(service.admission(), load);
            let mut started = Vec::new();
            for sandbox in queued.iter().take(decision.start) {
                started.extend(admit(service, connection, sandbox.id).await?);
            }
            if queued.len() <= decision.start {
                let places = free_places(service.admission(), load).saturating_sub(decision.start);
                let busy = busy_processors(&living) + 2 * decision.start;
                started.extend(warm_pool::refill(service, connection, places, busy).await?);
            }
            Ok(Look { queued, living, decision, started })
        };
        service.database().transaction(transaction).await
    }

    /// Takes a warm sandbox that nobody uses, else asks for those whose sessions have rested longest.
    async fn make_room(&mut self, living: &[Sandbox]) -> Result<(), StorageError> {
        if let Some(warm) = living.iter().find(|row| row.state == SandboxState::Warm) {
            if let Err(error) = ending::stop_unclaimed(&self.service, warm.id, "capacity").await {
                tracing::warn!(error = &error as &dyn Error, "a warm sandbox was not stopped");
            }
            return Ok(());
        }
        // What was asked for comes free, or is refused, within that time.
        self.asked.retain(|asked, at| {
            at.elapsed() < ASKED_PERIOD && living.iter().any(|row| row.id == *asked)
        });
        let waiting = living.iter().filter(|row| row.state == SandboxState::Queued).count();
        let wanted = waiting.min(self.service.admission().parallel_starts);
        let further = wanted.saturating_sub(self.asked.len());
        let looked_at = u32::try_from(wanted + self.asked.len()).unwrap_or(u32::MAX);
        let mut connection = self.service.database().connection().await?;
        let resting = rows::longest_idle(&mut connection, self.service.host(), looked_at).await?;
        drop(connection);
        let rested_since = self.service.now() - LEAST_REST;
        let occupancies: Vec<Occupancy> = resting
            .iter()
            .filter(|rest| rest.idle_since <= rested_since)
            .filter_map(|rest| Occupancy::of(&rest.sandbox))
            .filter(|occupancy| !self.asked.contains_key(&occupancy.sandbox))
            .take(further)
            .collect();
        for occupancy in occupancies {
            self.asked.insert(occupancy.sandbox, Instant::now());
            ask_for_room(&self.service, occupancy);
        }
        Ok(())
    }

    /// Tells those that wait how many are before them.
    async fn tell_places(&mut self, waiting: &[Sandbox]) {
        self.told.retain(|told, _| waiting.iter().any(|sandbox| sandbox.id == *told));
        for (before, sandbox) in waiting.iter().enumerate() {
            let told = self.told.get(&sandbox.id);
            let is_news =
                told.is_none_or(|(place, at)| *place != before && at.elapsed() >= PLACE_PERIOD);
            let Some(occupancy) = Occupancy::of(sandbox).filter(|_| is_news) else { continue };
            let detail = format!("waiting for room on the machine: {before} before it");
            let (phase, open) = (StartupPhase::Queued, SpawnMode::Open);
            let reported = reports::startup(&self.service, &occupancy, phase, open, &detail).await;
            if reported.is_err() {
                return;
            }
            self.told.insert(sandbox.id, (before, Instant::now()));
        }
    }

    /// Gives up the first of those that wait when the queue has not moved for long.
    async fn give_up(&mut self, waiting: &[Sandbox]) {
        if self.last_start.elapsed() < GIVEN_UP_AFTER {
            return;
        }
        let Some(first) = waiting.first() else { return };
        self.last_start = Instant::now();
        let minutes = GIVEN_UP_AFTER.as_secs() / 60;
        let message = format!(
            "the machine had no room for another sandbox for {minutes} minutes; end sessions, add memory, or lower LAP__SANDBOX__EXPECTED_MEMORY_MIB"
        );
        ending::lose(&self.service, first.id, Loss::new("no_capacity", message).for_good()).await;
    }
}

/// Lets a sandbox that waited start here. `None`: a stop was faster.
async fn admit(
    service: &Service,
    connection: &mut Connection,
    sandbox: SandboxId,
) -> Result<Option<Sandbox>, NotesError> {
    let (from, to) = ([SandboxState::Queued], SandboxState::Starting);
    let moved = rows::transition(connection, sandbox, &from, to, service.now()).await?;
    let Some(mut admitted) = moved else { return Ok(None) };
    // Together with its state, so that nobody takes it for one whose replica is gone.
    let replica = Some(service.replica().name().to_owned());
    let notes = Notes { replica, ..Notes::of(&admitted) };
    admitted.detail = notes.to_value()?;
    rows::set_detail(connection, sandbox, &admitted.detail).await?;
    Ok(Some(admitted))
}

/// Asks in the background whether the session can do without its sandbox for now.
fn ask_for_room(service: &Arc<Service>, occupancy: Occupancy) {
    let service = service.clone();
    service.clone().tasks().spawn("request for room", async move {
        match reports::release(&service, &occupancy).await {
            Ok(is_granted) => {
                tracing::info!(sandbox.id = %occupancy.sandbox, is_granted, "asked for room");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "room could not be asked for");
            }
        }
    });
}

/// As how many starts for the warm pools those under way count: one that a session waits for as two, so that it has the machine to itself
/// where that is small.
fn busy_processors(living: &[Sandbox]) -> usize {
    let weight = |sandbox: &Sandbox| match (sandbox.state, sandbox.session_id) {
        (SandboxState::Starting, None) => 1,
        (SandboxState::Starting | SandboxState::Claimed, Some(_)) => 2,
        _ => 0,
    };
    living.iter().map(weight).sum()
}

fn load(living: &[Sandbox]) -> Load {
    let count = |is_counted: fn(SandboxState) -> bool| {
        living.iter().filter(|sandbox| is_counted(sandbox.state)).count()
    };
    let memory = capacity::memory();
    Load {
        total_memory_mib: memory.total_mib,
        available_memory_mib: memory.available_mib,
        starting: count(|state| state == SandboxState::Starting),
        running: count(|state| state != SandboxState::Queued),
        queued: count(|state| state == SandboxState::Queued),
    }
}
