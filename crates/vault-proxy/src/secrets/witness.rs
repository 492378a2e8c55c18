//! Where decisions and alarms go: decisions into the database and to whoever watches the session, alarms to session-service.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_core::clock::IdSource;
use platform_core::egress::{Alarm, EgressDecision};
use platform_core::id::{CommandId, SandboxId};
use platform_messaging::proto::event::EgressDecided;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::{RaiseAlarm, SessionCommand};
use platform_messaging::topology::{SESSION_COMMANDS, kind, previews_of};
use platform_messaging::{Broker, Outgoing, encode};
use platform_storage::sandbox::SandboxIdentity;
use platform_storage::{Database, egress_decision};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::rules::Witness;

/// What waits for the database at most; beyond it the oldest are dropped.
const MOST_WAITING: usize = 10_000;
const BATCH: usize = 500;
/// Further ones are waited for a little, so that many go at once.
const GATHERED_FOR: Duration = Duration::from_millis(100);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const QUIET_AT_THE_END: Duration = Duration::from_secs(1);
const STORED_AT_THE_END_WITHIN: Duration = Duration::from_secs(18);
/// An alarm that cannot be told for so long is given up: 10 minutes.
const MOST_ATTEMPTS: u32 = 600;

/// The witness of all ways out of this process. Cheap to clone.
#[derive(Clone)]
pub struct Record {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    broker: Broker,
    ids: Arc<dyn IdSource>,
    waiting: Mutex<Waiting>,
    more: Notify,
    alarmed: Notify,
}

#[derive(Default)]
struct Waiting {
    decisions: VecDeque<EgressDecision>,
    alarms: VecDeque<(SandboxIdentity, Alarm)>,
    dropped: u64,
}

impl Record {
    pub fn new(database: Database, broker: Broker, ids: Arc<dyn IdSource>) -> Self {
        let waiting = Mutex::default();
        let (more, alarmed) = (Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { database, broker, ids, waiting, more, alarmed }) }
    }

    /// Stores and tells what comes, until `end` and then what is left.
    pub async fn keep(self, end: CancellationToken) {
        let shared = &self.shared;
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                () = shared.more.notified() => {}
            }
            tokio::select! {
                () = end.cancelled() => break,
                () = tokio::time::sleep(GATHERED_FOR) => {}
            }
            while shared.store_batch().await {}
        }
        // What is under way now is finished, and decided, after the end was asked for.
        let rest = async {
            loop {
                while shared.store_batch().await {}
                if tokio::time::timeout(QUIET_AT_THE_END, shared.more.notified()).await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(STORED_AT_THE_END_WITHIN, rest).await.is_err() {
            let lost = shared.lock().decisions.len();
            tracing::warn!(lost, "decisions about egress were not stored before the end");
        }
    }

    /// Tells alarms until `end`. Beside [`Record::keep`], so that a database that is away keeps none of them back.
    pub async fn tell_alarms(self, end: CancellationToken) {
        loop {
            let next = self.shared.lock().alarms.pop_front();
            if let Some((identity, alarm)) = next {
                self.shared.raise(identity, &alarm).await;
                continue;
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = self.shared.alarmed.notified() => {}
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether there may be more.
    async fn store_batch(&self) -> bool {
        let (batch, dropped) = {
            let mut waiting = self.lock();
            let most = waiting.decisions.len().min(BATCH);
            let batch: Vec<EgressDecision> = waiting.decisions.drain(..most).collect();
            (batch, std::mem::take(&mut waiting.dropped))
        };
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "decisions about egress were dropped: the database was away for too long"
            );
        }
        if batch.is_empty() {
            return false;
        }
        for decision in &batch {
            self.show(decision).await;
        }
        loop {
            let stored = self
                .database
                .transaction(async |connection| egress_decision::insert(connection, &batch).await);
            match stored.await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn Error,
                        "decisions about egress cannot be stored now"
                    );
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Shows a decision to whoever looks at the session now. It is stored as well, so that one that is lost on the way costs nothing.
    async fn show(&self, decision: &EgressDecision) {
        let Ok(text) = serde_json::to_vec(decision) else { return };
        let session = decision.session_id;
        let decided = EgressDecided { session_id: session.uuid().to_string(), decision: text };
        let message = Outgoing::new(
            previews_of(session),
            kind::EGRESS_DECISION,
            decision.id.uuid(),
            encode(&decided),
        );
        if let Err(error) = self.broker.publish_transient(message.transient()).await {
            tracing::debug!(error = &error as &dyn Error, "a decision was not shown");
        }
    }

    async fn raise(&self, identity: SandboxIdentity, alarm: &Alarm) {
        let Ok(text) = serde_json::to_vec(alarm) else { return };
        let command_id = CommandId::mint(&*self.ids).uuid();
        let body = encode(&SessionCommand {
            command_id: command_id.to_string(),
            team_id: identity.team_id.uuid().to_string(),
            session_id: identity.session_id.uuid().to_string(),
            action: Some(Action::RaiseAlarm(RaiseAlarm { alarm: text })),
        });
        for _ in 0..MOST_ATTEMPTS {
            let message =
                Outgoing::new(SESSION_COMMANDS, kind::SESSION_COMMAND, command_id, body.clone());
            match self.broker.publish(message).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(session.id = %identity.session_id, error = &error as &dyn Error, "an alarm cannot be told now");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

impl Witness for Record {
    fn decided(&self, decision: EgressDecision) {
        let mut waiting = self.shared.lock();
        if waiting.decisions.len() >= MOST_WAITING {
            waiting.decisions.pop_front();
            waiting.dropped += 1;
        }
        waiting.decisions.push_back(decision);
        drop(waiting);
        self.shared.more.notify_one();
    }

    fn alarm(&self, identity: &SandboxIdentity, sandbox: SandboxId, alarm: Alarm) {
        tracing::warn!(
            sandbox.id = %sandbox,
            session.id = %identity.session_id,
            alarm.kind = ?alarm.kind,
            egress.host = alarm.host,
            "{}",
            alarm.message
        );
        let mut waiting = self.shared.lock();
        if waiting.alarms.len() >= MOST_WAITING {
            waiting.alarms.pop_front();
        }
        waiting.alarms.push_back((*identity, alarm));
        drop(waiting);
        self.shared.alarmed.notify_one();
    }
}
