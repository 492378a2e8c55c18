//! A gateway that is told to end: nobody loses anything, and everybody knows where to go on.

use std::time::{Duration, Instant};

use platform_core::session::{ContentBlock, EventBody};
use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, OpenStream};

fn agent_says(text: &str) -> EventBody {
    EventBody::AgentMessage { content: vec![ContentBlock::text(text)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_gateway_that_ends_goes_on_at_another_and_misses_nothing() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let mut process = gateway.process().await;
    let there = team.at(&process.url);
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream");
    let mut stream = there.stream(&path).await;
    gateway.fake.tell(id, vec![agent_says("1"), agent_says("2")]).await;
    assert_eq!(stream.shorts(2).await, ["agent.message 1", "agent.message 2"]);

    process.terminate();
    assert_eq!(stream.next().await, None);
    let farewell = stream.comments();
    assert!(farewell.contains("this server ends"), "{farewell}");
    let request = team.request(&Method::GET, &path).header("last-event-id", "2");
    gateway.fake.tell(id, vec![agent_says("3")]).await;
    let mut resumed = OpenStream::open(request).await;
    gateway.fake.tell(id, vec![agent_says("4")]).await;
    assert_eq!(resumed.shorts(2).await, ["agent.message 3", "agent.message 4"]);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_says_so_before_it_closes_and_finishes_what_it_has_in_hand() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let mut process = gateway.process().await;
    let there = team.at(&process.url);
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let stream_path = format!("/v1/sessions/{id}/events/stream");
    let mut stream = there.stream(&stream_path).await;
    let asking = {
        let (there, path) = (there.clone(), format!("/api/sessions/{id}/messages?wait=60"));
        tokio::spawn(async move { there.post(&path, json!({"text": "hi"})).await })
    };
    assert_eq!(stream.frame().await.name, "user.message");

    let told_at = Instant::now();
    process.terminate();
    while stream.next().await.is_some() {}
    let readiness = there.get("/readyz").await;
    assert_eq!(readiness.refused(503)["status"], "draining");
    let answered = there.get("/v1/agents").await;
    assert_eq!((answered.status, answered.header("connection")), (200, Some("close")));
    let refused = there.get(&stream_path).await;
    assert_eq!(refused.refused(503)["error"]["type"], "api_error");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let asked = asking.await.unwrap();
    assert_eq!(asked.status, 202, "{asked:?}");
    assert!(asked.ok()["turn_id"].is_string());
    assert!(process.ended().await.success());
    assert!(told_at.elapsed() < Duration::from_secs(20), "{:?}", told_at.elapsed());
}
