//! Sessions that go on from an earlier point of another.

use platform_core::clock::Clock;
use platform_core::id::SessionId;
use platform_core::journal::Entry;
use platform_core::sandbox::SessionSpec;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::StopReason;
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::ForkSession;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::snapshot::{self, Snapshot};
use platform_storage::{session, turn};

use crate::house::{AtWork, House, saying};

fn forking(source: SessionId, at_event: i64) -> Action {
    Action::Fork(ForkSession {
        source_session_id: source.uuid().to_string(),
        at_event,
        metadata: b"{}".to_vec(),
        ..ForkSession::default()
    })
}

/// A session with one turn that has ended, whose files are kept, and a second one at work.
async fn with_a_past(house: &mut House) -> AtWork {
    let mut at_work = house.at_work().await;
    let turn_id = at_work.turn;
    let name = Entry::HarnessSession { id: "ses_1".to_owned() };
    house.tell(&mut at_work, name).await;
    let content = vec![ContentBlock::text("done")];
    house.act(&mut at_work, EventBody::AgentMessage { content }).await;
    let stop_reason = StopReason::EndTurn;
    house.tell(&mut at_work, Entry::TurnEnded { turn_id, stop_reason, message: None }).await;
    let kept = Snapshot {
        team_id: house.team,
        session_id: at_work.session,
        turn_id,
        host: "here".to_owned(),
        files: 1,
        new_bytes: 1,
        created_at: SystemClock.now(),
    };
    let mut connection = house.context.database.connection().await.unwrap();
    snapshot::insert(&mut connection, &kept).await.unwrap();
    house.ask(at_work.session, saying("and more")).await;
    at_work
}

#[tokio::test]
async fn a_fork_has_the_log_up_to_its_point_and_asks_for_a_sandbox_with_those_files() {
    let mut house = House::build().await;
    let source = with_a_past(&mut house).await;
    let before = house.log(source.session).await;
    let fork = SessionId::mint(&SystemIds);
    let outcome = house.ask(fork, forking(source.session, 4)).await;
    assert!(matches!(outcome, Outcome::Opened(opened) if opened.created));
    let copied = house.log(fork).await;
    let bodies = |log: &[platform_core::session::Event]| -> Vec<_> {
        log.iter()
            .map(|event| (event.id, event.number, event.processed_at, event.body.clone()))
            .collect()
    };
    assert_eq!(bodies(&copied), bodies(&before[..4]));
    assert_eq!(house.log(source.session).await, before, "the source is left as it is");

    let told = house.told().await;
    let Some(sandbox_command::Action::Provision(provision)) = told.action else { panic!() };
    let spec: SessionSpec = serde_json::from_slice(&provision.session_spec).unwrap();
    assert_eq!(spec.forked_from.unwrap().turn_id, Some(source.turn));
    assert_eq!(spec.harness_session.as_deref(), Some("ses_1"));
    assert!(spec.is_replacement && !spec.has_unfinished_turn);
    let mut connection = house.context.database.connection().await.unwrap();
    assert!(turn::open_turns(&connection, house.team, fork).await.unwrap().is_empty());
    assert!(session::delete(&mut connection, house.team, source.session).await.unwrap());
    assert_eq!(bodies(&house.log(fork).await), bodies(&copied), "a fork needs its source no more");
}

#[tokio::test]
async fn a_turn_that_the_point_cuts_ends_in_the_fork_and_is_not_done_again() {
    let mut house = House::build().await;
    let source = with_a_past(&mut house).await;
    let fork = SessionId::mint(&SystemIds);
    house.ask(fork, forking(source.session, 0)).await;
    let kinds = house.types(fork).await;
    assert_eq!(kinds[4..], ["user.message", "session.status_running", "session.status_idle"]);
}

#[tokio::test]
async fn a_fork_without_kept_files_or_of_no_event_is_refused() {
    let mut house = House::build().await;
    let mut source = house.at_work().await;
    let (turn_id, stop_reason) = (source.turn, StopReason::EndTurn);
    let content = vec![ContentBlock::text("done")];
    house.act(&mut source, EventBody::AgentMessage { content }).await;
    house.tell(&mut source, Entry::TurnEnded { turn_id, stop_reason, message: None }).await;
    for (at_event, code) in [(4, "no_snapshot"), (5, "no_such_event"), (-1, "no_such_event")] {
        let outcome =
            house.ask(SessionId::mint(&SystemIds), forking(source.session, at_event)).await;
        let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
        assert_eq!(refused.code, code);
    }
}
