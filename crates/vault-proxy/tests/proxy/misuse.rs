//! Credentials on their way out, and values where they do not belong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Full;
use platform_core::credential::InjectionLocation;
use platform_core::egress::{AlarmKind, Verdict};
use platform_core::id::SessionId;
use platform_sealing::EncryptionKeys;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vault_proxy::rules::Secrets;
use vault_proxy::secrets::shape::Shape;
use vault_proxy::secrets::strangers::{Recogniser, Strangers};
use vault_proxy::secrets::{Hosts, NamedSecret, SecretUse, SecretsParts};

use crate::client::{Answered, http1_over, tls_to};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

const PLACEHOLDER: &str = "lap_0123456789abcdefghijklmnop";
const VALUE: &str = "the-real-value";

fn secret_of(host: &str) -> Secrets {
    secret_in(host, InjectionLocation::default())
}

fn secret_in(host: &str, location: InjectionLocation) -> Secrets {
    secret_with(VALUE, host, location)
}

fn secret_with(value: &str, host: &str, location: InjectionLocation) -> Secrets {
    let value = SecretUse {
        value: value.into(),
        hosts: Hosts::Only(vec![host.parse().unwrap()]),
        location,
    };
    let named = NamedSecret {
        name: "API_TOKEN".to_owned(),
        placeholders: vec![PLACEHOLDER.to_owned()],
        uses: vec![value],
    };
    Secrets::new(SecretsParts { named: vec![named], ..SecretsParts::default() })
}

