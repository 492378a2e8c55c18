use platform_core::sandbox::Epoch;
use platform_core::session::{ContentBlock, Event, EventBody, Session};
use platform_core::turn::{Action, ActionAnswer, ActionKind, StopReason, TurnState};
use serde_json::json;

use super::*;
use crate::fixture::{Fixture, at, new_id, new_turn, user_message};
use crate::{Connection, Order, TimeRange, turn};

fn agent_event(number: i64, body: EventBody) -> Event {
    Event { id: new_id(), number, turn_id: None, processed_at: None, body }
}

async fn all(connection: &mut Connection, session: &Session) -> Vec<Event> {
    let filter = EventFilter::default();
    let (team, id) = (session.team_id, session.id);
    list(connection, team, id, &filter, Order::OldestFirst, 100).await.unwrap()
}

#[tokio::test]
async fn a_users_message_is_processed_when_its_turn_begins() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    let mut waiting = new_turn(1, 1);
    let message = user_message(1, Some(waiting.id), "hello");
    let mut interrupt = agent_event(2, EventBody::UserInterrupt {});
    append(&connection, team, id, at(5), &[message.clone(), interrupt.clone()]).await.unwrap();
    turn::save(&connection, team, id, [&waiting]).await.unwrap();
    interrupt.processed_at = Some(at(5));
    assert_eq!(all(&mut connection, &session).await, [message.clone(), interrupt.clone()]);

    waiting.state = TurnState::Running { epoch: Epoch(1) };
    waiting.started_at = Some(at(8));
    waiting.attempts = 1;
    turn::save(&connection, team, id, [&waiting]).await.unwrap();
    let processed = Event { processed_at: Some(at(8)), ..message };
    assert_eq!(all(&mut connection, &session).await, [processed, interrupt]);
}

#[tokio::test]
async fn what_tools_print_comes_back_as_it_was() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let serde_json::Value::Object(input) =
        json!({ "zebra": 1.0, "a": "\u{0}\u{1F980}", "nested": { "y": [], "x": null } })
    else {
        unreachable!()
    };
    let order: Vec<_> = input.keys().cloned().collect();
    let call =
        EventBody::AgentToolUse { name: "bash".to_owned(), input, evaluated_permission: None };
    let mut events = vec![agent_event(1, call)];
    let result = EventBody::AgentToolResult {
        tool_use_id: events[0].id,
        content: vec![ContentBlock::text("nul \0 and bell \u{7}")],
        is_error: false,
    };
    events.push(agent_event(2, result));
    append(&connection, session.team_id, session.id, at(5), &events).await.unwrap();
    for event in &mut events {
        event.processed_at = Some(at(5));
    }
    let read = all(&mut connection, &session).await;
    assert_eq!(read, events);
    let EventBody::AgentToolUse { input, .. } = &read[0].body else { unreachable!() };
    assert_eq!(input.keys().cloned().collect::<Vec<_>>(), order);
}

