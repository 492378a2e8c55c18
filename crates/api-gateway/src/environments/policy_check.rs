//! `POST /v1/environments/{environment_id}/policy_check`

use actix_web::post;
use actix_web::web::{self, Data, Path};
use platform_core::id::EnvironmentId;
use platform_core::network::Host;
use platform_core::wire::{InvalidField, check_length};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{CheckPolicy, PolicyChecked};
use serde::{Deserialize, Serialize};

use crate::body::Json;
use crate::caller::Caller;
use crate::commands::egress;
use crate::environments;
use crate::minting::Minting;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyCheckBody {
    /// A host, a host with its port, or a URL.
    host: String,
    /// Absent: as `host` says, else 443.
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    method: Option<String>,
    /// Absent: as `host` says, if it is a URL.
    #[serde(default)]
    path: Option<String>,
}

/// What a request from a sandbox of the environment would get, and why.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyCheckView {
    /// Always `policy_check`.
    r#type: &'static str,
    host: String,
    port: u16,
    allowed: bool,
    /// The rule that allows it.
    rule: Option<String>,
    /// Why it is denied: stable, for programs.
    code: Option<String>,
    reason: Option<String>,
    /// What would allow it.
    remedy: Option<String>,
    /// What the host's name leads to now.
    addresses: Vec<String>,
    /// The names of the credentials that could be used there.
    credentials: Vec<String>,
    tls_terminated: bool,
}

/// Tells what a request to a host would get from a sandbox of the environment, and which rule decides it. Nothing is sent there.
#[utoipa::path(tag = "environments", request_body = PolicyCheckBody, responses(
    (status = 200, body = PolicyCheckView),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope),
))]
#[post("/v1/environments/{environment_id}/policy_check")]
pub async fn check_policy(
    caller: Caller,
    platform: Data<Platform>,
    minting: Minting,
    id: Path<EnvironmentId>,
    body: Json<PolicyCheckBody>,
) -> Result<web::Json<PolicyCheckView>, Problem> {
    let asked = body.0.resolve()?;
    let mut connection = platform.database.connection().await?;
    environments::find(&mut connection, caller.team(), *id).await?;
    drop(connection);
    let action = Action::CheckPolicy(CheckPolicy {
        team_id: caller.team().uuid().to_string(),
        environment_id: id.uuid().to_string(),
        host: asked.host.clone(),
        port: asked.port.into(),
        method: asked.method.clone(),
        path: asked.path.clone(),
    });
    match platform.commands.ask_way_out(minting.command_id(), action).await? {
        Outcome::PolicyChecked(checked) => Ok(web::Json(asked.answer(checked))),
        Outcome::Opened(_) | Outcome::Bound(_) | Outcome::CredentialValidated(_) => {
            Err(egress::unreadable())
        }
    }
}

/// A request that somebody wants to know about. What is empty is not known.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    host: String,
    port: u16,
    method: String,
    path: String,
}

impl PolicyCheckBody {
    fn resolve(self) -> Result<Asked, InvalidField> {
        check_length("host", &self.host, 1, 2_048)?;
        let (default_port, rest) = match self.host.split_once("://") {
            None => (443, self.host.as_str()),
            Some(("https" | "wss", rest)) => (443, rest),
            Some(("http" | "ws", rest)) => (80, rest),
            Some(_) => {
                return Err(InvalidField::new("host", "a URL begins with https:// or http://"));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = Host::parse_with_port(authority, default_port)
            .map_err(|fault| InvalidField::new("host", fault.to_string()))?;
        let port = self.port.unwrap_or(port);
        if port == 0 {
            return Err(InvalidField::new("port", "is a number from 1 to 65535"));
        }
        let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
        let path = self.path.unwrap_or(path);
        check_length("path", &path, 0, 2_048)?;
        if !(path.is_empty() || path.starts_with('/')) {
            return Err(InvalidField::new("path", "begins with /"));
        }
        let method = self.method.unwrap_or_default().to_ascii_uppercase();
        check_length("method", &method, 0, 32)?;
        Ok(Asked { host: host.to_string(), port, method, path })
    }
}

impl Asked {
    fn answer(self, checked: PolicyChecked) -> PolicyCheckView {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        PolicyCheckView {
            r#type: "policy_check",
            host: self.host,
            port: self.port,
            allowed: checked.allowed,
            rule: some(checked.rule),
            code: some(checked.code),
            reason: some(checked.reason),
            remedy: some(checked.remedy),
            addresses: checked.addresses,
            credentials: checked.credentials,
            tls_terminated: checked.tls_terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, port: Option<u16>) -> Result<Asked, InvalidField> {
        PolicyCheckBody { host: host.to_owned(), port, method: Some("get".to_owned()), path: None }
            .resolve()
    }

    #[test]
    fn a_host_may_be_a_whole_url() {
        let expected = |host: &str, port, path: &str| {
            let (host, path) = (host.to_owned(), path.to_owned());
            Ok(Asked { host, port, method: "GET".to_owned(), path })
        };
        assert_eq!(asked("Example.com", None), expected("example.com", 443, ""));
        assert_eq!(asked("example.com:22", None), expected("example.com", 22, ""));
        assert_eq!(asked("example.com:22", Some(23)), expected("example.com", 23, ""));
        assert_eq!(asked("http://example.com/a/b?c#d", None), expected("example.com", 80, "/a/b"));
        assert_eq!(asked("https://u:p@[::1]:8443?x", None), expected("[::1]", 8443, ""));
        for wrong in ["", "ftp://a.b", "https://", "2130706433", "a b", "a.b:0"] {
            assert!(asked(wrong, None).is_err(), "{wrong}");
        }
    }
}
