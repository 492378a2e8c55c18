//! Whether an MCP server takes a credential, found out by asking it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use platform_core::credential::{Credential, CredentialAuth};
use platform_core::id::{CredentialId, SecretId, TeamId, VaultId};
use platform_core::network::HostPattern;
use platform_messaging::proto::egress::{CredentialValidated, ValidateCredential};
use platform_sealing::{Binding, KeyId, Sealed};
use platform_storage::{StorageError, credential, secret, team};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Desk, Refused, away};
use crate::rules::{Body, BoxError};
use crate::secrets::refresh::RefreshError;
use crate::secrets::{BearerToken, Injection, McpUrl, SecretValue, Secrets, SecretsParts};

const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const LONGEST_BODY: usize = 2048;
/// The first thing that an MCP client says.
const METHOD: &str = "initialize";

/// What became of asking the server.
struct Probe {
    status: Option<StatusCode>,
    response: Option<Value>,
}

pub async fn validate_credential(
    desk: &Desk,
    validate: &ValidateCredential,
) -> Result<CredentialValidated, Refused> {
    let (Ok(team_id), Ok(vault_id), Ok(credential_id)) = (
        validate.team_id.parse::<TeamId>(),
        validate.vault_id.parse::<VaultId>(),
        validate.credential_id.parse::<CredentialId>(),
    ) else {
        return Err("the question names no credential".to_owned());
    };
    let read = async {
        let mut connection = desk.database.connection().await?;
        let found = credential::find(&mut connection, team_id, vault_id, credential_id).await?;
        let internal_hosts =
            team::find(&mut connection, team_id).await?.map(|it| it.internal_hosts);
        Ok::<_, StorageError>((found, internal_hosts.unwrap_or_default()))
    };
    let (found, internal_hosts) = read.await.map_err(|error| away(&error))?;
    let found = found.filter(|found| found.archived_at.is_none());
    let found = found.ok_or("there is no such credential")?;
    let (token, url, has_refresh) = match &found.auth {
        CredentialAuth::EnvironmentVariable { .. } => {
            return Err("only a credential of an MCP server can be validated".to_owned());
        }
        CredentialAuth::StaticBearer { token, mcp_server_url } => (*token, mcp_server_url, false),
        CredentialAuth::McpOauth { access_token, mcp_server_url, refresh, .. } => {
            (*access_token, mcp_server_url, refresh.is_some())
        }
    };
    let mut probe = ask_server(desk, team_id, token, url, &internal_hosts).await?;
    let mut refresh = Value::Null;
    if probe.status == Some(StatusCode::UNAUTHORIZED) && has_refresh {
        let renewed = desk.refresher.renew(team_id, credential_id, token, &internal_hosts).await;
        refresh = json!({ "status": refresh_status(&renewed) });
        if renewed.is_ok()
            && let Some(token) = token_now(desk, team_id, vault_id, credential_id).await
        {
            probe = ask_server(desk, team_id, token, url, &internal_hosts).await?;
        }
    } else if probe.status == Some(StatusCode::UNAUTHORIZED) {
        refresh = json!({ "status": "no_refresh_token" });
    }
    Ok(CredentialValidated {
        validation: validation(desk, &found, has_refresh, &probe, &refresh)
            .to_string()
            .into_bytes(),
    })
}

fn validation(
    desk: &Desk,
    credential: &Credential,
    has_refresh: bool,
    probe: &Probe,
    refresh: &Value,
) -> Value {
    let status = match probe.status {
        Some(status) if status.is_success() => "valid",
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "invalid",
        Some(_) | None => "unknown",
    };
    json!({
        "type": "vault_credential_validation",
        "credential_id": credential.id,
        "vault_id": credential.vault_id,
        "status": status,
        "has_refresh_token": has_refresh,
        "validated_at": desk.clock.now(),
        "mcp_probe": { "method": METHOD, "http_response": probe.response },
        "refresh": refresh,
    })
}

