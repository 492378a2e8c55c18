//! Something was seen that must never happen.

use platform_core::egress::Alarm;
use platform_messaging::proto::session::{Done, RaiseAlarm, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled};
use crate::aftermath::Aftermath;
use crate::failure::CommandError;
use crate::{stored, unfinished};

pub async fn raise_alarm(
    connection: &mut Connection,
    scope: Scope<'_>,
    command: RaiseAlarm,
) -> Result<Settled, CommandError> {
    let alarm: Alarm = serde_json::from_slice(&command.alarm)?;
    let aftermath = raise(connection, scope, alarm).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}

/// Puts the alarm into the session's log, with what follows from it.
pub(super) async fn raise(
    connection: &mut Connection,
    scope: Scope<'_>,
    alarm: Alarm,
) -> Result<Aftermath, CommandError> {
    tracing::warn!(session.id = %scope.session, alarm.kind = ?alarm.kind, alarm.message, "alarm");
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let unfinished = unfinished::of(connection, &conversation).await?;
    conversation.raise_alarm(alarm, unfinished, scope.moment);
    stored::store(connection, conversation, scope.moment).await
}
