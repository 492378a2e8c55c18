//! A sandbox becomes its session's: what has to be put into it.

use platform_core::id::{SandboxId, SessionId, TeamId};
use platform_messaging::proto::egress::{BindEgress, EgressBound, PlantedFile};
use platform_sealing::HoneyValue;
use platform_storage::sandbox;

use super::{Desk, Refused, away};

pub async fn bind(
    desk: &Desk,
    sandbox: SandboxId,
    bind: &BindEgress,
) -> Result<EgressBound, Refused> {
    let identity = {
        let mut connection = desk.database.connection().await.map_err(|error| away(&error))?;
        sandbox::identity(&mut connection, sandbox).await.map_err(|error| away(&error))?
    };
    let (team, session) = (bind.team_id.parse::<TeamId>(), bind.session_id.parse::<SessionId>());
    // Whose a sandbox is says the database alone; the asker only has to be of the same opinion.
    let Some(identity) =
        identity.filter(|it| Ok(it.team_id) == team && Ok(it.session_id) == session)
    else {
        return Err("the sandbox is not that session's".to_owned());
    };
    // What is known from before the claim holds no more.
    desk.loader.forget(sandbox).await;
    let bound = desk.loader.bind(identity).await.map_err(|error| away(&error))?;
    let (resolved, ports) = bound.ok_or("the session or its environment is gone")?;
    let honey = resolved.parts.honey;
    Ok(EgressBound {
        environment: resolved.environment.into_iter().collect(),
        files: planted_files(&honey),
        honey_values: honey.into_iter().map(|honey| honey.value).collect(),
        transparent_ports: ports.into_iter().map(u32::from).collect(),
    })
}

/// Files that a thief would look for.
fn planted_files(honey: &[HoneyValue]) -> Vec<PlantedFile> {
    let value =
        |name: &str| honey.iter().find(|honey| honey.name == name).map(|it| it.value.as_str());
    let mut files = Vec::new();
    if let (Some(id), Some(secret)) = (value("aws_access_key_id"), value("aws_secret_access_key")) {
        files.push(PlantedFile {
            path: "/home/agent/.aws/credentials".to_owned(),
            content: format!(
                "[backup]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
            ),
        });
    }
    if let Some(token) = value("backup_token") {
        files.push(PlantedFile {
            path: "/home/agent/.config/backup/token".to_owned(),
            content: format!("{token}\n"),
        });
    }
    files
}
