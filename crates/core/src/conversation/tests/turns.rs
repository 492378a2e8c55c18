//! Messages, turns and the sandboxes that have them.

use super::scene::Scene;
use crate::conversation::*;
use crate::journal::Entry;
use crate::sandbox::JournalMark;

#[test]
fn a_turn_that_may_have_been_lost_on_its_way_is_sent_again_when_the_sandbox_links_anew() {
    let mut scene = Scene::ready();
    scene.say("hello");
    let turn = scene.current_turn();
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
    assert_eq!(scene.open_turns[0].attempts, 1);

    scene.report(Entry::TurnStarted { turn_id: turn });
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
}

#[test]
fn a_new_session_asks_for_its_first_sandbox_at_once() {
    let scene = Scene::opened();
    assert_eq!(scene.sent, [Outgoing::ProvisionSandbox { epoch: Epoch(1) }]);
}

#[test]
fn a_message_before_the_sandbox_is_ready_waits_for_it() {
    let mut scene = Scene::opened();
    scene.say("hello");
    assert_eq!(scene.types(), ["user.message", "session.status_running"]);
    let turn = scene.current_turn();
    assert_eq!(scene.starts_of(turn), 0);
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 1);
}

#[test]
fn messages_during_a_turn_queue_in_order() {
    let mut scene = Scene::ready();
    scene.say("one");
    let first = scene.current_turn();
    scene.say("two");
    assert_eq!(scene.open_turns.len(), 2);
    scene.report(Entry::TurnStarted { turn_id: first });
    scene.report(Entry::TurnEnded {
        turn_id: first,
        stop_reason: StopReason::EndTurn,
        message: None,
    });
    let second = scene.current_turn();
    assert_eq!(scene.starts_of(second), 1);
    assert_eq!(
        scene.types(),
        [
            "user.message",
            "session.status_running",
            "user.message",
            "session.status_idle",
            "session.status_running"
        ]
    );
}

#[test]
fn a_batch_that_comes_twice_changes_nothing() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn_id = scene.current_turn();
    let epoch = scene.session.epoch;
    let batch = vec![
        NumberedEntry { number: 1, entry: Entry::TurnStarted { turn_id } },
        NumberedEntry {
            number: 2,
            entry: Entry::TurnEnded { turn_id, stop_reason: StopReason::EndTurn, message: None },
        },
    ];
    let again = batch.clone();
    let through = scene.act(|conversation, moment| conversation.take_journal(epoch, batch, moment));
    let log = scene.log.clone();
    let repeat = scene.act(|conversation, moment| conversation.take_journal(epoch, again, moment));
    assert_eq!((through, repeat), (Ok(2), Ok(2)));
    assert_eq!(scene.log, log);
}

#[test]
fn a_stale_epoch_is_refused() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn_id = scene.current_turn();
    let old = scene.session.epoch;
    scene.lose(true);
    let batch = vec![NumberedEntry { number: 1, entry: Entry::TurnStarted { turn_id } }];
    let refused = scene.act(|conversation, moment| conversation.take_journal(old, batch, moment));
    assert_eq!(refused, Err(Refusal::StaleEpoch { given: old, current: old.next() }));
}

#[test]
fn a_sandbox_cannot_put_words_into_a_users_mouth() {
    let mut scene = Scene::ready();
    let epoch = scene.session.epoch;
    let entry = Entry::Event {
        turn_id: None,
        id: EventId::mint(&scene.ids),
        body: EventBody::UserMessage { content: Vec::new() },
    };
    let batch = vec![NumberedEntry { number: 1, entry }];
    let refused = scene.act(|conversation, moment| conversation.take_journal(epoch, batch, moment));
    assert_eq!(refused, Err(Refusal::ForbiddenEntry("user.message")));
    assert!(scene.log.is_empty());
}

#[test]
fn what_a_lost_sandbox_had_begun_is_ended_before_the_turn_goes_on() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (call, span) = (EventId::mint(&scene.ids), EventId::mint(&scene.ids));
    scene.lose(true);
    scene.get_ready_with(Unfinished { calls: vec![call], span: Some(span) });
    assert_eq!(
        scene.types(),
        [
            "user.message",
            "session.status_running",
            "session.status_rescheduled",
            "agent.tool_result",
            "span.model_request_end",
            "session.status_running"
        ]
    );
}

