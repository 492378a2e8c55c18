//! OAuth tokens are renewed before they expire, once, and credentials are tried out at their servers.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::TimeDelta;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use platform_core::clock::Clock;
use platform_core::credential::{CredentialAuth, OauthRefresh, TokenEndpointAuth};
use platform_core::network::Host;
use platform_messaging::proto::egress::ValidateCredential;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::Shutdown;
use serde_json::Value;
use tokio::net::TcpListener;
use vault_proxy::rules::{Injection, RulesSource, SessionRules};

use crate::house::{House, Plan, ask, desk_of};

/// A token endpoint at `/token`, and an MCP server at `/mcp` that takes the newest token only.
struct Server {
    port: u16,
    /// The forms that came to the token endpoint.
    forms: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let forms = Arc::<Mutex<Vec<String>>>::default();
        let seen = forms.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                let service = service_fn(move |request| serve(request, seen.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { port, forms }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn internal_host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

async fn serve(
    request: Request<Incoming>,
    forms: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let count = forms.lock().unwrap().len();
    if head.uri.path() == "/token" {
        let login = head.headers.get("authorization").map_or("", |it| it.to_str().unwrap());
        let form = format!("{login} {}", String::from_utf8_lossy(&body));
        forms.lock().unwrap().push(form);
        let answer = format!(
            r#"{{"access_token":"access-token-{}","refresh_token":"refresh-token-{}","expires_in":3600}}"#,
            count + 1,
            count + 1
        );
        return Ok(Response::new(Full::new(answer.into())));
    }
    let token = head.headers.get("authorization").map_or("", |it| it.to_str().unwrap()).to_owned();
    let mut answer = Response::new(Full::new(format!("you sent {token}").into()));
    if token != format!("Bearer access-token-{count}") {
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(answer)
}

async fn house_at(server: &Server) -> House {
    let internal_hosts = vec![server.internal_host()];
    House::build(async move |_| Plan { internal_hosts, ..Plan::default() }).await
}

async fn oauth(house: &House, server: &Server, expires_in: TimeDelta) -> CredentialAuth {
    let sealer = house.sealer();
    let auth =
        TokenEndpointAuth::ClientSecretBasic { client_secret: sealer.seal("client secret").await };
    CredentialAuth::McpOauth {
        access_token: sealer.seal("access-token-0-old").await,
        mcp_server_url: server.url("/mcp"),
        expires_at: Some(SystemClock.now() + expires_in),
        refresh: Some(OauthRefresh {
            client_id: "client".to_owned(),
            refresh_token: sealer.seal("refresh-token-0").await,
            token_endpoint: server.url("/token"),
            token_endpoint_auth: auth,
            resource: None,
            scope: Some("a b".to_owned()),
        }),
    }
}

fn token_sent(rules: &SessionRules, server: &Server) -> String {
    let host: Host = "127.0.0.1".parse().unwrap();
    let (mut head, ()) = Request::get("/mcp").body(()).unwrap().into_parts();
    let target =
        Injection { host: &host, port: server.port, is_encrypted: false, is_internal: true };
    rules.secrets.inject(&target, &mut head).unwrap();
    head.headers.get("authorization").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_once_for_all_replicas() {
    let server = Server::start().await;
    let house = house_at(&server).await;
    house.add_credential(oauth(&house, &server, TimeDelta::minutes(4)).await).await;
    let shutdown = Shutdown::new();
    let replicas = [desk_of(&house.database, &shutdown), desk_of(&house.database, &shutdown)];
    let (one, other) = tokio::join!(
        replicas[0].loader.rules_of(house.sandbox),
        replicas[1].loader.rules_of(house.sandbox)
    );
    for rules in [one, other] {
        let rules = rules.unwrap().unwrap();
        assert_eq!(token_sent(&rules, &server), "Bearer access-token-1");
    }
    let forms = server.forms.lock().unwrap().clone();
    assert_eq!(
        forms,
        [
            "Basic Y2xpZW50OmNsaWVudCUyMHNlY3JldA== grant_type=refresh_token&refresh_token=refresh-token-0&scope=a%20b"
        ]
    );
}

#[tokio::test]
async fn a_token_that_holds_for_long_is_left_as_it_is() {
    let server = Server::start().await;
    let house = house_at(&server).await;
    house.add_credential(oauth(&house, &server, TimeDelta::hours(1)).await).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(token_sent(&rules, &server), "Bearer access-token-0-old");
    assert!(server.forms.lock().unwrap().is_empty());
}

#[tokio::test]
async fn when_a_token_cannot_be_renewed_the_old_one_is_used() {
    let server = Server::start().await;
    let house = house_at(&server).await;
    let mut auth = oauth(&house, &server, TimeDelta::minutes(1)).await;
    if let CredentialAuth::McpOauth { refresh: Some(refresh), .. } = &mut auth {
        // In clear, and no host of the team's.
        refresh.token_endpoint = "http://127.0.0.1:9/token".to_owned();
    }
    house.add_credential(auth).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    assert_eq!(token_sent(&rules, &server), "Bearer access-token-0-old");
}

#[tokio::test]
async fn a_credential_is_tried_out_renewed_when_refused_and_never_shown() {
    let server = Server::start().await;
    let house = house_at(&server).await;
    let added = house.add_credential(oauth(&house, &server, TimeDelta::hours(1)).await).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let validate = ValidateCredential {
        team_id: house.team.id.uuid().to_string(),
        vault_id: house.vault.id.uuid().to_string(),
        credential_id: added.id.uuid().to_string(),
    };
    let reply = ask(&desk, "", Action::ValidateCredential(validate)).await;
    let Some(Outcome::CredentialValidated(validated)) = reply.outcome else { panic!("{reply:?}") };
    let validation: Value = serde_json::from_slice(&validated.validation).unwrap();
    assert_eq!(validation["status"], "valid", "{validation}");
    assert_eq!(validation["refresh"]["status"], "succeeded");
    assert_eq!(validation["mcp_probe"]["method"], "initialize");
    let response = &validation["mcp_probe"]["http_response"];
    assert_eq!(response["status_code"], 200);
    assert_eq!(response["body"], "you sent Bearer [redacted: token]");
    assert_eq!(validation["has_refresh_token"], true);
}
