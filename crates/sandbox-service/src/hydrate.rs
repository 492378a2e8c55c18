//! Tells a linked sandbox what it is for: `Prepare` before a session is known, `Hydrate` as soon as one is.

use platform_core::sandbox::Sandbox;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Hydrate, Prepare};

use crate::link::NotLinked;
use crate::manifests::ManifestError;
use crate::notes::Notes;
use crate::service::Service;

#[derive(Debug, thiserror::Error)]
pub enum HydrateError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("no session has claimed the sandbox")]
    Unclaimed,
    #[error("what the session needs cannot be written down")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    NotLinked(#[from] NotLinked),
}

/// Hands the session over to a sandbox that is linked here.
pub async fn hydrate(service: &Service, sandbox: &Sandbox) -> Result<(), HydrateError> {
    let (Some(session_spec), Some(session), Some(team), Some(epoch)) =
        (Notes::of(sandbox).session_spec, sandbox.session_id, sandbox.team_id, sandbox.epoch)
    else {
        return Err(HydrateError::Unclaimed);
    };
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

/// Lets a sandbox without a session start its harness.
pub async fn prepare(service: &Service, sandbox: &Sandbox) -> Result<(), HydrateError> {
    let prepare = Prepare {
        manifest: serde_json::to_vec(&service.manifests().find(&sandbox.harness)?)?,
        models: gateway_models(service, sandbox).await,
    };
    Ok(service.links().send(sandbox.id, Body::Prepare(prepare)).await?)
}

async fn gateway_models(service: &Service, sandbox: &Sandbox) -> Vec<String> {
    service.models().list(&service.backend().egress_socket(sandbox.id)).await
}
