//! Tells a linked sandbox what it is for: `Prepare` before a session is known, `Hydrate` as soon as one is.

use std::error::Error;
use std::sync::Arc;

use platform_core::sandbox::{PlantedFile, Sandbox, SandboxState, SessionSpec};
use platform_messaging::proto::egress::EgressBound;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Hydrate, Prepare};

use crate::backend::{BackendError, WayOut};
use crate::egress::{self, EgressError};
use crate::ending;
use crate::link::NotLinked;
use crate::manifests::ManifestError;
use crate::models::Door;
use crate::notes::{Loss, Notes};
use crate::service::Service;

#[derive(Debug, thiserror::Error)]
pub enum HydrateError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("no session has claimed the sandbox")]
    Unclaimed,
    #[error("what the session needs cannot be written down")]
    Encode(#[from] serde_json::Error),
    #[error("its way out cannot be made the session's")]
    Egress(#[from] EgressError),
    #[error(transparent)]
    NotLinked(#[from] NotLinked),
}

/// Hands the session over to a sandbox that is linked here. One that cannot get the session's files is given up: with its loss another
/// one is asked for.
pub async fn hand_over(service: &Arc<Service>, sandbox: &Sandbox) -> Result<(), HydrateError> {
    if let Err(error) = give_files(service, sandbox).await {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        ending::lose(service, sandbox.id, Loss::new("start_failed", message)).await;
        return Ok(());
    }
    hydrate(service, sandbox).await
}

/// A sandbox that was warm has files of its own until now. Whoever claimed it may have ended before it got the session's.
async fn give_files(service: &Service, sandbox: &Sandbox) -> Result<(), BackendError> {
    match (sandbox.state, sandbox.session_id) {
        (SandboxState::Claimed, Some(session)) => {
            service.backend().adopt_workspace(sandbox.id, session).await
        }
        _ => Ok(()),
    }
}

async fn hydrate(service: &Service, sandbox: &Sandbox) -> Result<(), HydrateError> {
    let (Some(mut session_spec), Some(session), Some(team), Some(epoch)) =
        (Notes::of(sandbox).session_spec, sandbox.session_id, sandbox.team_id, sandbox.epoch)
    else {
        return Err(HydrateError::Unclaimed);
    };
    // Not before its way out is the session's: a sandbox that could not use its credentials would look as if it could.
    let bound = egress::bind(service.broker(), service.ids(), sandbox.id, team, session).await?;
    add(&mut session_spec, bound);
    let mut models = gateway_models(service, sandbox).await;
    let own_model = &session_spec.agent.definition.model.id;
    if !models.contains(own_model) {
        models.push(own_model.clone());
    }
    let hydrate = Hydrate {
        session_id: session.uuid().to_string(),
        team_id: team.uuid().to_string(),
        epoch: epoch.0,
        session_spec: serde_json::to_vec(&session_spec)?,
        manifest: serde_json::to_vec(&service.manifests().find(&sandbox.harness)?)?,
        models,
    };
    Ok(service.links().send(sandbox.id, Body::Hydrate(hydrate)).await?)
}

/// Adds what vault-proxy has for the session's sandbox. It is asked anew each time, and what it says is nowhere stored.
fn add(spec: &mut SessionSpec, bound: EgressBound) {
    spec.environment.extend(bound.environment);
    let files = bound.files.into_iter();
    spec.files.extend(files.map(|file| PlantedFile { path: file.path, content: file.content }));
    let ports = bound.transparent_ports.into_iter().filter_map(|port| u16::try_from(port).ok());
    spec.transparent_ports.extend(ports);
}

/// Lets a sandbox without a session start its harness.
pub async fn prepare(service: &Service, sandbox: &Sandbox) -> Result<(), HydrateError> {
    let prepare = Prepare {
        manifest: serde_json::to_vec(&service.manifests().find(&sandbox.harness)?)?,
        models: gateway_models(service, sandbox).await,
    };
    Ok(service.links().send(sandbox.id, Body::Prepare(prepare)).await?)
}

async fn gateway_models(service: &Service, sandbox: &Sandbox) -> Vec<String> {
    let door = match service.backend().way_out(sandbox.id) {
        WayOut::Socket(path) => Door::Socket(path),
        // The link is held here, so its ticket is from here.
        WayOut::Ticket(address) => {
            Door::Address { address, ticket: service.tickets().of(sandbox.id) }
        }
    };
    service.models().list(&door).await
}
