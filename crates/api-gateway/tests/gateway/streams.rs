//! Streams: live from the first moment, resumed without gap or repeat, previews replaced by their events.

use futures::StreamExt;
use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Gateway, OpenStream, SlowReader};

fn agent_says(text: &str) -> EventBody {
    EventBody::AgentMessage { content: vec![ContentBlock::text(text)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_cursor_begins_now_and_misses_nothing_from_then_on() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    gateway.fake.tell(id, vec![agent_says("before")]).await;
    let mut stream = team.stream(&format!("/v1/sessions/{id}/events/stream")).await;
    let sent = team.say(id, "hi").await;
    let first = stream.frame().await;
    assert_eq!((first.short().as_str(), &first.data), ("user.message 2", &sent));
    assert_eq!(stream.frame().await.short(), "session.status_running 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_stream_has_no_gap_and_no_repeat() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    for number in 1..=3 {
        gateway.fake.tell(id, vec![agent_says(&number.to_string())]).await;
    }
    let path = format!("/v1/sessions/{id}/events/stream");
    let request = team.request(&Method::GET, &path).header("last-event-id", "1");
    let mut resumed = OpenStream::open(request).await;
    let mut whole = team.stream(&format!("{path}?after=0")).await;
    gateway.fake.tell(id, vec![agent_says("4")]).await;
    assert_eq!(resumed.shorts(3).await, ["agent.message 2", "agent.message 3", "agent.message 4"]);
    assert_eq!(whole.shorts(4).await[3], "agent.message 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_badly_is_found_in_the_log() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let mut stream = team.stream(&format!("/v1/sessions/{id}/events/stream")).await;
    let (_, _unannounced) = gateway.fake.commit(id, vec![agent_says("1")]).await;
    let second = gateway.fake.tell(id, vec![agent_says("2")]).await;
    let (team_id, third) = gateway.fake.commit(id, vec![agent_says("3")]).await;
    // Twice, and out of order.
    let session_id = id.parse().unwrap();
    gateway.fake.announce(team_id, session_id, &third).await;
    gateway.fake.announce(team_id, session_id, &second).await;
    gateway.fake.announce(team_id, session_id, &third).await;
    gateway.fake.tell(id, vec![agent_says("4")]).await;
    let seen = stream.shorts(4).await;
    assert_eq!(seen, ["agent.message 1", "agent.message 2", "agent.message 3", "agent.message 4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_to_the_broker_loses_no_event() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let mut stream = team.stream(&format!("/v1/sessions/{id}/events/stream")).await;
    gateway.fake.tell(id, vec![agent_says("1")]).await;
    assert_eq!(stream.frame().await.short(), "agent.message 1");
    gateway.test_broker.cut_connections().await.unwrap();
    gateway.fake.commit(id, vec![agent_says("2")]).await;
    assert_eq!(stream.frame().await.short(), "agent.message 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_come_when_asked_for_and_their_event_replaces_them() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream");
    let mut with = team.stream(&format!("{path}?event_deltas%5B%5D=agent.message")).await;
    let mut without = team.stream(&path).await;
    let event = EventId::from_uuid(Uuid::now_v7());
    gateway.fake.preview(id, event, None, 0).await;
    gateway.fake.preview(id, event, Some("hel"), 0).await;
    assert_eq!(
        with.frame().await.data,
        json!({"type": "event_start", "event": {"type": "agent.message", "id": event}})
    );
    assert_eq!(
        with.frame().await.data,
        json!({"type": "event_delta", "event_id": event, "delta": {"type": "content_delta", "index": 0, "content": {"type": "text", "text": "hel"}}})
    );
    let mut joined = team.stream(&format!("{path}?event_deltas[]=agent.message")).await;
    assert_eq!(joined.shorts(2).await, ["event_start", "event_delta"]);
    gateway.fake.preview(id, event, Some("lo"), 3).await;
    for stream in [&mut with, &mut joined] {
        assert_eq!(stream.frame().await.data["delta"]["content"]["text"], "lo");
    }
    let (team_id, events) = gateway.fake.commit_as(id, vec![(event, agent_says("hello"))]).await;
    gateway.fake.announce(team_id, id.parse().unwrap(), &events).await;
    for stream in [&mut with, &mut joined, &mut without] {
        let frame = stream.frame().await;
        assert_eq!((frame.short().as_str(), &frame.data["id"]), ("agent.message 1", &json!(event)));
    }
    team.get(&format!("{path}?event_deltas[]=user.message")).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let deleted = team.new_session().await;
    let path = format!("/v1/sessions/{}", deleted["id"].as_str().unwrap());
    let mut stream = team.stream(&format!("{path}/events/stream")).await;
    team.delete(&path).await.ok();
    assert_eq!(stream.frame().await.name, "session.deleted");
    assert_eq!(stream.next().await, None);

    let archived = team.new_session().await;
    let path = format!("/v1/sessions/{}", archived["id"].as_str().unwrap());
    let mut stream = team.stream(&format!("{path}/events/stream")).await;
    team.post_nothing(&format!("{path}/archive")).await.ok();
    assert_eq!(stream.frame().await.name, "session.status_terminated");
    assert_eq!(stream.next().await, None);
    let mut late = team.stream(&format!("{path}/events/stream?after=0")).await;
    assert_eq!(late.frame().await.name, "session.status_terminated");
    assert_eq!(late.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_streams() {
    let gateway = Gateway::start().await;
    let administrator = gateway.administrator();
    let made = administrator.post("/v1/api_keys", json!({"name": "n"})).await.ok();
    let holder = gateway.with_key(made["key"].as_str().unwrap());
    let session = holder.new_session().await;
    let path = format!("/v1/sessions/{}/events/stream", session["id"].as_str().unwrap());
    let mut stream = holder.stream(&path).await;
    let revoked_at = std::time::Instant::now();
    administrator.delete(&format!("/v1/api_keys/{}", made["id"].as_str().unwrap())).await.ok();
    assert_eq!(stream.frame().await.data["error"]["type"], "authentication_error");
    assert_eq!(stream.next().await, None);
    assert!(revoked_at.elapsed().as_secs() < 5, "{:?}", revoked_at.elapsed());
}

/// More than a connection and the gateway's backlog hold.
const BURST: i64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_was_held_up_once_reads_the_rest_from_the_log() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let mut reader = team.slow_stream(&format!("/v1/sessions/{id}/events/stream")).await;
    gateway.fake.burst(id, BURST).await;
    reader.read_until(&format!("id: {BURST}\n")).await;
    gateway.fake.tell(id, vec![agent_says("live again")]).await;
    reader.read_until("live again").await;
    let numbers = SlowReader::numbers(reader.text());
    assert_eq!(numbers, (1..=BURST + 1).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_and_left() {
    const ROUNDS: i64 = 3;
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream");
    let mut reader = team.slow_stream(&path).await;
    // It reads, but less than is written.
    for _ in 0..ROUNDS {
        gateway.fake.burst(id, BURST).await;
        reader.read_some(4_000_000).await;
    }
    let text = reader.read_to_end().await;
    let (events, end) = text.split_once("event: gap\n").expect("a gap");
    let read = i64::try_from(SlowReader::numbers(events).len()).unwrap();
    assert_eq!(SlowReader::numbers(events), (1..=read).collect::<Vec<_>>());
    assert!(read < ROUNDS * BURST, "all of them were read");
    assert!(end.contains(&format!("\"last_event_id\":{read}")), "{end}");
    assert!(end.contains("event: error\n") && end.contains("overloaded_error"), "{end}");

    let request = team.request(&Method::GET, &path).header("last-event-id", read.to_string());
    let mut resumed = OpenStream::open(request).await;
    assert_eq!(resumed.frame().await.id, Some(read + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_the_log_has_not_reached_is_refused() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream");
    gateway.fake.tell(id, vec![agent_says("1"), agent_says("2")]).await;
    let refused = team.get(&format!("{path}?after=3")).await.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "cursor_beyond_end");
    let request = team.request(&Method::GET, &path).header("last-event-id", "99");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 400);
    team.get(&format!("{path}?after=-1")).await.refused(400);
    team.get(&format!("{path}?after=x")).await.refused(400);
    let mut at_the_end = team.stream(&format!("{path}?after=2")).await;
    gateway.fake.tell(id, vec![agent_says("3")]).await;
    assert_eq!(at_the_end.frame().await.short(), "agent.message 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_whose_beginning_nobody_heard_is_shown_from_the_next_event_on() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream?event_deltas[]=agent.message");
    let mut stream = team.stream(&path).await;
    let [begun, next] = [(); 2].map(|()| EventId::from_uuid(Uuid::now_v7()));
    gateway.fake.preview(id, begun, Some("lo"), 3).await;
    let (team_id, events) = gateway.fake.commit_as(id, vec![(begun, agent_says("hello"))]).await;
    gateway.fake.announce(team_id, id.parse().unwrap(), &events).await;
    gateway.fake.preview(id, next, None, 0).await;
    gateway.fake.preview(id, next, Some("hi"), 0).await;
    assert_eq!(stream.shorts(3).await, ["agent.message 1", "event_start", "event_delta"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_shows_that_it_is_alive() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events/stream", session["id"].as_str().unwrap());
    let response = team.request(&Method::GET, &path).send().await.unwrap();
    let mut bytes = response.bytes_stream();
    assert_eq!(bytes.next().await.unwrap().unwrap(), "retry: 2000\n\n");
    let beat = tokio::time::timeout(std::time::Duration::from_secs(15), bytes.next()).await;
    assert_eq!(beat.unwrap().unwrap().unwrap(), ": heartbeat\n\n");
}
