//! Sees to it that a session has a sandbox of the wanted epoch: an earlier one is ended, a warm one claimed, or a new one queued.

use std::sync::Arc;

use platform_core::environment::SandboxSpec;
use platform_core::id::{CommandId, EnvironmentId, SandboxId};
use platform_core::sandbox::{Sandbox, SandboxState, SessionSpec, StartupPhase};
use platform_messaging::proto::sandbox::sandbox_command::Action;
use platform_messaging::proto::sandbox::{ProvisionSandbox, SandboxCommand};
use platform_messaging::topology::{kind, sandbox_link};
use platform_messaging::{Delivered, Outgoing, encode};
use platform_storage::sandbox::{self as rows, Claim};
use platform_storage::session;

use super::{CommandError, Subject};
use crate::hydrate::{HydrateError, hand_over};
use crate::link::{is_reachable, spawn_grace};
use crate::notes::{Loss, Notes};
use crate::reports::{self, Occupancy, SpawnMode};
use crate::service::Service;
use crate::{ending, warm_pool, watch};

/// A provision command whose content was read.
struct Wanted {
    subject: Subject,
    environment: EnvironmentId,
    sandbox_spec: SandboxSpec,
    session_spec: SessionSpec,
}

pub(super) async fn provision_sandbox(
    service: &Arc<Service>,
    subject: Subject,
    provision: ProvisionSandbox,
) -> Result<(), CommandError> {
    let wanted = Wanted {
        subject,
        environment: provision.environment_id.parse()?,
        sandbox_spec: serde_json::from_slice(&provision.sandbox_spec)?,
        session_spec: serde_json::from_slice(&provision.session_spec)?,
    };
    let mut connection = service.database().connection().await?;
    let living = rows::list_of_session(&mut connection, subject.team, subject.session).await?;
    let known =
        rows::find_by_session_epoch(&mut connection, subject.team, subject.session, subject.epoch)
            .await?;
    drop(connection);
    if living.iter().any(|row| row.epoch > Some(subject.epoch)) {
        return Ok(());
    }
    if let Some(known) = known {
        return ensure(service, known).await;
    }
    if !is_wanted(service, subject).await? {
        return Ok(());
    }
    // Two sandboxes never share a workspace: the earlier one is gone before the next one begins.
    for earlier in &living {
        ending::stop(service, earlier.id, "superseded").await?;
    }
    let harness = &wanted.session_spec.agent.definition.harness;
    warm_pool::note_use(service, wanted.environment, &wanted.sandbox_spec, harness).await?;
    if let Some(claimed) = claim_warm(service, &wanted).await? {
        return take_up(service, claimed).await;
    }
    queue(service, wanted).await
}

/// Whether the session still counts on a sandbox of this epoch. A command that had to be tried again may be overtaken by the one that
/// stops the session's sandboxes, and nothing would stop what came up after that: of a deleted session it would know the conversation.
async fn is_wanted(service: &Service, subject: Subject) -> Result<bool, CommandError> {
    let mut connection = service.database().connection().await?;
    let session = session::find(&mut connection, subject.team, subject.session).await?;
    let is_wanted = session.is_some_and(|row| row.is_live() && row.epoch <= subject.epoch);
    if !is_wanted {
        tracing::info!(session.id = %subject.session, epoch = subject.epoch.0, "a sandbox is not wanted any more");
    }
    Ok(is_wanted)
}

/// Repeats what session-service may have missed about a sandbox that it asks for again.
async fn ensure(service: &Arc<Service>, known: Sandbox) -> Result<(), CommandError> {
    let Some(occupancy) = Occupancy::of(&known) else { return Ok(()) };
    match known.state {
        SandboxState::Queued => service.wake_admission(),
        SandboxState::Claimed => return take_up(service, known).await,
        SandboxState::Ready => {
            if is_reachable(service, known.id).await? {
                let open = SpawnMode::Open;
                reports::startup(service, &occupancy, StartupPhase::Ready, open, "").await?;
            } else {
                // It is reported as ready when its link comes back, or as lost when it does not.
                spawn_grace(service, known.id);
            }
        }
        // Its way up, or its end, is reported when it gets there.
        SandboxState::Starting | SandboxState::Warm | SandboxState::Stopping => {}
        SandboxState::Gone => {
            let reason = known.exit_reason.as_deref().unwrap_or("exited");
            let loss = Loss::new(reason, "the sandbox of this epoch has ended already");
            reports::loss(service, &occupancy, &loss).await?;
        }
    }
    Ok(())
}

