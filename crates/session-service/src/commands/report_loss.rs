//! A sandbox is gone, or could not be brought up.

use platform_core::conversation::Loss;
use platform_core::sandbox::Epoch;
use platform_messaging::proto::session::{Done, ReportLoss, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, raise_alarm};
use crate::failure::CommandError;
use crate::redaction::Redaction;
use crate::{stored, unfinished};

pub async fn report_loss(
    connection: &mut Connection,
    scope: Scope<'_>,
    report: ReportLoss,
) -> Result<Settled, CommandError> {
    let redaction = Redaction::of(connection, scope.keys, scope.team, scope.session).await?;
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    // It may hold the last lines of whatever ran in the sandbox. What says such things is not started again.
    if conversation.session().epoch == Epoch(report.epoch)
        && let Some(alarm) = redaction.find_honey(report.message.as_bytes())
    {
        let aftermath = raise_alarm::raise(connection, scope, alarm).await?;
        return Ok(Settled { outcome: Outcome::Done(Done {}), aftermath });
    }
    let loss = Loss {
        epoch: Epoch(report.epoch),
        reason: report.reason,
        message: redaction.clean_text(report.message),
        may_retry: report.may_retry,
        unfinished: unfinished::of(connection, &conversation).await?,
    };
    conversation.lose_sandbox(loss, scope.moment);
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
