//! Sessions are opened and deleted, messages become turns, and sandboxes come and go.

use platform_core::clock::Clock;
use platform_core::id::{EventId, SessionId, TeamId};
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::turn::StopReason;
use platform_messaging::Verdict;
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{DeleteSession, EventsAppended, SessionCommand};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::{outbox, session, turn};
use session_service::commands::carry_out;
use uuid::Uuid;

use crate::house::{House, hold_links, interrupting, journal, saying, started_turn};

#[tokio::test]
async fn opening_a_session_asks_for_a_sandbox() {
    let mut house = House::build().await;
    let session = house.opened().await;
    let told = house.told().await;
    assert_eq!((told.session_id, told.epoch), (session.uuid().to_string(), 1));
    assert!(matches!(told.action, Some(sandbox_command::Action::Provision(_))));
}

#[tokio::test]
async fn a_command_that_comes_twice_is_answered_as_the_first_time_and_changes_nothing_more() {
    let house = House::build().await;
    let session = house.opened().await;
    let (command, message) = (Uuid::now_v7(), saying("once"));
    let first = house.ask_as(command, house.team, session, message.clone()).await;
    let second = house.ask_as(command, house.team, session, message).await;
    assert_eq!(first, second);
    assert_eq!(house.types(session).await, ["user.message", "session.status_running"]);
}

#[tokio::test]
async fn one_command_delivered_twice_at_once_is_carried_out_once() {
    let house = House::build().await;
    let session = house.opened().await;
    let command = SessionCommand {
        command_id: Uuid::now_v7().to_string(),
        team_id: house.team.uuid().to_string(),
        session_id: session.uuid().to_string(),
        action: Some(saying("once")),
    };
    let twice = [(); 2].map(|()| carry_out(house.context.clone(), command.clone()));
    // The one that loses the race is told to try again, and then finds the answer.
    for verdict in futures::future::join_all(twice).await {
        assert!(matches!(verdict, Verdict::Answer(_) | Verdict::Retry), "{verdict:?}");
    }
    assert_eq!(house.types(session).await, ["user.message", "session.status_running"]);
}

#[tokio::test]
async fn two_that_ask_for_one_context_at_once_get_the_same_session() {
    let house = House::build().await;
    let opening = house.opening(Some("slack:T1:C1"));
    let asked = [(); 8].map(|()| house.ask(SessionId::mint(&SystemIds), opening.clone()));
    let mut opened = Vec::new();
    for outcome in futures::future::join_all(asked).await {
        let Outcome::Opened(answer) = outcome else { panic!("{outcome:?}") };
        opened.push(answer);
    }
    assert_eq!(opened.iter().filter(|answer| answer.created).count(), 1);
    assert!(opened.iter().all(|answer| answer.session_id == opened[0].session_id));
}

