//! A message to a sandbox came back: nobody holds its link.

use platform_core::id::TurnId;
use platform_core::sandbox::Epoch;
use platform_messaging::proto::session::{Done, ReportUndeliverable, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, parse_id};
use crate::failure::CommandError;
use crate::stored;

pub async fn report_undeliverable(
    connection: &mut Connection,
    scope: Scope<'_>,
    report: ReportUndeliverable,
) -> Result<Settled, CommandError> {
    let turn = TurnId::from_uuid(parse_id(&report.turn_id)?);
    let epoch = Epoch(report.epoch);
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    if report.interrupt {
        conversation.interrupt_undeliverable(epoch, turn, scope.moment);
    } else {
        conversation.turn_undeliverable(epoch, turn, scope.moment);
    }
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
