//! Whether another replica lives. On one machine its mark tells; of a replica on another machine the broker tells, which has its queue
//! only as long as it is connected.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_core::id::CommandId;
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::topology::{Route, SANDBOX_LINKS, kind};
use platform_messaging::{Delivered, Outgoing, PublishError, encode};
use tokio::time::Instant;

use crate::service::Service;

/// How long a replica must have been away from the broker before it counts as dead: every replica is while the broker is started again.
pub const AWAY_AT_MOST: Duration = Duration::from_secs(15);

/// The replicas that the broker did not find.
#[derive(Debug, Default)]
pub struct Absences(Mutex<BTreeMap<String, Absence>>);

#[derive(Debug)]
struct Absence {
    since: Instant,
    is_for_good: bool,
}

impl Absences {
    /// Whether somebody is away who may come back.
    pub fn has_doubts(&self) -> bool {
        self.lock().values().any(|absence| !absence.is_for_good)
    }

    /// Notes that a replica was not found; `true` once it has been away for too long.
    fn note(&self, name: &str) -> bool {
        let mut absent = self.lock();
        let anew = || Absence { since: Instant::now(), is_for_good: false };
        let absence = absent.entry(name.to_owned()).or_insert_with(anew);
        absence.is_for_good |= absence.since.elapsed() > AWAY_AT_MOST;
        absence.is_for_good
    }

    fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the other replicas find this one.
pub async fn show(service: &Service) {
    let shown = service.link_queue().bind(SANDBOX_LINKS, service.replica().name()).await;
    if let Err(error) = shown {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "this replica is shown to the others once the broker is back"
        );
    }
}

/// Whether a replica of that name still runs. Only one that is dead for certain counts as such.
pub async fn is_alive(service: &Service, name: &str) -> bool {
    let replica = service.replica();
    if replica.is_alive(name).await {
        return true;
    }
    // Processes of one machine are its replicas' alone; pods are everybody's.
    if service.backend().pods().is_none() || replica.is_known_dead(name) {
        return false;
    }
    match is_found(service, name).await {
        Ok(true) => {
            service.absences().forget(name);
            true
        }
        Ok(false) => !service.absences().note(name),
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a replica cannot be looked for"
            );
            true
        }
    }
}

/// A command without an action finds its way to the replica, or comes back.
async fn is_found(service: &Service, name: &str) -> Result<bool, PublishError> {
    let command_id = CommandId::mint(service.ids()).uuid();
    let probe = SandboxCommand { command_id: command_id.to_string(), ..SandboxCommand::default() };
    let route = Route { exchange: SANDBOX_LINKS, routing_key: name.to_owned().into() };
    let message = Outgoing::new(route, kind::SANDBOX_COMMAND, command_id, encode(&probe));
    Ok(service.broker().publish(message.mandatory().transient()).await? == Delivered::Routed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_dead_only_when_it_was_away_for_long_without_a_break() {
        let absences = Absences::default();
        assert!(!absences.note("1-a"));
        assert!(absences.has_doubts());
        tokio::time::advance(AWAY_AT_MOST / 2).await;
        absences.forget("1-a");
        assert!(!absences.note("1-a"));
        tokio::time::advance(AWAY_AT_MOST * 2 / 3).await;
        assert!(!absences.note("1-a"));
        tokio::time::advance(AWAY_AT_MOST).await;
        assert!(absences.has_doubts());
        assert!(absences.note("1-a"));
        assert!(!absences.has_doubts());
    }
}
