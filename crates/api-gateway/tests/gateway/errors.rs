//! Bad input, and dependencies that are away: a clear answer, and nothing lost.

use reqwest::Method;
use serde_json::json;

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_envelope_and_the_id_of_its_request() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    for (path, status, kind) in [
        ("/v1/agents/agent_01935a7e7c1b7e2a8f000123456789ab", 404, "not_found_error"),
        ("/v1/agents/nonsense", 404, "not_found_error"),
        ("/v1/nothing", 404, "not_found_error"),
        ("/v1/agents?page=nonsense", 400, "invalid_request_error"),
        ("/v1/agents?limit=0", 400, "invalid_request_error"),
        ("/v1/agents?colour=red", 400, "invalid_request_error"),
        ("/v1/sessions?statuses[]=asleep", 400, "invalid_request_error"),
    ] {
        let answer = team.get(path).await;
        let body = answer.refused(status);
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!(kind)),
            "{path}"
        );
        assert_eq!(answer.header("request-id"), body["request_id"].as_str(), "{path}");
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
    let answer = team.get("/api/sessions/sesn_01935a7e7c1b7e2a8f000123456789ab").await;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.refused(404)["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_broken_or_too_large_is_refused() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let send = async |body: String| {
        let request = team.request(&Method::POST, "/v1/agents").body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(send("{".to_owned()).await.0, 400);
    assert_eq!(send(String::new()).await.0, 400);
    let (status, text) = send(format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024))).await;
    assert_eq!(status, 413, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_commands_are_refused_for_now_and_reading_goes_on() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    gateway.broker.close().await;
    let path = format!("/v1/sessions/{id}/events");
    let body = json!({"events": [{"type": "user.message", "content": "x"}]});
    let refused = team.post(&path, body).await;
    assert_eq!(refused.refused(503)["error"]["type"], "api_error");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(team.get(&format!("/v1/sessions/{id}")).await.ok()["id"], session["id"]);
    assert_eq!(team.get(&path).await.ok()["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_every_request_is_refused_for_now() {
    let gateway = Gateway::start_without_database().await;
    let refused = gateway.administrator().get("/v1/agents").await;
    assert_eq!(refused.refused(503)["error"]["type"], "api_error");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let readiness = gateway.anonymous().get("/readyz").await;
    assert_eq!((readiness.status, gateway.anonymous().get("/healthz").await.status), (503, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_carries_out_in_time_is_taken_all_the_same() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let agent = team.new_agent().await;
    let answer = team.post("/v1/sessions", json!({"agent": agent["id"], "title": "t"})).await;
    assert_eq!(answer.status, 202);
    let expected = answer.ok();
    for list in ["resources", "outcome_evaluations", "vault_ids"] {
        assert_eq!(expected[list], json!([]), "{list}");
    }
    gateway.fake.run();
    let path = format!("/v1/sessions/{}", expected["id"].as_str().unwrap());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let answer = team.get(&path).await;
        if answer.status == 200 {
            assert_eq!(answer.ok()["title"], "t");
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the session never came to be");
        tokio::task::yield_now().await;
    }
}
