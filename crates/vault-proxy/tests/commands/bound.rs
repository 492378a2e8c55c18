//! What a session's sandbox gets, and what stands behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use platform_core::clock::Clock;
use platform_core::credential::{CredentialAuth, CredentialNetworking, InjectionLocation};
use platform_core::environment::Networking;
use platform_core::network::Host;
use platform_core::variable::{Variable, Variables};
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{BindEgress, CheckPolicy, EgressBound};
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::Shutdown;
use platform_runtime::settings::ContainerVariables;
use platform_storage::credential;
use secrecy::SecretString;
use vault_proxy::commands::Desk;
use vault_proxy::rules::{Injection, Misuse, RulesSource, SessionRules};
use vault_proxy::secrets::platform::PlatformVariables;
use vault_proxy::secrets::session::Loader;

use crate::house::{House, Plan, ask, desk_of, desk_with, keys};

fn plain(value: &str) -> Variable {
    Variable::Plain { value: value.to_owned() }
}

fn variables(all: &[(&str, Variable)]) -> Variables {
    all.iter().map(|(name, variable)| ((*name).to_owned(), variable.clone())).collect()
}

pub async fn bind(desk: &Desk, house: &House) -> Result<EgressBound, String> {
    let bind = BindEgress {
        team_id: house.team.id.uuid().to_string(),
        session_id: house.session.id.uuid().to_string(),
    };
    let reply = ask(desk, &house.sandbox.uuid().to_string(), Action::Bind(bind)).await;
    match reply.outcome {
        Some(Outcome::Bound(bound)) => Ok(bound),
        _ => Err(reply.error),
    }
}

/// What a header with this text becomes on its way to a host.
pub fn sent(rules: &SessionRules, host: &str, text: &str) -> Result<String, Misuse> {
    let host: Host = host.parse().unwrap();
    let request = Request::get("/").header("x-key", text).body(()).unwrap();
    let (mut head, ()) = request.into_parts();
    let target = Injection { host: &host, port: 443, is_encrypted: true, is_internal: false };
    rules.secrets.inject(&target, &mut head)?;
    Ok(head.headers.get("x-key").unwrap().to_str().unwrap().to_owned())
}

pub fn environment_variable(
    secret_value: platform_core::id::SecretId,
    name: &str,
    host: &str,
) -> CredentialAuth {
    CredentialAuth::EnvironmentVariable {
        secret_name: name.to_owned(),
        secret_value,
        networking: CredentialNetworking::Limited { allowed_hosts: vec![host.parse().unwrap()] },
        injection_location: InjectionLocation::default(),
    }
}

#[tokio::test]
async fn of_variables_with_one_name_the_one_nearest_to_the_session_holds() {
    let house = House::build(async |sealer| {
        let secret_id = sealer.seal("s3cret-of-the-session").await;
        let secret =
            Variable::Secret { secret_id, allowed_hosts: vec!["a.example.com".parse().unwrap()] };
        Plan {
            of_environment: variables(&[
                ("A", plain("env")),
                ("B", plain("env")),
                ("C", plain("env")),
            ]),
            of_agent: variables(&[("B", plain("agent")), ("C", plain("agent"))]),
            of_session: variables(&[
                ("C", plain("session")),
                ("D_TOKEN", secret),
                ("PATH", plain("/x")),
            ]),
            ..Plan::default()
        }
    })
    .await;
    let container = ContainerVariables {
        values: [("A", "platform"), ("E", "platform"), ("F_TOKEN", "s3cret-of-the-platform")]
            .map(|(name, value)| (name.to_owned(), SecretString::from(value)))
            .into(),
        hosts: [("F_TOKEN".to_owned(), vec!["f.example.com".parse().unwrap()])].into(),
        ..ContainerVariables::default()
    };
    let desk = desk_with(&house.database, &Shutdown::new(), &container);
    let bound = bind(&desk, &house).await.unwrap();
    let mut environment: BTreeMap<String, String> = bound.environment.into_iter().collect();
    let token = environment.remove("D_TOKEN").unwrap();
    let of_platform = environment.remove("F_TOKEN").unwrap();
    let expected = [("A", "env"), ("B", "agent"), ("C", "session"), ("E", "platform")];
    assert_eq!(
        environment,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    );

    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(sent(&rules, "a.example.com", &token).unwrap(), "s3cret-of-the-session");
    assert_eq!(sent(&rules, "f.example.com", &of_platform).unwrap(), "s3cret-of-the-platform");
    assert!(matches!(sent(&rules, "b.example.com", &token), Err(Misuse::Placeholder { .. })));
}

