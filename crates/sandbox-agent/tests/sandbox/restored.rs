//! A session in its second sandbox: what its harness still knows, and what becomes of a turn that was under way.

use std::fs;

use platform_core::journal::Entry;
use platform_messaging::proto::link::frame::Body;
use serde_json::{Value, json};

use crate::platform::{Link, Sandbox, Told, Volume, harness_session, prepare, told};

/// The folders that outlive a sandbox.
const FILES: [&str; 3] = ["workspace", "home", "journal"];

/// A first sandbox that was lost in the middle of turn 1; answers the harness's own name for the session.
async fn lost_in_turn_1(volume: &Volume) -> String {
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    link.hydrate(1, json!({})).await;
    let mut entries = link.until_opened().await;
    link.start_turn(1, 1, "say working\nhang").await;
    let under_way = link.until(|told| matches!(told, Told::Frame(Body::Preview(_)))).await;
    entries.extend(under_way.0);
    // All that was written is taken, so that nothing of it is told again.
    let last = "span.model_request_start";
    if !told(&entries).iter().any(|line| line == last) {
        let is_last =
            |one: &Told| matches!(one, Told::Entry(entry) if told(&[(*entry).clone()]) == [last]);
        entries.extend(link.until(is_last).await.0);
    }
    volume.took(&link);
    sandbox.kill().await;
    harness_session(&entries)
}

/// How the second sandbox came to be.
#[derive(Clone, Copy)]
enum Second {
    /// It was started on the session's files.
    Started,
    /// It was warm, and the session's files took the place of its own.
    Claimed,
}

impl Second {
    const BOTH: [Self; 2] = [Self::Started, Self::Claimed];

    /// The second sandbox as soon as it was told whose it is.
    async fn of(self, volume: &Volume, more: Value) -> (Sandbox, Link) {
        let (sandbox, mut link) = match self {
            Self::Started => {
                let sandbox = Sandbox::start(volume);
                let (link, _) = sandbox.accept().await;
                (sandbox, link)
            }
            Self::Claimed => claimed(volume).await,
        };
        link.hydrate(2, volume.replaced(&more)).await;
        (sandbox, link)
    }
}

async fn claimed(volume: &Volume) -> (Sandbox, Link) {
    let of_session: Vec<_> = FILES.map(|name| (name, format!("session-s-{name}"))).into();
    for (name, aside) in &of_session {
        fs::rename(volume.path(name), volume.path(aside)).unwrap();
        fs::create_dir(volume.path(name)).unwrap();
    }
    let sandbox = Sandbox::start(volume);
    let (mut link, _) = sandbox.accept().await;
    link.send(prepare()).await;
    link.until_ready().await;
    for (name, aside) in &of_session {
        fs::rename(volume.path(name), volume.path(&format!("warm-{name}"))).unwrap();
        fs::rename(volume.path(aside), volume.path(name)).unwrap();
    }
    (sandbox, link)
}

fn transcript() -> Value {
    json!([{"role": "user", "text": "say old"}, {"role": "agent", "text": "old"}])
}

#[tokio::test]
async fn a_turn_under_way_is_continued_and_its_prompt_not_given_again() {
    for second in Second::BOTH {
        let volume = Volume::new();
        let session = lost_in_turn_1(&volume).await;
        let more = json!({"harness_session": session, "transcript": transcript()});
        let (_sandbox, mut link) = second.of(&volume, more).await;
        link.start_turn(1, 2, "say working\nhang").await;
        let (entries, _) = link.until_turn_ends().await;
        assert_eq!(told(&entries)[0], "restored native: the sandbox was replaced / ");
        let prompts = volume.prompts(&session);
        assert_eq!(prompts.len(), 2);
        assert!(
            prompts[1].starts_with("<system-reminder>\nYour sandbox was replaced"),
            "{prompts:?}"
        );
    }
}

#[tokio::test]
async fn a_turn_that_the_lost_sandbox_never_started_is_given_its_own_prompt() {
    for second in Second::BOTH {
        let volume = Volume::new();
        let session = lost_in_turn_1(&volume).await;
        let more = json!({"harness_session": session});
        let (_sandbox, mut link) = second.of(&volume, more).await;
        // The same words as before, but another turn.
        link.start_turn(2, 2, "say working\nsay done").await;
        let (entries, _) = link.until_turn_ends().await;
        assert_eq!(told(&entries).last().unwrap(), "ended end_turn");
        assert_eq!(volume.prompts(&session)[1], "say working\nsay done");
    }
}

