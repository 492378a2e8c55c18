//! Sandboxes, to look at and to kill.

use std::sync::Arc;

use platform_messaging::proto::sandbox::{SandboxCommand, sandbox_command::Action};
use platform_messaging::topology::Queue;
use platform_messaging::{Verdict, decode};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_listed_by_its_session_and_killed_by_a_command() {
    let gateway = Gateway::start().await;
    let team = gateway.team("a").await;
    let (session, other) = (team.new_session().await, team.new_session().await);
    let (id, other) = (session["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    let sandbox = gateway.fake.give_sandbox(id).await;
    let listed = team.get(&format!("/v1/sandboxes?session_id={id}")).await.ok();
    assert_eq!(listed["data"][0]["id"], json!(sandbox));
    assert_eq!(listed["data"][0]["state"], "queued");
    assert_eq!(
        team.get(&format!("/v1/sandboxes?session_id={other}")).await.ok()["data"],
        json!([])
    );
    let shown = team.get(&format!("/v1/sessions/{id}")).await.ok();
    assert_eq!(shown["startup"]["position"], 1);

    let (commands, mut received) = mpsc::unbounded_channel::<SandboxCommand>();
    let commands = Arc::new(commands);
    let (broker, end) = (gateway.broker.clone(), CancellationToken::new());
    let _end = end.clone().drop_guard();
    tokio::spawn(async move {
        let take = move |incoming: platform_messaging::Incoming| {
            commands.send(decode(&incoming.body).unwrap()).unwrap();
            std::future::ready(Verdict::Done)
        };
        broker.consume(Queue::SANDBOX_COMMANDS, 1, 1, end, take).await;
    });
    let killed = team.delete(&format!("/v1/sandboxes/{sandbox}")).await;
    assert_eq!((killed.status, killed.ok()["type"].clone()), (202, json!("sandbox_deleted")));
    let command = received.recv().await.unwrap();
    let Some(Action::Stop(stop)) = command.action else { panic!("{command:?}") };
    assert_eq!((stop.sandbox_id, stop.reason.as_str()), (sandbox.uuid().to_string(), "operator"));
}
