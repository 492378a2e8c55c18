//! Notes how far a sandbox is on its way up, and hands it the waiting turn when it is ready.

use chrono::DateTime;
use platform_core::conversation::{PhaseReport, Unfinished};
use platform_core::id::SandboxId;
use platform_core::sandbox::{Epoch, StartupPhase};
use platform_messaging::proto::session::{Done, ReportStartup, session_reply::Outcome};
use platform_storage::Connection;

use super::{Scope, Settled, parse_id};
use crate::failure::CommandError;
use crate::{stored, unfinished};

pub async fn report_startup(
    connection: &mut Connection,
    scope: Scope<'_>,
    report: ReportStartup,
) -> Result<Settled, CommandError> {
    let phase: StartupPhase =
        report.phase.parse().map_err(|_| CommandError::invalid("no such phase"))?;
    let sandbox = match report.sandbox_id.as_str() {
        "" => None,
        text => Some(SandboxId::from_uuid(parse_id(text)?)),
    };
    let spawn_mode = (!report.spawn_mode.is_empty()).then_some(report.spawn_mode);
    let reached_at = DateTime::from_timestamp_micros(report.at_unix_micros);
    let mut conversation = stored::take_up(connection, scope.team, scope.session).await?;
    let reached = PhaseReport {
        epoch: Epoch(report.epoch),
        sandbox,
        phase,
        detail: report.detail.chars().take(500).collect(),
        spawn_mode,
        reached_at: reached_at.unwrap_or(scope.moment.now),
    };
    let unfinished = if phase == StartupPhase::Ready {
        unfinished::of(connection, &conversation).await?
    } else {
        Unfinished::default()
    };
    conversation.report_startup(reached, unfinished, scope.moment)?;
    let aftermath = stored::store(connection, conversation, scope.moment).await?;
    Ok(Settled { outcome: Outcome::Done(Done {}), aftermath })
}
