//! Credentials on their way out, and values where they do not belong.

use http::Request;
use http_body_util::Full;
use platform_core::credential::InjectionLocation;
use platform_core::egress::{AlarmKind, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vault_proxy::rules::Secrets;
use vault_proxy::secrets::{Hosts, NamedSecret, SecretUse, SecretsParts};

use crate::client::{Answered, http1_over, tls_to};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server};

const PLACEHOLDER: &str = "lap_0123456789abcdefghijklmnop";
const VALUE: &str = "the-real-value";

fn secret_of(host: &str) -> Secrets {
    secret_in(host, InjectionLocation::default())
}

fn secret_in(host: &str, location: InjectionLocation) -> Secrets {
    let value = SecretUse {
        value: VALUE.into(),
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
async fn a_credential_s_host_is_not_reached_past_whoever_looks_in() {
    let root = Root::create();
    let (server, mut received) = Server::telling(None).await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).secrets(secret_of(&host));
    let mut house = House::open(&root, plan);
    let mut stream = house.connect(&host).await;
    stream.write_all(b"\0neither TLS nor HTTP").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!(decision.code.as_deref(), Some("not_tls_or_http"));
    assert!(received.try_recv().is_err());
}
