//! Whatever goes well or wrong with secrets, nothing of them is in a log, an error or an answer.

use std::io;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use http::Request;
use platform_core::clock::Clock;
use platform_core::credential::{CredentialAuth, OauthRefresh, TokenEndpointAuth};
use platform_core::network::Host;
use platform_core::variable::Variable;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{BindEgress, ValidateCredential};
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::Shutdown;
use platform_runtime::settings::ContainerVariables;
use platform_sealing::EncryptionKeys;
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use vault_proxy::rules::{Injection, RulesSource};

use crate::house::{House, Plan, ask, desk_with};

/// In every value that is planted here.
const PLANTED: &str = "c4nary-0f-th3-t3st";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_secret_is_told_to_anybody() {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || written.clone())
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);

    let house = House::build(async |sealer| {
        let stranger = SecretString::from("a key that nobody has any more");
        let stranger = EncryptionKeys::new(&stranger, &[]).unwrap();
        let secret_id = sealer.seal_under(&stranger, &format!("{PLANTED}-unreadable")).await;
        let unreadable = Variable::Secret { secret_id, allowed_hosts: Vec::new() };
        Plan { of_session: [("B_TOKEN".to_owned(), unreadable)].into(), ..Plan::default() }
    })
    .await;
    let sealer = house.sealer();
    let oauth = CredentialAuth::McpOauth {
        access_token: sealer.seal(&format!("{PLANTED}-access")).await,
        mcp_server_url: "https://127.0.0.1:9/mcp".to_owned(),
        expires_at: Some(SystemClock.now() + TimeDelta::minutes(1)),
        refresh: Some(OauthRefresh {
            client_id: "client".to_owned(),
            refresh_token: sealer.seal(&format!("{PLANTED}-refresh")).await,
            token_endpoint: "https://127.0.0.1:9/token".to_owned(),
            token_endpoint_auth: TokenEndpointAuth::None,
            resource: None,
            scope: None,
        }),
    };
    let oauth = house.add_credential(oauth).await;
    let value = SecretString::from(format!("{PLANTED}-platform"));
    let container = ContainerVariables {
        values: [("A_TOKEN".to_owned(), value)].into(),
        hosts: [("A_TOKEN".to_owned(), vec!["a.example.com".parse().unwrap()])].into(),
        ..ContainerVariables::default()
    };
    let desk = desk_with(&house.database, &Shutdown::new(), &container);
    let mut told = Vec::new();
    let bind = BindEgress {
        team_id: house.team.id.uuid().to_string(),
        session_id: house.session.id.uuid().to_string(),
    };
    let bound = ask(&desk, &house.sandbox.uuid().to_string(), Action::Bind(bind)).await;
    told.push(format!("{bound:?}"));
    let validate = ValidateCredential {
        team_id: house.team.id.uuid().to_string(),
        vault_id: house.vault.id.uuid().to_string(),
        credential_id: oauth.id.uuid().to_string(),
    };
    let validated = ask(&desk, "", Action::ValidateCredential(validate)).await;
    told.push(format!("{validated:?}"));
    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    told.push(format!("{rules:?} {container:?} {:?}", desk.loader.platform()));
    for host in ["a.example.com", "b.example.com"] {
        let host: Host = host.parse().unwrap();
        let target = Injection { host: &host, port: 443, is_encrypted: true, is_internal: false };
        let Some(platform_messaging::proto::egress::egress_reply::Outcome::Bound(bound)) =
            &bound.outcome
        else {
            panic!("{bound:?}")
        };
        let request = Request::get("/").header("x-key", &bound.environment["A_TOKEN"]);
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let injected = rules.secrets.inject(&target, &mut head);
        told.push(format!("{injected:?} {head:?}"));
    }
    told.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let told = told.join("\n");
    assert!(told.contains("a token could not be renewed"), "{told}");
    assert!(told.contains("a secret cannot be opened"), "{told}");
    assert!(!told.contains(PLANTED), "{told}");
}
