//! Turns of one sandbox: how they are told, interrupted, broken, and told again.

use platform_core::journal::Entry;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{JournalAck, Preview, Stop, Welcome};
use serde_json::json;

use crate::platform::{Link, SESSION, Sandbox, Told, Volume, opened, prepare, told, turn};

const USED: &str = "used 10 2";

/// A sandbox that is ready for its first turn.
async fn ready(volume: &Volume) -> (Sandbox, Link) {
    let (sandbox, link, _) = opened(volume, json!({})).await;
    (sandbox, link)
}

#[tokio::test]
async fn a_sandbox_knows_nothing_at_first_and_tells_how_it_gets_ready() {
    let volume = Volume::new();
    let sandbox = Sandbox::start(&volume);
    let (mut link, hello) = sandbox.accept().await;
    assert_eq!((hello.token.as_str(), hello.session_id.as_str(), hello.epoch), ("secret", "", 0));
    link.hydrate(1, json!({})).await;
    let (_, frames) = link.until_ready().await;
    let phases: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            Body::Startup(startup) => Some(startup.phase.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(phases, ["preparing_workspace", "starting_harness", "ready"]);
    assert_eq!(std::fs::read_to_string(volume.path("home/instructions.md")).unwrap(), "be brief");
    assert_eq!(volume.fake_state("models"), ["fake/second"]);
}

#[tokio::test]
async fn a_turn_is_previewed_as_it_happens_and_written_down_in_order() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "think hm\nsay hello you\ntool bash\nask edit\nsay bye").await;
    let (entries, mut frames) = link.until_turn_ends().await;
    // Previews go another way than the journal, so the last of them may come after the end.
    let is_last = |frame: &Body| matches!(frame, Body::Preview(preview) if preview.text.as_deref() == Some("bye"));
    while !frames.iter().any(is_last) {
        frames.push(link.next().await);
    }
    assert_eq!(
        told(&entries),
        [
            "started",
            "span.model_request_start",
            "thinking hm",
            "message hello you",
            r#"tool_use bash {"command":"bash"}"#,
            "tool_result done false",
            r#"tool_use edit {"asked":true}"#,
            "tool_result a false",
            "message bye",
            USED,
            "ended end_turn",
        ]
    );
    let previews: Vec<&Preview> = frames
        .iter()
        .filter_map(|frame| match frame {
            Body::Preview(preview) => Some(preview),
            _ => None,
        })
        .collect();
    let texts: Vec<_> =
        previews.iter().map(|preview| (preview.text.as_deref(), preview.offset)).collect();
    assert_eq!(
        texts,
        [
            (None, 0),
            (Some("hm"), 0),
            (None, 0),
            (Some("hello "), 0),
            (Some("you"), 6),
            (None, 0),
            (Some("bye"), 0),
        ]
    );
    let message = entries.iter().find_map(|entry| match entry {
        Entry::Event { id, body, .. } if body.type_name() == "agent.message" => Some(*id),
        _ => None,
    });
    assert_eq!(previews[2].event_id, message.unwrap().uuid().to_string());
}

#[tokio::test]
async fn a_turn_that_is_told_twice_runs_once() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "say one\nhang").await;
    link.start_turn(1, 1, "say one\nhang").await;
    link.interrupt(1).await;
    link.until_turn_ends().await;
    link.start_turn(1, 1, "say one\nhang").await;
    link.start_turn(2, 1, "say two").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries),
        ["started", "span.model_request_start", "message two", USED, "ended end_turn"]
    );
}

#[tokio::test]
async fn an_interrupt_that_overtakes_its_turn_ends_it_before_it_begins() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.interrupt(1).await;
    link.start_turn(1, 1, "say one\nhang").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries), ["ended interrupted"]);
    link.start_turn(2, 1, "say two").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries).last().unwrap(), "ended end_turn");
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_the_harness_stays() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "open bash\nhang").await;
    link.until(|told| is_event(told, "agent.tool_use")).await;
    link.interrupt(1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries),
        [
            "tool_result the turn ended before this call did: interrupted true",
            USED,
            "ended interrupted",
        ]
    );
    assert_eq!(volume.fake_state("starts").len(), 1);
}

#[tokio::test]
async fn a_harness_that_ignores_an_interrupt_is_killed_and_takes_its_session_up_again() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "say working\ndeaf").await;
    link.until(is_preview).await;
    let asked = std::time::Instant::now();
    link.interrupt(1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(asked.elapsed().as_secs_f64() < 2.0, "{:?}", asked.elapsed());
    assert_eq!(
        told(&entries).last().unwrap(),
        "ended interrupted: the harness did not stop and was killed"
    );
    link.start_turn(2, 1, "say again").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[2..], ["message again", USED, "ended end_turn"]);
    assert_eq!(volume.fake_state("starts").len(), 2);
}

