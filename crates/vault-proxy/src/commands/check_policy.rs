//! What a request from a sandbox of an environment would get, and why.

use platform_core::environment::EnvironmentConfig;
use platform_core::id::{EnvironmentId, TeamId};
use platform_core::network::{Host, NetworkPolicy, Request, Target};
use platform_core::variable::Variable;
use platform_messaging::proto::egress::{CheckPolicy, PolicyChecked};
use platform_storage::{StorageError, environment, team};

use super::{Desk, Refused, away};
use crate::secrets::Hosts;
use crate::secrets::platform::PlatformVariable;

/// What an environment does not know, and the answer about it therefore leaves out.
const NOT_CONSIDERED: &str = "secrets among the variables of agents and sessions, and credentials of vaults, are not considered: which of \
                              them a session has does not depend on its environment, and they may be used there as well";

pub async fn check_policy(desk: &Desk, check: &CheckPolicy) -> Result<PolicyChecked, Refused> {
    let (Ok(team_id), Ok(environment_id)) =
        (check.team_id.parse::<TeamId>(), check.environment_id.parse::<EnvironmentId>())
    else {
        return Err("the question names no team or no environment".to_owned());
    };
    let host: Host = match check.host.parse() {
        Ok(host) => host,
        Err(error) => return Ok(denied("invalid_host", format!("{error}"))),
    };
    let Some(port) = u16::try_from(check.port).ok().filter(|port| *port > 0) else {
        return Ok(denied("invalid_port", format!("{} is no port", check.port)));
    };
    let read = async {
        let mut connection = desk.database.connection().await?;
        let environment = environment::find(&mut connection, team_id, environment_id).await?;
        let team = team::find(&mut connection, team_id).await?;
        Ok::<_, StorageError>((environment, team))
    };
    let (Some(environment), Some(team)) = read.await.map_err(|error| away(&error))? else {
        return Err("there is no such environment".to_owned());
    };
    let EnvironmentConfig::Cloud { networking, environment_variables, sandbox, .. } =
        environment.config
    else {
        return Err("sandboxes of this environment are not the platform's".to_owned());
    };
    let policy =
        NetworkPolicy::new(networking, &[], desk.loader.package_hosts(), team.internal_hosts);
    let request =
        (!check.method.is_empty()).then_some(Request { method: &check.method, path: &check.path });
    let allowed = match policy.decide(Target { host: &host, port, request }) {
        Ok(allowed) => allowed,
        Err(refused) => {
            return Ok(PolicyChecked {
                code: refused.code.to_owned(),
                reason: refused.reason,
                remedy: refused.remedy,
                ..PolicyChecked::default()
            });
        }
    };
    let here = |hosts: &Hosts| hosts.include(&host, port);
    let of_platform =
        desk.loader.platform().by_name.iter().filter(|(_, variable)| match variable {
            PlatformVariable::Plain(_) => false,
            PlatformVariable::Secret { hosts, .. } => here(hosts),
        });
    let of_environment = environment_variables.iter().filter(|(_, variable)| match variable {
        Variable::Plain { .. } => false,
        Variable::Secret { allowed_hosts, .. } => here(&Hosts::Only(allowed_hosts.clone())),
    });
    let mut credentials: Vec<String> = of_platform.map(|(name, _)| name.clone()).collect();
    credentials.extend(of_environment.map(|(name, _)| name.clone()));
    credentials.sort_unstable();
    credentials.dedup();
    let tls_terminated = sandbox.inspect_tls || allowed.needs_request || !credentials.is_empty();
    let mut checked = PolicyChecked {
        rule: allowed.rule,
        credentials,
        tls_terminated,
        ..PolicyChecked::default()
    };
    match desk.outside.addresses(&host, port, allowed.may_be_internal).await {
        Ok(addresses) => {
            checked.allowed = true;
            NOT_CONSIDERED.clone_into(&mut checked.reason);
            checked.addresses = addresses.iter().map(ToString::to_string).collect();
        }
        Err(error) => {
            let refusal = error.to_refusal();
            checked.code = refusal.code.to_owned();
            checked.reason = refusal.message;
            checked.remedy = refusal.remedy.unwrap_or_default();
        }
    }
    Ok(checked)
}

fn denied(code: &str, reason: String) -> PolicyChecked {
    PolicyChecked { code: code.to_owned(), reason, ..PolicyChecked::default() }
}
