//! A message to a sandbox came back: nobody holds its link.

use platform_core::id::TurnId;
use platform_core::sandbox::Epoch;
use platform_messaging::decode;
use platform_messaging::proto::sandbox::{SandboxCommand, sandbox_command::Action};
use platform_messaging::proto::session::{Done, ReportUndeliverable, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, parse_id};
use crate::failure::CommandError;
use crate::{stored, unfinished};

pub async fn report_undeliverable(
    connection: &mut Connection,
    scope: Scope<'_>,
    report: ReportUndeliverable,
) -> Result<Settled, CommandError> {
    let command: SandboxCommand = decode(&report.command)?;
    let turn = |id: &str| parse_id(id).map(TurnId::from_uuid);
    let (epoch, moment) = (Epoch(command.epoch), scope.moment);
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    match command.action {
        Some(Action::StartTurn(start)) => {
            let unfinished = unfinished::of(connection, &conversation).await?;
            let turn = turn(&start.turn_id)?;
            conversation.turn_undeliverable(epoch, turn, unfinished, moment);
        }
        Some(Action::InterruptTurn(interrupt)) => {
            let unfinished = unfinished::of(connection, &conversation).await?;
            let turn = turn(&interrupt.turn_id)?;
            conversation.interrupt_undeliverable(epoch, turn, unfinished, moment);
        }
        Some(Action::AnswerAction(answer)) => {
            conversation.answer_undeliverable(epoch, turn(&answer.turn_id)?);
        }
        // Any replica takes these.
        Some(Action::Provision(_) | Action::Stop(_)) | None => {}
    }
    let aftermath = stored::store(connection, conversation, moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