#[tokio::test]
async fn a_log_is_read_by_type_time_range_and_number() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    for number in 1..=6 {
        let event = if number % 2 == 0 {
            agent_event(
                number,
                EventBody::SessionStatusIdle { stop_reason: StopReason::EndTurn.into() },
            )
        } else {
            user_message(number, None, "again")
        };
        append(&connection, team, id, at(number), &[event]).await.unwrap();
    }
    let everything = EventFilter::default();
    let idle = EventFilter {
        types: vec!["session.status_idle".to_owned(), "session.error".to_owned()],
        ..EventFilter::default()
    };
    let middle = EventFilter {
        created: TimeRange { after: Some(at(2)), until: Some(at(5)), ..TimeRange::default() },
        ..EventFilter::default()
    };
    let past = EventFilter { past: Some(3), ..EventFilter::default() };
    let early = EventFilter { through: Some(3), ..EventFilter::default() };
    let cases = [
        (&everything, Order::OldestFirst, 4, vec![1, 2, 3, 4]),
        (&everything, Order::NewestFirst, 2, vec![6, 5]),
        (&idle, Order::OldestFirst, 9, vec![2, 4, 6]),
        (&middle, Order::OldestFirst, 9, vec![3, 4, 5]),
        (&past, Order::OldestFirst, 2, vec![4, 5]),
        (&past, Order::NewestFirst, 9, vec![2, 1]),
        (&early, Order::NewestFirst, 2, vec![3, 2]),
    ];
    for (filter, order, limit, expected) in cases {
        let events = list(&mut connection, team, id, filter, order, limit).await.unwrap();
        assert_eq!(numbers(&events), expected, "{filter:?} {order:?}");
    }
    let events = range(&mut connection, team, id, 2, 4).await.unwrap();
    assert_eq!(numbers(&events), [2, 3, 4]);
    let events = by_numbers(&mut connection, team, id, &[5, 1, 99]).await.unwrap();
    assert_eq!(numbers(&events), [1, 5]);
    assert_eq!(range(&mut connection, new_id(), id, 1, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_number_is_given_once() {
    let fixture = Fixture::create().await;
    let connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    append(&connection, team, id, at(1), &[user_message(1, None, "one")]).await.unwrap();
    let twice = append(&connection, team, id, at(1), &[user_message(1, None, "two")]).await;
    assert!(matches!(twice, Err(crate::StorageError::AlreadyExists(_))));
}

#[tokio::test]
async fn a_long_journal_is_appended_whole() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let events: Vec<_> = (1..=12_000).map(|number| user_message(number, None, "x")).collect();
    append(&connection, session.team_id, session.id, at(1), &events).await.unwrap();
    let last = range(&mut connection, session.team_id, session.id, 11_999, 13_000).await.unwrap();
    assert_eq!(numbers(&last), [11_999, 12_000]);
}

#[tokio::test]
async fn a_turn_waits_with_the_answers_that_it_has() {
    let fixture = Fixture::create().await;
    let connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    let mut waiting = new_turn(1, 1);
    waiting.state = TurnState::Waiting { epoch: Epoch(2) };
    waiting.interrupt_requested = true;
    let content = vec![ContentBlock::text("nul \0")];
    let answer = Some(ActionAnswer::Result { content, is_error: true });
    waiting.actions = vec![
        Action { event_id: new_id(), kind: ActionKind::CustomTool, answer },
        Action { event_id: new_id(), kind: ActionKind::Confirmation, answer: None },
    ];
    turn::save(&connection, team, id, [&waiting]).await.unwrap();
    assert_eq!(turn::open_turns(&connection, team, id).await.unwrap(), [waiting]);
}

#[tokio::test]
async fn open_turns_come_in_the_order_in_which_they_run() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let (team, id) = (session.team_id, session.id);
    assert_eq!(turn::last_ordinal(&connection, team, id).await.unwrap(), 0);
    let mut first = new_turn(1, 1);
    let mut second = new_turn(2, 2);
    turn::save(&connection, team, id, [&second, &first]).await.unwrap();
    first.state = TurnState::Ended { reason: StopReason::SandboxLost, at: at(9) };
    first.started_at = Some(at(3));
    second.state = TurnState::Dispatched { epoch: Epoch(4) };
    second.attempts = 2;
    let third = new_turn(3, 3);
    turn::save(&connection, team, id, [&first, &second, &third]).await.unwrap();
    let open = turn::open_turns(&connection, team, id).await.unwrap();
    assert_eq!(open, [second, third]);
    assert_eq!(turn::last_ordinal(&connection, team, id).await.unwrap(), 3);
    assert_eq!(turn::find(&mut connection, team, first.id).await.unwrap(), Some(first));
    assert!(crate::session::delete(&mut connection, team, id).await.unwrap());
    assert_eq!(turn::open_turns(&connection, team, id).await.unwrap(), []);
}

fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.number).collect()
}