#[tokio::test]
async fn messages_of_many_senders_at_once_are_numbered_without_gaps() {
    let house = House::build().await;
    let session = house.opened().await;
    let sent = (0..20).map(|number| house.ask(session, saying(&number.to_string())));
    let outcomes = futures::future::join_all(sent).await;
    let is_appended = |outcome: &Outcome| matches!(outcome, Outcome::Appended(_));
    assert!(outcomes.iter().all(is_appended));
    let numbers: Vec<i64> = house.log(session).await.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=21).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_turn_goes_to_the_sandbox_and_its_journal_into_the_log() {
    let mut house = House::build().await;
    let session = house.ready().await;
    let mut connection = house.context.database.connection().await.unwrap();
    let stored = session::find(&mut connection, house.team, session).await.unwrap().unwrap();
    let sandbox = stored.sandbox_id.unwrap().uuid().to_string();
    let mut links = hold_links(&house, &sandbox).await;

    let Outcome::Appended(EventsAppended { turn_ids, .. }) = house.ask(session, saying("go")).await
    else {
        panic!("the message was not taken")
    };
    let (turn, epoch) = started_turn(links.recv().await.unwrap());
    assert_eq!(turn_ids, [turn.to_string()]);
    let turn_id = platform_core::id::TurnId::from_uuid(turn);
    let said = Entry::Event {
        turn_id: Some(turn_id),
        id: EventId::mint(&SystemIds),
        body: EventBody::AgentMessage { content: vec![ContentBlock::text("done")] },
    };
    let ended = Entry::TurnEnded { turn_id, stop_reason: StopReason::EndTurn, message: None };
    let batch = journal(epoch, &[(1, Entry::TurnStarted { turn_id }), (2, said), (3, ended)]);
    let first = house.ask(session, batch.clone()).await;
    let again = house.ask(session, batch).await;
    assert_eq!(first, again);
    assert_eq!(
        house.types(session).await,
        ["user.message", "session.status_running", "agent.message", "session.status_idle"]
    );
    let log = house.log(session).await;
    assert!(log[0].processed_at.is_some(), "the message was processed when its turn began");
    assert!(turn::open_turns(&connection, house.team, session).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_turn_that_no_link_takes_waits_while_its_sandbox_is_asked_for_again() {
    let mut house = House::build().await;
    let session = house.ready().await;
    house.ask(session, saying("go")).await;
    let told = house.told().await;
    assert_eq!(told.epoch, 1);
    assert!(matches!(told.action, Some(sandbox_command::Action::Provision(_))));
}

#[tokio::test]
async fn a_call_that_was_open_when_the_sandbox_was_lost_is_ended_as_an_error() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let turn_id = at_work.turn;
    let call = |id| Entry::Event {
        turn_id: Some(turn_id),
        id,
        body: EventBody::AgentToolUse {
            name: "bash".to_owned(),
            input: serde_json::Map::new(),
            evaluated_permission: None,
        },
    };
    let (ended, open) = (EventId::mint(&SystemIds), EventId::mint(&SystemIds));
    let result = Entry::Event {
        turn_id: Some(turn_id),
        id: EventId::mint(&SystemIds),
        body: EventBody::AgentToolResult {
            tool_use_id: ended,
            content: Vec::new(),
            is_error: false,
        },
    };
    for entry in [call(ended), result, call(open)] {
        house.tell(&mut at_work, entry).await;
    }
    house.lose(&at_work).await;
    let session = at_work.session;
    let provision = house.told().await;
    house.get_ready(session, provision.epoch).await;
    let log = house.log(session).await;
    let results = log.iter().filter_map(|event| {
        let EventBody::AgentToolResult { tool_use_id, is_error, .. } = &event.body else {
            return None;
        };
        Some((*tool_use_id, *is_error))
    });
    assert_eq!(results.collect::<Vec<_>>(), [(ended, false), (open, true)]);
    assert_eq!(house.types(session).await.last(), Some(&"session.status_running"));
}

#[tokio::test]
async fn a_journal_of_a_stale_epoch_is_refused() {
    let mut house = House::build().await;
    let session = house.ready().await;
    let entry = Entry::HarnessSession { id: "ses_1".to_owned() };
    let outcome = house.ask(session, journal(7, &[(1, entry)])).await;
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refused.kind.as_str(), refused.code.as_str()), ("conflict", "stale_epoch"));
}

#[tokio::test]
async fn another_teams_session_is_not_found() {
    let house = House::build().await;
    let session = house.opened().await;
    let stranger = TeamId::mint(&SystemIds);
    let outcome = house.ask_as(Uuid::now_v7(), stranger, session, saying("hello")).await;
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.kind, "not_found");
    assert!(house.log(session).await.is_empty());
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing_and_its_workspace_is_removed() {
    let mut house = House::build().await;
    let session = house.opened().await;
    house.ask(session, saying("hello")).await;
    house.told().await;
    house.ask(session, Action::Delete(DeleteSession {})).await;
    let Some(sandbox_command::Action::Stop(stop)) = house.told().await.action else {
        panic!("the sandbox was not stopped")
    };
    assert!(stop.remove_workspace);
    assert!(house.log(session).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_published_stays_in_the_outbox() {
    let house = House::build().await;
    house.context.broker.close().await;
    house.opened().await;
    house.context.publications.close();
    house.context.publications.wait().await;
    let mut connection = house.context.database.connection().await.unwrap();
    let later = SystemClock.now() + chrono::TimeDelta::minutes(1);
    let left = outbox::take_unsent(&mut connection, later, 10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].exchange, "sandbox.commands");
}

#[tokio::test]
async fn a_turn_interrupted_while_its_sandbox_is_replaced_leaves_no_call_without_a_result() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let (name, input) = ("bash".to_owned(), serde_json::Map::new());
    let call = EventBody::AgentToolUse { name, input, evaluated_permission: None };
    let call = house.act(&mut at_work, call).await;
    house.lose(&at_work).await;
    house.ask(at_work.session, interrupting()).await;

    let log = house.log(at_work.session).await;
    let after = log.iter().skip_while(|event| event.id != call).skip(1);
    let after: Vec<_> = after.map(|event| event.body.type_name()).collect();
    let expected = [
        "session.status_rescheduled",
        "user.interrupt",
        "agent.tool_result",
        "session.status_idle",
    ];
    assert_eq!(after, expected);
}