#[test]
fn what_a_lost_sandbox_had_begun_is_ended_with_the_turn_when_no_other_takes_it_up() {
    let mut scene = Scene::ready();
    scene.say("one");
    let call = EventId::mint(&scene.ids);
    scene.lose_with(false, Unfinished { calls: vec![call], span: None });
    let kinds = scene.types();
    assert_eq!(kinds[2..], ["agent.tool_result", "session.error", "session.status_idle"]);
}

#[test]
fn what_a_lost_sandbox_had_begun_is_ended_with_the_turn_that_is_interrupted_before_the_next_is_there()
 {
    let mut scene = Scene::ready();
    scene.started("one");
    scene.call_freely();
    scene.lose(true);
    scene.interrupt();
    let kinds = scene.types();
    assert_eq!(kinds[4..], ["user.interrupt", "agent.tool_result", "session.status_idle"]);
}

#[test]
fn the_end_of_a_lost_sandboxs_journal_is_told_by_its_successor() {
    let mut scene = Scene::ready();
    let turn_id = scene.started("one");
    let mark = JournalMark { epoch: scene.session.epoch, through: 1 };
    scene.lose(true);
    assert_eq!(scene.session.former_journal, Some(mark));
    let content = Vec::new();
    let body = EventBody::AgentMessage { content };
    let id = EventId::mint(&scene.ids);
    scene.report(Entry::Event { turn_id: Some(turn_id), id, body: body.clone() });
    scene.end(turn_id);
    scene.get_ready();
    assert!(scene.open_turns.is_empty(), "it had ended, and is not taken up again");
    let last = scene.session.last_event;
    let id = EventId::mint(&scene.ids);
    scene.report(Entry::Event { turn_id: Some(turn_id), id, body });
    assert_eq!(scene.session.last_event, last, "nothing follows a turn's end");
}

#[test]
fn a_lost_turn_is_taken_up_three_times_and_then_ends() {
    let mut scene = Scene::ready();
    scene.say("one");
    let turn = scene.current_turn();
    for _ in 0..3 {
        scene.lose(true);
        assert_eq!(scene.session.status, SessionStatus::Rescheduling);
        scene.get_ready();
    }
    scene.lose(true);
    assert_eq!(scene.starts_of(turn), 4);
    assert!(scene.open_turns.is_empty());
    let last = &scene.log[scene.log.len() - 1].body;
    let stop_reason = StopReason::RetriesExhausted.into();
    assert_eq!(*last, EventBody::SessionStatusIdle { stop_reason });
    scene.say("two");
    scene.get_ready();
    assert_eq!(scene.starts_of(scene.current_turn()), 1);
}

#[test]
fn an_interrupt_ends_a_turn_that_no_sandbox_has_at_once() {
    let mut scene = Scene::opened();
    scene.say("one");
    scene.interrupt();
    assert_eq!(
        scene.types(),
        ["user.message", "session.status_running", "user.interrupt", "session.status_idle"]
    );
}

#[test]
fn an_interrupt_that_reaches_nobody_ends_the_turn_and_cuts_the_sandbox_off() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (turn, epoch) = (scene.current_turn(), scene.session.epoch);
    scene.interrupt();
    assert!(matches!(scene.sent.last(), Some(Outgoing::InterruptTurn { .. })));
    scene.act(|conversation, moment| {
        conversation.interrupt_undeliverable(epoch, turn, Unfinished::default(), moment);
    });
    assert!(scene.open_turns.is_empty());
    assert!(scene.session.epoch > epoch);
}

#[test]
fn a_turn_that_reached_nobody_waits_for_the_same_sandbox() {
    let mut scene = Scene::ready();
    scene.say("one");
    let (turn, epoch) = (scene.current_turn(), scene.session.epoch);
    let nothing = Unfinished::default();
    scene.act(|conversation, moment| {
        conversation.turn_undeliverable(epoch, turn, nothing, moment);
    });
    assert_eq!(scene.sent.last(), Some(&Outgoing::ProvisionSandbox { epoch }));
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
    assert_eq!(scene.open_turns[0].attempts, 1);
}