#[tokio::test]
async fn a_harness_that_lost_its_state_is_told_the_history_and_the_log_that_it_was() {
    for second in Second::BOTH {
        let volume = Volume::new();
        lost_in_turn_1(&volume).await;
        fs::remove_dir_all(volume.path("home/.fake")).unwrap();
        let more = json!({
            "harness_session": "fake-gone", "transcript": transcript(), "has_unfinished_turn": false,
        });
        let (_sandbox, mut link) = second.of(&volume, more).await;
        link.start_turn(1, 2, "say new").await;
        let (entries, _) = link.until_turn_ends().await;
        let session = harness_session(&entries);
        assert_eq!(
            told(&entries)[..2],
            [
                "session",
                "restored transcript: the harness refused session/resume: no such session / \
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
}

#[tokio::test]
async fn the_harness_replays_its_session_only_if_a_turn_is_unfinished() {
    for (has_unfinished_turn, method) in [(false, "session/resume"), (true, "session/load")] {
        let volume = Volume::new();
        let session = lost_in_turn_1(&volume).await;
        let more = json!({
            "harness_session": session, "has_unfinished_turn": has_unfinished_turn,
        });
        let (_sandbox, mut link) = Second::Started.of(&volume, more).await;
        link.until_ready().await;
        assert_eq!(volume.fake_state("taken_up"), [method]);
    }
}

#[tokio::test]
async fn the_first_sandbox_of_a_fork_says_that_the_session_was_forked() {
    let volume = Volume::new();
    let session = lost_in_turn_1(&volume).await;
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    let origin = "sesn_00000000000000000000000000000008";
    let spec = json!({
        "is_replacement": true, "harness_session": session,
        "forked_from": {"session_id": origin, "at_event": 1},
    });
    link.hydrate(1, spec).await;
    link.start_turn(2, 1, "say on").await;
    let (entries, _) = link.until_turn_ends().await;
    let told = told(&entries);
    assert!(told.contains(&"restored native: the session was forked / ".to_owned()), "{told:?}");
}

#[tokio::test]
async fn what_the_lost_sandbox_wrote_and_nobody_took_is_told_before_the_next_one_is_ready() {
    for second in Second::BOTH {
        let volume = Volume::new();
        let sandbox = Sandbox::start(&volume);
        let (mut link, _) = sandbox.accept().await;
        link.hydrate(1, json!({})).await;
        let mut entries = link.until_opened().await;
        link.start_turn(1, 1, "tool bash\nhang").await;
        // What goes up is on disk. The batch with the result is not taken: the platform dies with it, and then the sandbox.
        let lost = loop {
            let Body::Journal(journal) = link.next().await else { continue };
            let batch: Vec<Entry> = journal
                .entries
                .iter()
                .map(|entry| serde_json::from_slice(&entry.body).unwrap())
                .collect();
            let batch = told(&batch);
            if batch.iter().any(|line| line.starts_with("tool_result")) {
                break batch;
            }
            entries.extend(link.take(journal).await);
        };
        volume.took(&link);
        sandbox.kill().await;

        let session = json!({"harness_session": harness_session(&entries)});
        let (_sandbox, mut link) = second.of(&volume, session).await;
        let (entries, _) = link.until_ready().await;
        assert_eq!(told(&entries)[..lost.len()], lost);
    }
}

#[tokio::test]
async fn a_warm_harness_does_not_serve_a_session_whose_files_it_was_not_started_on() {
    let volume = Volume::new();
    lost_in_turn_1(&volume).await;
    let (_sandbox, mut link) = Second::Claimed.of(&volume, json!({})).await;
    // The harness never told its name for the session, so that nothing else forbids to go on with the warm one's.
    link.start_turn(2, 1, "say fresh").await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(told(&entries).contains(&"message fresh".to_owned()));
    let session = harness_session(&entries);
    assert_eq!(volume.prompts(&session), ["say fresh"]);
    assert_eq!(volume.fake_state("starts").len(), 2, "one of the lost sandbox, one on its files");
    assert!(!volume.path("warm-home/.fake").join(session).exists());
}
