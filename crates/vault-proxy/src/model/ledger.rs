//! What sessions and teams may spend, and what they have spent.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use platform_core::budget::{Allowance, NanoDollars};
use platform_core::clock::IdSource;
use platform_core::id::CommandId;
use platform_core::session::ModelUsage;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::{RecordUsage, SessionCommand};
use platform_messaging::topology::{SESSION_COMMANDS, kind};
use platform_messaging::{Broker, RequestError, encode};
use platform_storage::sandbox::SandboxIdentity;
use platform_storage::{Database, StorageError, session, team};

/// How long session-service's answer to one command is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What cannot be handed over for so long is given up: 10 minutes.
const MOST_ATTEMPTS: u32 = 600;

/// What one call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub usage: ModelUsage,
    pub cost: NanoDollars,
}

/// What whoever calls a model may spend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowances {
    pub session: Allowance,
    pub team: Allowance,
}

impl Allowances {
    /// Why no further call may be made, as a sentence.
    pub fn used_up(&self) -> Option<String> {
        let used_up = |whose: &str, allowance: &Allowance| {
            let budget = allowance.budget.filter(|_| allowance.is_used_up())?;
            let (spent, limit) = (allowance.spent, budget.max_cost);
            Some(format!(
                "the budget of this {whose} is used up (${spent} of ${limit}); it goes on once the budget is raised"
            ))
        };
        used_up("session", &self.session).or_else(|| used_up("team", &self.team))
    }
}

/// Knows what may be spent, and keeps count.
pub trait Ledger: Send + Sync + 'static {
    fn allowances(
        &self,
        identity: SandboxIdentity,
    ) -> BoxFuture<'_, Result<Allowances, StorageError>>;

    /// Resolves once the call is counted for good.
    fn record(&self, identity: SandboxIdentity, spent: Spent) -> BoxFuture<'_, ()>;
}

/// The ledger in the database, into which session-service writes.
pub struct Books {
    database: Database,
    broker: Broker,
    ids: Arc<dyn IdSource>,
}

impl Books {
    pub fn new(database: Database, broker: Broker, ids: Arc<dyn IdSource>) -> Self {
        Self { database, broker, ids }
    }
}

impl Ledger for Books {
    fn allowances(
        &self,
        identity: SandboxIdentity,
    ) -> BoxFuture<'_, Result<Allowances, StorageError>> {
        Box::pin(async move {
            let mut connection = self.database.connection().await?;
            let SandboxIdentity { team_id, session_id, .. } = identity;
            let session = session::find(&mut connection, team_id, session_id).await?;
            let session = session.ok_or(StorageError::NotFound("session"))?.allowance();
            let team = team::allowance(&connection, team_id).await?;
            Ok(Allowances { session, team })
        })
    }

    /// While the broker is away the command is sent again and again, always under the same id.
    fn record(&self, identity: SandboxIdentity, spent: Spent) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Ok(usage) = serde_json::to_vec(&spent.usage) else { return };
            let command_id = CommandId::mint(&*self.ids).uuid();
            let record = RecordUsage { usage, cost_nano_usd: spent.cost.0 };
            let body = encode(&SessionCommand {
                command_id: command_id.to_string(),
                team_id: identity.team_id.uuid().to_string(),
                session_id: identity.session_id.uuid().to_string(),
                action: Some(Action::RecordUsage(record)),
            });
            for _ in 0..MOST_ATTEMPTS {
                let kind = kind::SESSION_COMMAND;
                let asked =
                    self.broker.request(SESSION_COMMANDS, kind, command_id, body.clone(), PATIENCE);
                match asked.await {
                    // Once the broker has it, it will be carried out.
                    Ok(_) | Err(RequestError::TimedOut) => return,
                    Err(error @ (RequestError::Unavailable { .. } | RequestError::Unroutable)) => {
                        tracing::warn!(
                            session.id = %identity.session_id,
                            error = &error as &dyn Error,
                            "a model call cannot be counted now"
                        );
                    }
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            tracing::error!(session.id = %identity.session_id, "a model call was not counted");
        })
    }
}

#[cfg(test)]
mod tests {
    use platform_core::budget::Budget;

    use super::*;

    #[test]
    fn a_used_up_budget_is_told_in_a_sentence() {
        let allowance = |spent, budget| Allowance {
            budget: Some(Budget { max_cost: NanoDollars(budget) }),
            spent: NanoDollars(spent),
        };
        let left = Allowances { session: allowance(1, 2), team: Allowance::default() };
        assert_eq!(left.used_up(), None);
        let used_up = Allowances { team: allowance(2_500_000_000, 2_000_000_000), ..left };
        assert_eq!(
            used_up.used_up().unwrap(),
            "the budget of this team is used up ($2.5 of $2); it goes on once the budget is raised"
        );
    }
}
