//! Counts what a model call used and cost.

use platform_core::budget::NanoDollars;
use platform_core::session::ModelUsage;
use platform_messaging::proto::session::{Done, RecordUsage, session_reply::Outcome};
use platform_storage::{Connection, team};

use super::{Scope, Settled};
use crate::failure::CommandError;
use crate::stored;

pub async fn record_usage(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: RecordUsage,
) -> Result<Settled, CommandError> {
    let usage: ModelUsage = serde_json::from_slice(&command.usage)?;
    let cost = NanoDollars(command.cost_nano_usd);
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    conversation.record_usage(usage, cost, scope.moment);
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    // Last, because all sessions of the team wait for each other here.
    team::add_spent(connection, scope.team, cost).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