/// Claims a warm sandbox, unless the session has files that cannot be put under one that runs, or begins with copies of another one's,
/// which takes as long as a start.
async fn claim_warm(
    service: &Arc<Service>,
    wanted: &Wanted,
) -> Result<Option<Sandbox>, CommandError> {
    let begins_with_files =
        wanted.session_spec.forked_from.is_some_and(|from| from.turn_id.is_some());
    let backend = service.backend();
    let has_files = backend.has_workspace(wanted.subject.session);
    if (has_files && !backend.can_graft()) || (begins_with_files && !has_files) {
        return Ok(None);
    }
    let claim = Claim {
        team_id: wanted.subject.team,
        session_id: wanted.subject.session,
        agent_id: wanted.session_spec.agent.id,
        epoch: wanted.subject.epoch,
    };
    let harness = &wanted.session_spec.agent.definition.harness;
    service
        .database()
        .transaction(async |connection| {
            let host = service.host();
            let claimed =
                rows::claim_warm(connection, host, wanted.environment, harness, &claim).await?;
            let Some(mut claimed) = claimed else { return Ok(None) };
            let session_spec = Some(wanted.session_spec.clone());
            let notes = Notes { session_spec, ..Notes::of(&claimed) };
            claimed.detail = notes.to_value()?;
            rows::set_detail(connection, claimed.id, &claimed.detail).await?;
            Ok(Some(claimed))
        })
        .await
}

/// Makes a claimed sandbox its session's.
async fn take_up(service: &Arc<Service>, claimed: Sandbox) -> Result<(), CommandError> {
    let Some(occupancy) = Occupancy::of(&claimed) else { return Ok(()) };
    watch::expect_ready(service, claimed.id);
    let warm = SpawnMode::Warm;
    reports::startup(service, &occupancy, StartupPhase::Claimed, warm, "").await?;
    service.wake_admission();
    match hand_over(service, &claimed).await {
        Ok(()) => Ok(()),
        Err(HydrateError::NotLinked(_)) => hydrate_elsewhere(service, &occupancy, claimed.id).await,
        Err(error) => Err(error.into()),
    }
}

/// Has the replica that holds the link hand the session over.
async fn hydrate_elsewhere(
    service: &Arc<Service>,
    occupancy: &Occupancy,
    sandbox: SandboxId,
) -> Result<(), CommandError> {
    let command_id = CommandId::mint(service.ids()).uuid();
    let command = SandboxCommand {
        command_id: command_id.to_string(),
        team_id: occupancy.team.uuid().to_string(),
        session_id: occupancy.session.uuid().to_string(),
        epoch: occupancy.epoch.0,
        action: Some(Action::Provision(ProvisionSandbox::default())),
    };
    let message =
        Outgoing::new(sandbox_link(sandbox), kind::SANDBOX_COMMAND, command_id, encode(&command));
    if service.broker().publish(message.mandatory()).await? == Delivered::Unroutable {
        // Whoever links next is told as the first thing what it is for; nobody linking is a loss.
        spawn_grace(service, sandbox);
    }
    Ok(())
}

/// Hands the session over to a sandbox that another replica claimed and that is linked here.
pub(super) async fn hydrate_claimed(
    service: &Arc<Service>,
    subject: Subject,
) -> Result<(), CommandError> {
    let mut connection = service.database().connection().await?;
    let (team, session, epoch) = (subject.team, subject.session, subject.epoch);
    let found = rows::find_by_session_epoch(&mut connection, team, session, epoch).await?;
    drop(connection);
    match found {
        Some(claimed) if claimed.state == SandboxState::Claimed => {
            // Whoever claimed it may end before it is ready.
            watch::expect_ready(service, claimed.id);
            Ok(hand_over(service, &claimed).await?)
        }
        Some(_) | None => Ok(()),
    }
}

async fn queue(service: &Arc<Service>, wanted: Wanted) -> Result<(), CommandError> {
    let sandbox = new_sandbox(service, wanted)?;
    let mut connection = service.database().connection().await?;
    rows::insert_queued(&mut connection, &sandbox).await?;
    drop(connection);
    if let Some(occupancy) = Occupancy::of(&sandbox) {
        let (phase, open) = (StartupPhase::Queued, SpawnMode::Open);
        reports::startup(service, &occupancy, phase, open, "").await?;
    }
    service.wake_admission();
    Ok(())
}

fn new_sandbox(service: &Service, wanted: Wanted) -> Result<Sandbox, serde_json::Error> {
    let agent = &wanted.session_spec.agent;
    let (agent_id, harness) = (agent.id, agent.definition.harness.clone());
    let notes = Notes { session_spec: Some(wanted.session_spec), ..Notes::default() };
    Ok(Sandbox {
        id: SandboxId::mint(service.ids()),
        team_id: Some(wanted.subject.team),
        session_id: Some(wanted.subject.session),
        agent_id: Some(agent_id),
        epoch: Some(wanted.subject.epoch),
        environment_id: wanted.environment,
        harness,
        backend: service.backend().name(),
        host: service.host().to_owned(),
        state: SandboxState::Queued,
        spec: wanted.sandbox_spec,
        detail: notes.to_value()?,
        token_hash: None,
        exit_reason: None,
        created_at: service.now(),
        ready_at: None,
        gone_at: None,
    })
}
