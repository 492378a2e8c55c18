//! A session in its second sandbox: what its harness still knows, and what becomes of a turn that was under way.

use platform_messaging::proto::link::frame::Body;
use serde_json::{Value, json};

use crate::platform::{Link, Sandbox, Told, Volume, harness_session, told};

/// A first sandbox that was lost in the middle of turn 1; answers the harness's own name for the session.
async fn lost_in_turn_1(volume: &Volume) -> String {
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    link.hydrate(1, json!({})).await;
    let (mut entries, _) = link.until_ready().await;
    link.start_turn(1, 1, "say working\nhang").await;
    let under_way = link.until(|told| matches!(told, Told::Frame(Body::Preview(_)))).await;
    entries.extend(under_way.0);
    sandbox.kill().await;
    harness_session(&entries)
}

/// The second sandbox, ready, and what it wrote down until then.
async fn second(volume: &Volume, more: Value) -> (Sandbox, Link) {
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    let mut spec = json!({"is_replacement": true});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    link.hydrate(2, spec).await;
    (sandbox, link)
}

fn transcript() -> Value {
    json!([{"role": "user", "text": "say old"}, {"role": "agent", "text": "old"}])
}

#[tokio::test]
async fn a_turn_under_way_is_continued_and_its_prompt_not_given_again() {
    let volume = Volume::new();
    let session = lost_in_turn_1(&volume).await;
    let more = json!({"harness_session": session, "transcript": transcript()});
    let (_sandbox, mut link) = second(&volume, more).await;
    link.start_turn(1, 2, "say working\nhang").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[0], "restored native: the sandbox was replaced / ");
    let prompts = volume.prompts(&session);
    assert_eq!(prompts.len(), 2);
    assert!(prompts[1].starts_with("<system-reminder>\nYour sandbox was replaced"), "{prompts:?}");
}

#[tokio::test]
async fn a_turn_that_the_lost_sandbox_never_started_is_given_its_own_prompt() {
    let volume = Volume::new();
    let session = lost_in_turn_1(&volume).await;
    let (_sandbox, mut link) = second(&volume, json!({"harness_session": session})).await;
    // The same words as before, but another turn.
    link.start_turn(2, 2, "say working\nsay done").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries).last().unwrap(), "ended end_turn");
    assert_eq!(volume.prompts(&session)[1], "say working\nsay done");
}

#[tokio::test]
async fn a_harness_that_lost_its_state_is_told_the_history_and_the_log_that_it_was() {
    let volume = Volume::new();
    lost_in_turn_1(&volume).await;
    std::fs::remove_dir_all(volume.path("home/.fake")).unwrap();
    let more = json!({"harness_session": "fake-gone", "transcript": transcript()});
    let (_sandbox, mut link) = second(&volume, more).await;
    link.start_turn(1, 2, "say new").await;
    let (entries, _) = link.until_turn_ends().await;
    let session = harness_session(&entries);
    assert_eq!(
        told(&entries)[..2],
        [
            "session",
            "restored transcript: the harness refused session/load: no such session / \
             the agent's own memory: what tools gave back, and its thoughts",
        ]
    );
    let prompts = volume.prompts(&session);
    assert!(prompts[0].starts_with("<conversation_history>"), "{prompts:?}");
    assert!(prompts[0].contains("[user]\nsay old\n"), "{prompts:?}");
    assert!(prompts[0].ends_with("</conversation_history>\nsay new"), "{prompts:?}");

    link.start_turn(2, 1, "say newer").await;
    link.until_turn_ends().await;
    assert_eq!(volume.prompts(&session)[1], "say newer");
}
