//! Several gateways side by side are one.

use futures::future::join_all;
use platform_core::session::{ContentBlock, EventBody};
use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, OpenStream};

fn agent_says(text: &str) -> EventBody {
    EventBody::AgentMessage { content: vec![ContentBlock::text(text)] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_at_one_replica_shows_what_is_sent_by_way_of_another() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let replica = gateway.replica().await;
    let there = team.at(&replica.url);
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}/events/stream");
    let (mut here, mut elsewhere) = (team.stream(&path).await, there.stream(&path).await);
    for speaker in [&team, &there] {
        let sent = speaker.say(id, "hi").await;
        for stream in [&mut here, &mut elsewhere] {
            let mut frame = stream.frame().await;
            while frame.name != "user.message" {
                frame = stream.frame().await;
            }
            assert_eq!(frame.data["id"], sent["id"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_at_once_at_two_replicas_one_is_carried_out() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let replica = gateway.replica().await;
    let there = team.at(&replica.url);
    let session = team.new_session().await;
    let path = format!("/v1/sessions/{}/events", session["id"].as_str().unwrap());
    let body = json!({"events": [{"type": "user.message", "content": "x"}]});
    let asked = (0..10).map(|number| {
        let asker = if number % 2 == 0 { &team } else { &there };
        asker.post_once(&path, "k", body.clone())
    });
    let answers = join_all(asked).await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(!done.is_empty());
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.text, done[0].text),
            409 => assert_eq!(answer.header("retry-after"), Some("1")),
            _ => panic!("{answer:?}"),
        }
    }
    let listed = team.get(&format!("{path}?types[]=user.message")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    for asker in [&team, &there] {
        assert_eq!(asker.post_once(&path, "k", body.clone()).await.text, done[0].text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_changes_the_replica_in_the_middle_of_a_burst_misses_and_repeats_nothing() {
    const EVENTS: i64 = 400;
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let replica = gateway.replica().await;
    let there = team.at(&replica.url);
    let session = team.new_session().await;
    let id = session["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{id}/events/stream");
    let mut stream = team.stream(&path).await;
    let fake = gateway.fake.clone();
    let burst = tokio::spawn(async move {
        for number in 1..=EVENTS {
            fake.tell(&id, vec![agent_says(&number.to_string())]).await;
        }
    });
    let mut seen = 0;
    for changes in 0.. {
        for _ in 0..40 {
            let frame = stream.frame().await;
            seen += 1;
            assert_eq!(frame.id, Some(seen));
            assert_eq!(frame.data["content"][0]["text"], seen.to_string());
        }
        if seen == EVENTS {
            break;
        }
        let next = if changes % 2 == 0 { &there } else { &team };
        let request = next.request(&Method::GET, &path).header("last-event-id", seen.to_string());
        stream = OpenStream::open(request).await;
    }
    burst.await.unwrap();
}
