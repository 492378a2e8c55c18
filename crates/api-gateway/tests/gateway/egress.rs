//! What the way out decides: listed, live, and asked beforehand.

use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::{Id, SessionId};
use platform_core::session::EventBody;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{CheckPolicy, EgressReply, PolicyChecked};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{FakeVaultProxy, Gateway};

async fn decide(gateway: &Gateway, session: &str, verdict: Verdict, host: &str) -> Value {
    let session_id: SessionId = session.parse().unwrap();
    let decision = EgressDecision {
        id: Id::from_uuid(Uuid::now_v7()),
        team_id: gateway.fake.team_of(session_id).await,
        session_id,
        sandbox_id: Id::from_uuid(Uuid::now_v7()),
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        verdict,
        rule: "allowed_hosts: a.example".to_owned(),
        code: None,
        host: host.to_owned(),
        port: 443,
        method: Some("GET".to_owned()),
        path: Some("/a".to_owned()),
        status: Some(200),
        bytes_out: 10,
        bytes_in: 20,
    };
    gateway.fake.decide(&decision).await;
    json!({
        "id": decision.id.to_string(), "type": "egress_decision", "session_id": session,
        "sandbox_id": decision.sandbox_id.to_string(), "at": "2026-01-02T03:04:05Z",
        "verdict": verdict.as_word(), "rule": "allowed_hosts: a.example", "code": null,
        "host": host, "port": 443, "method": "GET", "path": "/a", "status": 200,
        "bytes_out": 10, "bytes_in": 20,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_listed_page_by_page_and_by_verdict_and_host() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{session}/egress");
    assert_eq!(team.get(&path).await.ok(), json!({"data": [], "next_page": null}));
    let one = decide(&gateway, &session, Verdict::Allowed, "a.example").await;
    let two = decide(&gateway, &session, Verdict::Denied, "b.example").await;
    let three = decide(&gateway, &session, Verdict::Denied, "a.example").await;
    let data = async |query: &str| team.get(&format!("{path}?{query}")).await.ok()["data"].clone();
    assert_eq!(data("").await, json!([three, two, one]));
    assert_eq!(data("order=asc").await, json!([one, two, three]));
    assert_eq!(data("verdict=denied").await, json!([three, two]));
    assert_eq!(data("host=A.example&verdict=allowed").await, json!([one]));
    let first = team.get(&format!("{path}?limit=2")).await.ok();
    let next = first["next_page"].as_str().unwrap();
    assert_eq!(data(&format!("limit=2&page={next}")).await, json!([one]));
    for wrong in ["verdict=maybe", "host=a%20b", "colour=red", "limit=0", "page=x"] {
        team.get(&format!("{path}?{wrong}")).await.refused(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_list_is_unavailable_and_not_empty() {
    let gateway = Gateway::start_without_database().await;
    let path = "/v1/sessions/sesn_01935a7e7c1b7e2a8f000123456789ab/egress";
    gateway.administrator().get(path).await.refused(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_streamed_to_whoever_asks_for_them_and_not_shown_again() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{session}/events/stream");
    let mut with = team.stream(&format!("{path}?include%5B%5D=egress")).await;
    let mut without = team.stream(&path).await;
    let decided = decide(&gateway, &session, Verdict::Denied, "b.example").await;
    let frame = with.frame().await;
    assert_eq!((frame.id, frame.name.as_str(), &frame.data), (None, "egress", &decided));
    let error = EventBody::SessionStatusRunning {};
    let told = gateway.fake.tell(&session, vec![error]).await[0].number;
    for stream in [&mut with, &mut without] {
        assert_eq!(stream.frame().await.id, Some(told));
    }
    let mut again = team.stream(&format!("{path}?include%5B%5D=egress&after={}", told - 1)).await;
    assert_eq!(again.frame().await.id, Some(told));
    team.get(&format!("{path}?include[]=everything")).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_would_get_is_asked_of_the_way_out() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let environment = team.post("/v1/environments", json!({"name": "n"})).await.ok();
    let path = format!("/v1/environments/{}/policy_check", environment["id"].as_str().unwrap());
    let checked = PolicyChecked {
        allowed: false,
        code: "host_not_allowed".to_owned(),
        reason: "no".to_owned(),
        remedy: "add it".to_owned(),
        addresses: vec!["192.0.2.1".to_owned()],
        credentials: vec!["GITHUB_TOKEN".to_owned()],
        ..PolicyChecked::default()
    };
    let outcome = Some(Outcome::PolicyChecked(checked));
    let way_out =
        FakeVaultProxy::run(&gateway.broker, EgressReply { error: String::new(), outcome });
    let body = json!({"host": "https://API.example.com:8443/a?b", "method": "get"});
    let expected = json!({
        "type": "policy_check", "host": "api.example.com", "port": 8443, "allowed": false, "rule": null,
        "code": "host_not_allowed", "reason": "no", "remedy": "add it", "addresses": ["192.0.2.1"],
        "credentials": ["GITHUB_TOKEN"], "tls_terminated": false,
    });
    assert_eq!(team.post(&path, body).await.ok(), expected);
    let asked = way_out.asked();
    let [Action::CheckPolicy(CheckPolicy { host, port, method, path: asked, .. })] =
        asked.as_slice()
    else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (host.as_str(), *port, method.as_str(), asked.as_str()),
        ("api.example.com", 8443, "GET", "/a")
    );
    team.post(&path, json!({"host": "2130706433"})).await.refused(400);
    team.post(&path, json!({"host": "a.example", "port": 0})).await.refused(400);
    assert_eq!(way_out.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_that_cannot_answer_is_unavailable() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let environment = team.post("/v1/environments", json!({"name": "n"})).await.ok();
    let path = format!("/v1/environments/{}/policy_check", environment["id"].as_str().unwrap());
    let error = "the database cannot be reached".to_owned();
    let _way_out = FakeVaultProxy::run(&gateway.broker, EgressReply { error, outcome: None });
    let refused = team.post(&path, json!({"host": "a.example"})).await;
    refused.refused(503);
    assert!(!refused.text.contains("database"), "{}", refused.text);
}