#[tokio::test]
async fn a_harness_that_crashes_ends_its_turn_with_its_last_words_and_is_there_for_the_next_one() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "say oh\ncrash 3").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries)[2..],
        ["message oh", "used 0 0", "ended error: the harness ended (code 3): about to crash"]
    );
    link.start_turn(2, 1, "say back").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[2..], ["message back", USED, "ended end_turn"]);
}

#[tokio::test]
async fn a_harness_that_falls_silent_is_ended_and_the_turn_with_it() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    link.start_watched_turn(1, 1, "hang", 1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries).last().unwrap(),
        "ended timed_out: the harness said nothing for 1 s and was killed"
    );
}

#[tokio::test]
async fn errors_empty_answers_and_wishes_for_files_are_told_as_what_they_are() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    for (number, prompt, expected) in [
        (1, "error bad run key", "ended error: bad run key"),
        (2, "nothing", "ended error: the agent ended the turn without any answer"),
        (3, "file", "ended end_turn"),
    ] {
        link.start_turn(number, 1, prompt).await;
        let (entries, _) = link.until_turn_ends().await;
        let told = told(&entries);
        assert_eq!(told.last().unwrap(), expected);
        assert!(prompt != "file" || told.contains(&"message -32601".to_owned()), "{told:?}");
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_over_the_next_link() {
    let volume = Volume::new();
    let (sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "say one\nhang").await;
    // The journal goes up, but this replica dies before it says that it has it.
    let unacknowledged = loop {
        if let Body::Journal(journal) = link.next().await {
            break journal.entries;
        }
    };
    drop(link);

    let (mut link, hello) = sandbox.accept().await;
    assert_eq!(hello.session_id, SESSION.to_string());
    assert_eq!(hello.turn_id, turn(1).uuid().to_string());
    assert!(hello.harness_ready);
    assert!(hello.journal_through >= unacknowledged.last().unwrap().number);
    link.expect_after(unacknowledged[0].number - 1);
    link.interrupt(1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(serde_json::to_vec(&entries[0]).unwrap(), unacknowledged[0].body);
    assert_eq!(told(&entries).last().unwrap(), "ended interrupted");
}

#[tokio::test]
async fn a_batch_that_was_acknowledged_in_part_comes_again_from_there() {
    let volume = Volume::new();
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    link.hydrate(1, json!({})).await;
    link.start_turn(1, 1, "tool one\ntool two\nsay three\nhang").await;
    // While a batch is not acknowledged the next one grows.
    let (mut first, mut was_said) = (None, false);
    while first.is_none() || !was_said {
        match link.next().await {
            Body::Journal(journal) => first = Some(journal),
            Body::Preview(Preview { text: Some(_), .. }) => was_said = true,
            _ => {}
        }
    }
    link.take(first.unwrap()).await;
    let batch = loop {
        match link.next().await {
            Body::Journal(journal) if journal.entries.len() > 1 => break journal.entries,
            Body::Journal(journal) => drop(link.take(journal).await),
            _ => {}
        }
    };
    link.send(Body::JournalAck(JournalAck { through: batch[0].number })).await;
    drop(link);

    let (mut link, _) = sandbox.accept().await;
    link.expect_after(batch[0].number);
    link.interrupt(1).await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(serde_json::to_vec(&entries[0]).unwrap(), batch[1].body);
    assert_eq!(told(&entries).iter().filter(|line| line.starts_with("ended")).count(), 1);
}

#[tokio::test]
async fn a_turn_that_is_interrupted_while_the_harness_is_started_again_ends_at_once() {
    let volume = Volume::new();
    let (_sandbox, mut link) = ready(&volume).await;
    std::fs::write(volume.path("home/.fake/slow"), "").unwrap();
    link.start_turn(1, 1, "crash 3").await;
    link.until_turn_ends().await;
    link.start_turn(2, 1, "say never").await;
    let asked = std::time::Instant::now();
    link.interrupt(2).await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(asked.elapsed().as_secs_f64() < 2.0, "{:?}", asked.elapsed());
    assert_eq!(told(&entries), ["ended interrupted"]);
    std::fs::remove_file(volume.path("home/.fake/slow")).unwrap();
    link.start_turn(3, 1, "say back").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(told(&entries)[2..], ["message back", USED, "ended end_turn"]);
}

#[tokio::test]
async fn a_warm_sandbox_starts_its_harness_once_and_is_ready_at_once() {
    let volume = Volume::new();
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    link.send(prepare()).await;
    link.until_ready().await;
    link.hydrate(1, json!({})).await;
    link.until_ready().await;
    link.start_turn(1, 1, "say warm").await;
    let (entries, _) = link.until_turn_ends().await;
    assert_eq!(
        told(&entries)[2..],
        ["span.model_request_start", "message warm", USED, "ended end_turn"]
    );
    assert_eq!(volume.fake_state("starts").len(), 1);
    assert_eq!(volume.fake_state("models"), ["fake/second"]);
    assert_eq!(std::fs::read_to_string(volume.path("home/instructions.md")).unwrap(), "be brief");
}

#[tokio::test]
async fn a_warm_harness_that_lacks_the_session_s_variables_is_started_again() {
    let volume = Volume::new();
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    link.send(prepare()).await;
    link.until_ready().await;
    link.hydrate(1, json!({"environment": {"NAME": "value"}})).await;
    link.until_ready().await;
    assert_eq!(volume.fake_state("starts").len(), 2);
}

#[tokio::test]
async fn a_harness_that_cannot_be_taken_up_again_fails_the_sandbox_after_the_turn_has_ended() {
    let volume = Volume::new();
    let (sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "forget\ncrash 3").await;
    let (entries, frames) = link.until_failed().await;
    assert!(told(&entries).last().unwrap().starts_with("ended error: the harness ended (code 3)"));
    let Some(Body::Failed(failed)) = frames.last() else { panic!("no failure") };
    assert_eq!(
        (failed.reason.as_str(), failed.message.as_str()),
        (
            "harness_failed",
            "the harness ended and could not be taken up again: \
             the harness refused session/resume: no such session"
        )
    );
    drop(link);
    let (supervise, init) = sandbox.ended().await;
    assert!(!supervise.success() && init.success());
}

#[tokio::test]
async fn a_harness_that_cannot_be_started_is_told_with_its_reason() {
    let volume = Volume::new();
    std::fs::remove_file(volume.path("harness/bin/fake")).unwrap();
    let sandbox = Sandbox::start(&volume);
    let (mut link, _) = sandbox.accept().await;
    link.hydrate(1, json!({})).await;
    let (_, frames) = link.until_failed().await;
    let Some(Body::Failed(failed)) = frames.last() else { panic!("no failure") };
    assert_eq!(failed.reason, "start_failed");
    assert!(failed.message.contains("bin/fake cannot be started: No such file"), "{failed:?}");
}

#[tokio::test]
async fn the_agent_finds_no_socket_to_speak_on_in_place_of_init() {
    let volume = Volume::new();
    let (_sandbox, _link) = ready(&volume).await;
    assert!(!volume.path("room.sock").exists());
}

#[tokio::test]
async fn a_superseded_sandbox_ends_by_itself() {
    let volume = Volume::new();
    let (sandbox, link) = ready(&volume).await;
    drop(link);
    let (mut link, _) = sandbox.accept_without_welcome().await;
    link.send(Body::Welcome(Welcome { superseded: true, ..Welcome::default() })).await;
    let (supervise, init) = sandbox.ended().await;
    assert!(supervise.success() && init.success());
}

#[tokio::test]
async fn a_superseded_sandbox_writes_nothing_more_to_the_workspace() {
    let volume = Volume::new();
    let (sandbox, mut link) = ready(&volume).await;
    link.start_turn(1, 1, "say on it\nscribble").await;
    link.until(is_preview).await;
    let scribbled = volume.path("workspace/scribbled");
    while !scribbled.exists() {
        tokio::task::yield_now().await;
    }
    let told = std::time::Instant::now();
    link.send(Body::Welcome(Welcome { superseded: true, ..Welcome::default() })).await;
    let (supervise, _) = sandbox.ended().await;
    // Sooner than the grace that what ends by itself is given: what scribbles takes no notice of it.
    assert!(supervise.success() && told.elapsed().as_secs_f64() < 1.5, "{:?}", told.elapsed());
    let left = std::fs::metadata(&scribbled).unwrap().len();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(std::fs::metadata(&scribbled).unwrap().len(), left);
}

#[tokio::test]
async fn a_sandbox_that_is_told_to_stop_ends_by_itself() {
    let volume = Volume::new();
    let (sandbox, mut link) = ready(&volume).await;
    link.send(Body::Stop(Stop { reason: "released".to_owned() })).await;
    let (supervise, init) = sandbox.ended().await;
    assert!(supervise.success() && init.success());
}

fn is_event(told: &Told<'_>, name: &str) -> bool {
    matches!(told, Told::Entry(Entry::Event { body, .. }) if body.type_name() == name)
}

fn is_preview(told: &Told<'_>) -> bool {
    matches!(told, Told::Frame(Body::Preview(Preview { text: Some(_), .. })))
}