#[tokio::test]
async fn a_credential_goes_to_its_own_host_and_nowhere_else() {
    let root = Root::create();
    let tls = root.server(&["api.test", "other.test"], &["h2"]);
    let (server, mut received) = Server::telling(Some(tls)).await;
    let (host, other) =
        (format!("api.test:{}", server.port), format!("other.test:{}", server.port));
    let plan = Plan::unrestricted()
        .inside("api.test", server.port)
        .inside("other.test", server.port)
        .secrets(secret_of(&host));
    let mut house = House::open(&root, plan);
    // TLS is ended where a credential applies, without anybody having asked for inspection.
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
    let mut sender = http1_over(stream).await;
    let request = |host: &str, body: &str| {
        let request = Request::post("/").header("host", host);
        let body = Full::from(body.to_owned());
        request.header("authorization", format!("Bearer {PLACEHOLDER}")).body(body).unwrap()
    };
    let answered = Answered::read(sender.send_request(request(&host, "")).await.unwrap()).await;
    assert_eq!(answered.body, "hello");
    let got = received.recv().await.unwrap();
    assert_eq!(got.headers["authorization"], format!("Bearer {VALUE}"));
    assert_eq!(house.decisions.recv().await.unwrap().verdict, Verdict::Allowed);

    // In a place where the credential does not say so.
    let response = sender.send_request(request(&host, PLACEHOLDER)).await.unwrap();
    let answered = Answered::read(response).await;
    assert_eq!((answered.status.as_u16(), answered.code().as_str()), (403, "placeholder_misused"));
    let alarm = house.alarms.recv().await.unwrap();
    assert_eq!(
        (alarm.kind, alarm.host.as_deref()),
        (AlarmKind::PlaceholderMisused, Some("api.test"))
    );
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!(decision.code.as_deref(), Some("placeholder_misused"));

    // At another host, in clear: seen, refused, and told.
    let mut sender = http1_over(house.dial().await).await;
    let mut elsewhere = request(&other, "");
    *elsewhere.uri_mut() = format!("http://{other}/").parse().unwrap();
    let answered = Answered::read(sender.send_request(elsewhere).await.unwrap()).await;
    assert_eq!(answered.code(), "placeholder_misused");
    assert_eq!(house.alarms.recv().await.unwrap().host.as_deref(), Some("other.test"));
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn another_session_s_placeholder_leaves_to_no_host_in_no_place() {
    let root = Root::create();
    let (server, mut received) = Server::telling(None).await;
    let host = format!("plain.test:{}", server.port);
    let keys = EncryptionKeys::new(&SecretString::from("a key of enough characters"), &[]).unwrap();
    let [own, parent, other] = [1, 2, 3].map(|it| SessionId::from_uuid(uuid::Uuid::from_u128(it)));
    let of = |session| Shape::of("A_TOKEN", b"").placeholder(keys.current(), session, "A_TOKEN");
    let recogniser = Arc::new(Recogniser::new(&keys));
    let strangers = Strangers { recogniser, session: own, ancestors: vec![parent] };
    let secrets = Secrets::among(strangers, SecretsParts::default());
    let plan = Plan::unrestricted().inside("plain.test", server.port).secrets(secrets);
    let mut house = House::open(&root, plan);
    let mut send = async |query: &str, header: &str, body: String| {
        let mut sender = http1_over(house.dial().await).await;
        let request = Request::post(format!("http://{host}/{query}")).header("host", &host);
        let request = request.header("authorization", header).body(Full::from(body)).unwrap();
        let answered = Answered::read(sender.send_request(request).await.unwrap()).await;
        let decision = house.decisions.recv().await.unwrap();
        (answered, decision.code, house.alarms.try_recv().ok().map(|alarm| alarm.kind))
    };
    let foreign = of(other);
    let basic = format!("Basic {}", STANDARD.encode(format!("x:{foreign}")));
    // Long enough that it comes in pieces.
    let long = format!("{}{foreign}", "x".repeat(200_000));
    for (query, header, body) in [
        (format!("?key={foreign}"), String::new(), String::new()),
        (String::new(), format!("Bearer {foreign}"), String::new()),
        (String::new(), basic, String::new()),
        (String::new(), String::new(), format!("token={foreign}")),
        (String::new(), String::new(), long),
    ] {
        let (answered, code, alarm) = send(&query, &header, body).await;
        assert_eq!(answered.code(), "foreign_placeholder", "{query} {header}");
        assert_eq!(code.as_deref(), Some("foreign_placeholder"));
        assert_eq!(alarm, Some(AlarmKind::PlaceholderMisused));
    }
    // It came with the files of the session that this one was forked from.
    let (answered, code, alarm) = send("", &of(parent), String::new()).await;
    assert_eq!(answered.code(), "inherited_placeholder");
    assert_eq!((code.as_deref(), alarm), (Some("inherited_placeholder"), None));
    // Its own, of a secret that is no more, is a text like any other.
    let (answered, code, alarm) = send("", &of(own), of(own)).await;
    assert_eq!((&*answered.body, code, alarm), (&b"hello"[..], None, None));
    let got = received.recv().await.unwrap();
    assert_eq!(got.headers["authorization"], of(own));
    assert_eq!(got.body, of(own));
}

#[tokio::test]
async fn a_small_body_into_which_a_value_was_put_tells_its_length() {
    let root = Root::create();
    let tls = root.server(&["api.test"], &["http/1.1"]);
    let (server, mut received) = Server::telling(Some(tls)).await;
    let host = format!("api.test:{}", server.port);
    let location = InjectionLocation { body: true, ..InjectionLocation::default() };
    let secrets = secret_in(&host, location);
    let plan = Plan::unrestricted().inside("api.test", server.port).secrets(secrets);
    let house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
    let mut sender = http1_over(stream).await;
    let body = Full::from(format!("token={PLACEHOLDER}"));
    let request = Request::post("/").header("host", &host).body(body).unwrap();
    Answered::read(sender.send_request(request).await.unwrap()).await;
    let got = received.recv().await.unwrap();
    assert_eq!(got.body, format!("token={VALUE}"));
    assert_eq!(got.headers["content-length"], got.body.len().to_string());
}

#[tokio::test]
async fn a_large_body_keeps_its_length_where_the_value_is_as_long_as_its_placeholder() {
    let root = Root::create();
    let tls = root.server(&["api.test"], &["http/1.1"]);
    let (server, mut received) = Server::telling(Some(tls)).await;
    let host = format!("api.test:{}", server.port);
    for (value, length_is_told) in [("another-30-characters-long-one", true), (VALUE, false)] {
        let location = InjectionLocation { body: true, ..InjectionLocation::default() };
        let secrets = secret_with(value, &host, location);
        let plan = Plan::unrestricted().inside("api.test", server.port).secrets(secrets);
        let house = House::open(&root, plan);
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
        let body = |text: &str| format!("{text}{}{text}", "x".repeat(700_000));
        let request = Request::post("/").header("host", &host);
        let request = request.body(Full::from(body(PLACEHOLDER))).unwrap();
        Answered::read(http1_over(stream).await.send_request(request).await.unwrap()).await;
        let got = received.recv().await.unwrap();
        assert!(got.body == body(value));
        let told = got.headers.get("content-length").map(|it| it.to_str().unwrap().to_owned());
        assert_eq!(told, length_is_told.then(|| got.body.len().to_string()));
    }
}

/// Whoever takes connections and what is said on the first one, in clear.
async fn listening() -> (tokio::net::TcpListener, u16) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_credential_s_host_is_not_reached_past_whoever_looks_in() {
    let root = Root::create();
    let ((listener, port), (_usual, usual)) = (listening().await, listening().await);
    let target = format!("api.test:{port}");
    // Of the credential's own port and of another one that the environment names.
    for secrets in [secret_of(&target), secret_of(&format!("api.test:{usual}"))] {
        for plan in [Plan::unrestricted(), Plan::limited(&[&target])] {
            let mut house =
                House::open(&root, plan.inside("api.test", port).secrets(secrets.clone()));
            let mut stream = house.connect(&target).await;
            stream.write_all(b"\0neither TLS nor HTTP").await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            let decision = house.decisions.recv().await.unwrap();
            assert_eq!(decision.code.as_deref(), Some("not_tls_or_http"));
        }
    }
    let accepted = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(accepted.is_err(), "the host was called");
}

#[tokio::test]
async fn silence_opens_no_tunnel_to_a_credential_s_host() {
    let root = Root::create();
    let (listener, port) = listening().await;
    let target = format!("api.test:{port}");
    // A host at which no credential may be used may speak first.
    let plan = Plan::limited(&[&target]).inside("api.test", port);
    let house = House::open(&root, plan.secrets(secret_of("other.test:1")));
    let _stream = house.connect(&target).await;
    listener.accept().await.unwrap();
    let plan = Plan::limited(&[&target]).inside("api.test", port);
    let house = House::open(&root, plan.secrets(secret_of("api.test:1")));
    let _stream = house.connect(&target).await;
    // Twice as long as the other one was waited for.
    let patience = std::time::Duration::from_millis(600);
    assert!(tokio::time::timeout(patience, listener.accept()).await.is_err());
}

#[tokio::test]
async fn what_a_credential_s_host_says_on_another_port_is_looked_into_as_well() {
    let root = Root::create();
    let tls = root.server(&["api.test"], &["http/1.1"]);
    let server = Server::start(Some(tls), |_request| {
        Box::pin(async { http::Response::new(text(format!("kept {VALUE}"))) })
    })
    .await;
    let target = format!("api.test:{}", server.port);
    let plan = Plan::limited(&[&target]).inside("api.test", server.port);
    let house = House::open(&root, plan.secrets(secret_of("api.test")));
    let stream = house.connect(&target).await;
    let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
    let request = Request::get("/").header("host", &target).body(Full::default()).unwrap();
    let response = http1_over(stream).await.send_request(request).await.unwrap();
    assert_eq!(Answered::read(response).await.body, format!("kept {PLACEHOLDER}"));
}

#[tokio::test]
async fn a_credential_s_host_is_not_reached_by_its_address() {
    let root = Root::create();
    let (server, mut received) = Server::telling(Some(root.server(&["api.test"], &[]))).await;
    let target = format!("127.0.0.1:{}", server.port);
    let plan = Plan::unrestricted().inside("127.0.0.1", server.port);
    let mut house = House::open(&root, plan.secrets(secret_of("api.test")));
    let stream = house.connect(&target).await;
    let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
    let request = Request::get("/").header("host", &target).body(Full::default()).unwrap();
    let response = http1_over(stream).await.send_request(request).await.unwrap();
    assert_eq!(Answered::read(response).await.code(), "sni_mismatch");
    assert_eq!(house.decisions.recv().await.unwrap().code.as_deref(), Some("sni_mismatch"));
    assert!(received.try_recv().is_err());
}
