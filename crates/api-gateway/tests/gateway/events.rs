//! Sending events and reading the log.

use platform_core::session::{ContentBlock, EventBody};
use serde_json::{Value, json};

use crate::support::Gateway;

fn agent_says(text: &str) -> EventBody {
    EventBody::AgentMessage { content: vec![ContentBlock::text(text)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_events_are_answered_as_they_are_stored() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    let blocks = json!([{"type": "text", "text": "two"}]);
    let body = json!({"events": [
        {"type": "user.message", "content": "one"},
        {"type": "user.message", "content": blocks},
    ]});
    let sent = team.post(&path, body).await.ok();
    assert_eq!(sent["data"][0]["content"], json!([{"type": "text", "text": "one"}]));
    assert_eq!(sent["data"][1]["processed_at"], Value::Null);
    let listed = team.get(&format!("{path}?types[]=user.message")).await.ok();
    assert_eq!(listed["data"], sent["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_and_nothing_of_the_list_is_stored() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    for (bad, reason) in [
        (json!({"type": "user.tool_result", "tool_use_id": "x"}), "not supported yet"),
        (json!({"type": "user.song"}), "no event that a client can send"),
        (json!({"type": "user.message"}), "content"),
    ] {
        let good = json!({"type": "user.message", "content": "x"});
        let refused = team.post(&path, json!({"events": [good, bad]})).await;
        refused.refused(400);
        assert!(refused.message().starts_with("events[1]."), "{}", refused.message());
        assert!(refused.message().contains(reason), "{}", refused.message());
    }
    assert_eq!(team.get(&path).await.ok()["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_ordered_and_paged() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    team.say(id, "hi").await;
    gateway.fake.tell(id, vec![agent_says("a"), agent_says("b"), agent_says("c")]).await;

    let list = async |query: &str| {
        let answer = team.get(&format!("/v1/sessions/{id}/events?{query}")).await.ok();
        let numbers = answer["data"].as_array().unwrap().iter();
        let numbers = numbers.map(|event| event["seq"].as_i64().unwrap()).collect::<Vec<_>>();
        (numbers, answer["next_page"].as_str().map(str::to_owned))
    };
    assert_eq!(list("limit=1000").await, (vec![1, 2, 3, 4, 5], None));
    assert_eq!(list("order=desc&types[]=agent.message").await, (vec![5, 4, 3], None));
    let (first, next) = list("limit=2").await;
    assert_eq!(first, [1, 2]);
    let (second, next) = list(&format!("limit=2&page={}", next.unwrap())).await;
    assert_eq!(second, [3, 4]);
    assert_eq!(list(&format!("limit=2&page={}", next.unwrap())).await, (vec![5], None));
    assert_eq!(list("created_at[gte]=2100-01-01T00:00:00Z").await, (vec![], None));
    assert_eq!(list("created_at[lt]=2100-01-01T00:00:00%2B00:00").await.0.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_session_says_that_it_takes_no_more() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    team.post_nothing(&format!("{path}/archive")).await.ok();
    let event = json!({"type": "user.message", "content": "x"});
    let refused = team.post(&format!("{path}/events"), json!({"events": [event]})).await;
    assert_eq!(refused.refused(400)["error"]["details"]["error_code"], "session_archived");
    assert!(refused.message().contains("archived"), "{}", refused.message());
}