fn refresh_status(renewed: &Result<(), RefreshError>) -> &'static str {
    match renewed {
        Ok(()) => "succeeded",
        Err(RefreshError::NoRefreshToken) => "no_refresh_token",
        Err(RefreshError::Send(_) | RefreshError::TimedOut | RefreshError::Endpoint(_)) => {
            "connect_error"
        }
        Err(
            RefreshError::Storage(_)
            | RefreshError::Refused(_)
            | RefreshError::Answer
            | RefreshError::Sealing,
        ) => "failed",
    }
}

async fn token_now(
    desk: &Desk,
    team: TeamId,
    vault: VaultId,
    credential: CredentialId,
) -> Option<SecretId> {
    let mut connection = desk.database.connection().await.ok()?;
    let found = credential::find(&mut connection, team, vault, credential).await.ok()??;
    match found.auth {
        CredentialAuth::McpOauth { access_token, .. } => Some(access_token),
        CredentialAuth::EnvironmentVariable { .. } | CredentialAuth::StaticBearer { .. } => None,
    }
}

async fn open(desk: &Desk, team: TeamId, id: SecretId) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let mut connection = desk.database.connection().await.map_err(|error| away(&error))?;
    let stored = secret::find_many(&mut connection, team, &[id]).await;
    let stored = stored.map_err(|error| away(&error))?.pop();
    let stored = stored.ok_or("the credential has no value")?;
    let key = KeyId::from_stored(stored.key_id);
    let sealed = Sealed { key, bytes: stored.sealed };
    let opened = desk.keys.open(Binding { team, secret: stored.sealed_as }, &sealed);
    opened.map_err(|error| format!("the credential's value cannot be opened: {error}"))
}

/// The token goes the same way as in a session's request, and is taken out of the answer in the same way.
async fn ask_server(
    desk: &Desk,
    team: TeamId,
    token: SecretId,
    address: &str,
    internal_hosts: &[HostPattern],
) -> Result<Probe, Refused> {
    let nothing = Probe { status: None, response: None };
    let Some(url) = McpUrl::parse(address) else { return Ok(nothing) };
    let is_internal = internal_hosts.iter().any(|host| host.matches(&url.host, url.port));
    if !url.is_https && !is_internal {
        return Ok(nothing);
    }
    let token = SecretValue::new(open(desk, team, token).await?);
    let bearer = BearerToken { url: url.clone(), token, was_refused: std::sync::Arc::default() };
    let secrets = Secrets::new(SecretsParts { bearers: vec![bearer], ..SecretsParts::default() });
    let Ok(request) = Request::post(address)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header(AUTHORIZATION, HeaderValue::from_static("Bearer"))
        .body(first_words())
    else {
        return Ok(nothing);
    };
    let (mut head, body) = request.into_parts();
    let target =
        Injection { host: &url.host, port: url.port, is_encrypted: url.is_https, is_internal };
    let injected = secrets.inject(&target, &mut head).map_err(|misuse| misuse.to_string())?;
    let asked = desk.upstream.send(Request::from_parts(head, body), is_internal);
    match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
        Ok(Ok(answer)) => {
            let answer = answer.map(|body| body.map_err(BoxError::from).boxed_unsync());
            let answer = injected.response(answer);
            let status = Some(answer.status());
            Ok(Probe { status, response: Some(shown(answer).await) })
        }
        Ok(Err(error)) => {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "an MCP server cannot be asked"
            );
            Ok(nothing)
        }
        Err(_elapsed) => Ok(nothing),
    }
}

fn first_words() -> Body {
    let words = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": METHOD,
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "litellm-agent-platform", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    Full::new(Bytes::from(words.to_string())).map_err(|never| match never {}).boxed_unsync()
}

/// The beginning of the answer. A stream is not waited for beyond its first pieces.
async fn shown(answer: Response<Body>) -> Value {
    let status = answer.status().as_u16();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.map(str::to_owned);
    let mut body = answer.into_body();
    let mut text = Vec::new();
    let mut is_truncated = false;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                text.extend_from_slice(&data);
            }
            if text.len() > LONGEST_BODY {
                is_truncated = true;
                text.truncate(LONGEST_BODY);
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(2), reading).await.is_err() {
        is_truncated = true;
    }
    json!({
        "status_code": status,
        "content_type": kind,
        "body": String::from_utf8_lossy(&text),
        "body_truncated": is_truncated,
    })
}