#[test]
fn a_start_that_fails_three_times_is_given_up_and_said_so() {
    let mut scene = Scene::opened();
    for _ in 0..MAX_STARTS {
        scene.lose(true);
    }
    assert_eq!(scene.types(), ["session.error"]);
    assert!(scene.session.startup.as_ref().unwrap().failure.is_some());
    let provisions = scene.sent.len();
    scene.say("again");
    assert_eq!(scene.sent.len(), provisions + 1);
}

#[test]
fn an_idle_session_gives_its_sandbox_back_but_a_busy_one_keeps_it() {
    let mut scene = Scene::ready();
    scene.say("one");
    assert_eq!(scene.release(), Err(Refusal::TurnUnderWay));
    let turn_id = scene.current_turn();
    let stop_reason = StopReason::EndTurn;
    scene.report(Entry::TurnEnded { turn_id, stop_reason, message: None });
    scene.release().unwrap();
    assert_eq!(scene.session.sandbox_id, None);
    scene.say("two");
    assert!(matches!(scene.sent.last(), Some(Outgoing::ProvisionSandbox { .. })));
}

#[test]
fn an_archived_session_takes_nothing_more() {
    let mut scene = Scene::ready();
    scene.say("one");
    scene.act(|conversation, moment| conversation.archive(Unfinished::default(), moment));
    let id = EventId::mint(&scene.ids);
    let refused = scene.send(ClientEvent { id, body: EventBody::UserInterrupt {} });
    assert_eq!(refused, Err(Refusal::Archived));
    assert_eq!(scene.types().last(), Some(&"session.status_terminated"));
}

#[test]
fn an_interrupt_is_sent_again_when_the_sandbox_links_anew() {
    let mut scene = Scene::ready();
    scene.started("one");
    scene.interrupt();
    scene.get_ready();
    let is_interrupt = |outgoing: &&Outgoing| matches!(outgoing, Outgoing::InterruptTurn { .. });
    assert_eq!(scene.sent.iter().filter(is_interrupt).count(), 2);
}

#[test]
fn an_interrupted_turn_ends_with_its_sandbox_instead_of_being_taken_up_again() {
    let mut scene = Scene::ready();
    scene.started("one");
    scene.interrupt();
    scene.lose(true);
    assert!(scene.open_turns.is_empty());
    let stop_reason = StopReason::Interrupted.into();
    assert_eq!(scene.log.last().unwrap().body, EventBody::SessionStatusIdle { stop_reason });
}

#[test]
fn other_tools_take_effect_with_the_next_turn_because_the_sandbox_is_replaced() {
    let mut scene = Scene::ready();
    let epoch = scene.session.epoch;
    let (name, description) = ("weather".to_owned(), "tells the weather".to_owned());
    let input_schema = serde_json::json!({"type": "object"});
    let tools = Some(vec![crate::agent::Tool::Custom { name, description, input_schema }]);
    let patch = SessionPatch { tools, ..SessionPatch::default() };
    scene.act(|conversation, moment| conversation.update(patch, moment)).unwrap();
    assert_eq!(scene.session.sandbox_id, None);
    assert!(scene.session.epoch > epoch);
    scene.say("one");
    assert!(matches!(scene.sent.last(), Some(Outgoing::ProvisionSandbox { .. })));
}

#[test]
fn a_session_that_is_used_meanwhile_is_not_archived_for_its_age() {
    let mut scene = Scene::ready();
    let untouched = scene.session.updated_at;
    scene.say("one");
    let archive = |conversation: &mut Conversation, moment: Moment<'_>| {
        conversation.archive_untouched(untouched, moment)
    };
    assert_eq!(scene.act(archive), Err(Refusal::TouchedMeanwhile));
    let turn = scene.current_turn();
    scene.end(turn);
    scene.act(archive).unwrap();
    assert_eq!(scene.types().last(), Some(&"session.status_terminated"));
}
