//! Calls that wait for somebody.

use super::scene::Scene;
use crate::conversation::*;
use crate::journal::Entry;
use crate::turn::ActionAnswer;

#[test]
fn a_call_that_needs_leave_stops_the_turn_until_somebody_answers() {
    let mut scene = Scene::ready();
    let turn = scene.started("one");
    let call = scene.ask();
    assert_eq!(scene.session.status, SessionStatus::Idle);
    assert_eq!(scene.waiting_for(), [call]);
    scene.say("two");
    assert_eq!(scene.session.status, SessionStatus::Idle);
    scene.confirm(call, "allow").unwrap();
    assert_eq!(scene.session.status, SessionStatus::Running);
    assert_eq!(scene.answers_to(call), 1);
    assert_eq!(scene.confirm(call, "deny"), Err(Refusal::AlreadyAnswered(call)));
    scene.report(Entry::ActionResumed { turn_id: turn, event_id: call });
    assert_eq!(scene.confirm(call, "deny"), Err(Refusal::NothingToAnswer(call)));
    scene.end(turn);
    assert_eq!(scene.starts_of(scene.current_turn()), 1);
}

#[test]
fn the_idle_event_is_repeated_with_the_calls_that_are_left() {
    let mut scene = Scene::ready();
    scene.started("one");
    let (first, second) = (scene.ask(), scene.call_client());
    assert_eq!(scene.waiting_for(), [first, second]);
    assert_eq!(scene.answer_client_call(first), Err(Refusal::WrongAnswer(first)));
    scene.confirm(first, "deny").unwrap();
    assert_eq!(scene.waiting_for(), [second]);
    assert_eq!(scene.session.status, SessionStatus::Idle);
    scene.answer_client_call(second).unwrap();
    assert_eq!(scene.session.status, SessionStatus::Running);
    assert_eq!((scene.answers_to(first), scene.answers_to(second)), (1, 1));
}

#[test]
fn a_call_that_waits_survives_its_sandbox_and_brings_a_new_one_when_it_is_answered() {
    let mut scene = Scene::ready();
    let turn = scene.started("one");
    let call = scene.ask();
    let provisions = scene.sent.len();
    scene.lose_with(true, Unfinished { calls: vec![call], span: None });
    assert_eq!(scene.sent.len(), provisions, "waiting needs no sandbox");
    assert!(!scene.types().contains(&"agent.tool_result"));
    scene.confirm(call, "allow").unwrap();
    scene.get_ready();
    assert_eq!(scene.starts_of(turn), 2);
    let taken_up = scene.open_turns[0].clone();
    assert_eq!(taken_up.attempts, 2);
    assert_eq!(taken_up.actions[0].answer, Some(ActionAnswer::Allow));
}

#[test]
fn an_answer_is_sent_again_until_the_harness_has_it() {
    let mut scene = Scene::ready();
    let turn = scene.started("one");
    let call = scene.ask();
    scene.confirm(call, "allow").unwrap();
    scene.get_ready();
    assert_eq!(scene.answers_to(call), 2);
    scene.report(Entry::ActionResumed { turn_id: turn, event_id: call });
    scene.get_ready();
    assert_eq!(scene.answers_to(call), 2);
}

#[test]
fn a_turn_that_waits_may_give_its_sandbox_back_any_number_of_times() {
    let mut scene = Scene::ready();
    let turn = scene.started("one");
    for _ in 0..6 {
        let call = scene.ask();
        scene.release().unwrap();
        scene.confirm(call, "allow").unwrap();
        scene.get_ready();
        scene.report(Entry::TurnStarted { turn_id: turn });
        scene.report(Entry::ActionResumed { turn_id: turn, event_id: call });
    }
    scene.lose(true);
    assert_eq!(scene.session.status, SessionStatus::Rescheduling);
}

#[test]
fn a_turn_that_waits_without_a_sandbox_is_interrupted_at_once() {
    let mut scene = Scene::ready();
    scene.started("one");
    let call = scene.ask();
    scene.lose(true);
    scene.interrupt();
    assert!(scene.open_turns.is_empty());
    let kinds = scene.types();
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["user.interrupt", "agent.tool_result", "session.status_idle"]
    );
    assert_eq!(scene.confirm(call, "allow"), Err(Refusal::NothingToAnswer(call)));
}