#[tokio::test]
async fn a_sandbox_gets_placeholders_that_stay_and_planted_values() {
    let house = House::build(async |_| Plan::default()).await;
    let value = house.sealer().seal("ghp_a-real-value").await;
    house.add_credential(environment_variable(value, "GITHUB_TOKEN", "github.com")).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let first = bind(&desk, &house).await.unwrap();
    let again = bind(&desk_of(&house.database, &Shutdown::new()), &house).await.unwrap();
    assert_eq!(first, again);
    let placeholder = &first.environment["GITHUB_TOKEN"];
    assert!(placeholder.starts_with("ghp_") && placeholder.len() == 40, "{placeholder}");
    assert!(!format!("{first:?}").contains("a-real-value"));
    assert_eq!(first.files.len(), 2);
    assert_eq!(first.honey_values.len(), 3);

    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(sent(&rules, "github.com", placeholder).unwrap(), "ghp_a-real-value");
    let honey = sent(&rules, "github.com", &first.honey_values[0]);
    assert!(matches!(honey, Err(Misuse::HoneyValue { .. })));
}

#[tokio::test]
async fn a_sandbox_of_another_session_is_not_bound() {
    let house = House::build(async |_| Plan::default()).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let bind = BindEgress {
        team_id: house.team.id.uuid().to_string(),
        session_id: uuid::Uuid::now_v7().to_string(),
    };
    let reply = ask(&desk, &house.sandbox.uuid().to_string(), Action::Bind(bind)).await;
    assert_eq!((reply.error.as_str(), reply.outcome), ("the sandbox is not that session's", None));
}

#[tokio::test]
async fn an_archived_credential_is_used_no_more_once_rules_are_looked_at_anew() {
    let house = House::build(async |_| Plan::default()).await;
    let value = house.sealer().seal("a-real-value").await;
    let added = house.add_credential(environment_variable(value, "A_TOKEN", "a.example.com")).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let placeholder = bind(&desk, &house).await.unwrap().environment["A_TOKEN"].clone();
    let loader = |hold| {
        let platform = PlatformVariables::default();
        Loader::new(house.database.clone(), keys(), platform, Vec::new()).holding_for(hold)
    };
    let (patient, eager) = (loader(Duration::MAX), loader(Duration::ZERO));
    for loader in [&patient, &eager] {
        let rules = loader.rules_of(house.sandbox).await.unwrap().unwrap();
        assert!(sent(&rules, "a.example.com", &placeholder).is_ok());
    }
    {
        let mut connection = house.database.connection().await.unwrap();
        let (team, vault, id) = (house.team.id, house.vault.id, added.id);
        credential::archive(&mut connection, team, vault, id, SystemClock.now()).await.unwrap();
    }
    let known = patient.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(sent(&known, "a.example.com", &placeholder).unwrap(), "a-real-value");
    let rules = eager.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(sent(&rules, "a.example.com", &placeholder).unwrap(), placeholder);
    assert!(!rules.secrets.concern(&"a.example.com".parse().unwrap(), 443));
}

#[tokio::test]
async fn it_is_told_what_a_host_would_get_and_why() {
    let house = House::build(async |sealer| {
        let secret_id = sealer.seal("a-real-value").await;
        let host = "192.0.2.1".parse().unwrap();
        let secret = Variable::Secret { secret_id, allowed_hosts: vec![host] };
        Plan {
            networking: Networking::Limited {
                allowed_hosts: vec!["192.0.2.1".to_owned(), "127.0.0.1".to_owned()],
                rules: Vec::new(),
                allow_mcp_servers: false,
                allow_package_managers: false,
            },
            of_environment: variables(&[("A_TOKEN", secret)]),
            ..Plan::default()
        }
    })
    .await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let check = async |host: &str| {
        let check = CheckPolicy {
            team_id: house.team.id.uuid().to_string(),
            environment_id: house.environment.id.uuid().to_string(),
            host: host.to_owned(),
            port: 443,
            method: String::new(),
            path: String::new(),
        };
        match ask(&desk, "", Action::CheckPolicy(check)).await.outcome {
            Some(Outcome::PolicyChecked(checked)) => checked,
            other => panic!("{other:?}"),
        }
    };
    let allowed = check("192.0.2.1").await;
    assert!(allowed.allowed && allowed.tls_terminated, "{allowed:?}");
    assert_eq!(allowed.credentials, ["A_TOKEN"]);
    assert!(allowed.reason.contains("vaults, are not considered"), "{allowed:?}");
    assert_eq!(allowed.addresses, ["192.0.2.1"]);
    let inside = check("127.0.0.1").await;
    assert!(!inside.allowed && inside.reason.contains("loopback"), "{inside:?}");
    let other = check("example.com").await;
    assert!(!other.allowed && other.remedy.contains("allowed_hosts"), "{other:?}");
    assert_eq!(check("0x7f.1").await.code, "invalid_host");
}
