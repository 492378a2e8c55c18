//! Turns that stand still for want of money, and alarms.

use super::scene::Scene;
use crate::budget::{Allowance, Budget, NanoDollars};
use crate::conversation::*;
use crate::egress::{Alarm, AlarmKind};
use crate::journal::Entry;
use crate::session::ModelUsage;

fn with_budget(nano: u64) -> Scene {
    let mut scene = Scene::ready();
    scene.session.budget = Some(Budget { max_cost: NanoDollars(nano) });
    scene
}

fn spend(scene: &mut Scene, nano: u64) {
    let usage = ModelUsage { input_tokens: 10, ..ModelUsage::default() };
    scene.act(|conversation, moment| {
        conversation.record_usage(usage, NanoDollars(nano), moment);
    });
}

fn refused_by_the_way_out(scene: &mut Scene, turn: TurnId) {
    let stop_reason = StopReason::Error;
    scene.report(Entry::TurnEnded { turn_id: turn, stop_reason, message: None });
}

fn set_budget(scene: &mut Scene, budget: Option<u64>) -> Result<(), Refusal> {
    let budget = budget.map(|nano| Budget { max_cost: NanoDollars(nano) });
    let patch = SessionPatch { budget: Some(budget), ..SessionPatch::default() };
    scene.act(|conversation, moment| conversation.update(patch, moment))
}

fn last_stop(scene: &Scene) -> StopReason {
    let stop = scene.log.iter().rev().find_map(|event| {
        let EventBody::SessionStatusIdle { stop_reason } = &event.body else { return None };
        Some(stop_reason.reason)
    });
    stop.unwrap()
}

#[test]
fn a_turn_whose_budget_is_used_up_stands_still_until_it_is_raised() {
    let mut scene = with_budget(100);
    let turn = scene.started("one");
    spend(&mut scene, 100);
    refused_by_the_way_out(&mut scene, turn);
    assert_eq!(last_stop(&scene), StopReason::BudgetReached);
    assert_eq!((scene.session.status, scene.session.sandbox_id), (SessionStatus::Idle, None));
    assert_eq!(scene.current_turn(), turn, "it has not ended");
    assert!(scene.log.iter().all(|event| !event.body.is_end_of_turn()));

    assert_eq!(set_budget(&mut scene, Some(100)), Err(Refusal::BudgetNotRaised(NanoDollars(100))));
    set_budget(&mut scene, Some(101)).unwrap();
    assert_eq!(scene.session.status, SessionStatus::Running);
    scene.get_ready();
    assert_eq!((scene.starts_of(turn), scene.open_turns[0].attempts), (2, 2));
    scene.report(Entry::TurnStarted { turn_id: turn });
    scene.end(turn);
    assert_eq!(scene.log.iter().filter(|event| event.body.is_end_of_turn()).count(), 1);
}

#[test]
fn a_message_to_a_session_without_money_is_kept_and_its_sender_told() {
    let mut scene = with_budget(100);
    spend(&mut scene, 100);
    scene.say("one");
    assert_eq!(scene.types(), ["session.usage", "user.message", "session.status_idle"]);
    assert_eq!(last_stop(&scene), StopReason::BudgetReached);
    scene.say("two");
    assert_eq!(scene.types().len(), 5);
    scene.interrupt();
    assert_eq!((last_stop(&scene), scene.open_turns.len()), (StopReason::BudgetReached, 1));
    set_budget(&mut scene, None).unwrap();
    assert_eq!(scene.session.status, SessionStatus::Running);
    assert_eq!(scene.starts_of(scene.current_turn()), 1);
}

#[test]
fn a_turn_that_ends_by_itself_ends_whatever_it_cost() {
    let mut scene = with_budget(100);
    let turn = scene.started("one");
    spend(&mut scene, 100);
    scene.end(turn);
    assert_eq!(last_stop(&scene), StopReason::EndTurn);
    assert!(scene.open_turns.is_empty());
}

#[test]
fn an_interrupt_ends_a_turn_also_when_there_is_no_money() {
    let mut scene = with_budget(100);
    let turn = scene.started("one");
    spend(&mut scene, 100);
    scene.interrupt();
    let stop_reason = StopReason::Interrupted;
    scene.report(Entry::TurnEnded { turn_id: turn, stop_reason, message: None });
    assert_eq!(last_stop(&scene), StopReason::Interrupted);
    assert!(scene.open_turns.is_empty());
}

#[test]
fn what_stands_still_costs_no_attempt() {
    let mut scene = with_budget(100);
    let turn = scene.started("one");
    for round in 1..8 {
        spend(&mut scene, 100);
        refused_by_the_way_out(&mut scene, turn);
        set_budget(&mut scene, Some((round + 1) * 100)).unwrap();
        scene.get_ready();
        scene.report(Entry::TurnStarted { turn_id: turn });
    }
    assert_eq!(scene.open_turns[0].attempts, 2);
}

#[test]
fn a_team_without_money_stops_its_sessions_and_goes_on_when_it_has_some() {
    let mut scene = Scene::ready();
    let used_up =
        Allowance { budget: Some(Budget { max_cost: NanoDollars(5) }), spent: NanoDollars(5) };
    scene.team = used_up;
    scene.say("one");
    assert_eq!(last_stop(&scene), StopReason::BudgetReached);
    scene.act(Conversation::resume_paused);
    assert_eq!(scene.session.status, SessionStatus::Idle);
    scene.team = Allowance { spent: NanoDollars(4), ..used_up };
    scene.act(Conversation::resume_paused);
    assert_eq!(scene.session.status, SessionStatus::Running);
}

#[test]
fn a_budget_comes_with_the_session_or_not_at_all() {
    let mut scene = Scene::ready();
    assert_eq!(set_budget(&mut scene, Some(1)), Err(Refusal::BudgetCreateOnly));
    set_budget(&mut scene, None).unwrap();
    assert_eq!(scene.types(), Vec::<&str>::new());
}

fn alarm(scene: &mut Scene, kind: AlarmKind) {
    let alarm = Alarm { kind, message: "something was seen".to_owned(), host: None };
    scene.act(|conversation, moment| {
        conversation.raise_alarm(alarm, Unfinished::default(), moment);
    });
}

#[test]
fn a_planted_value_that_is_seen_ends_the_sandbox_and_its_turn() {
    let mut scene = Scene::ready();
    scene.started("one");
    scene.say("two");
    let epoch = scene.session.epoch;
    alarm(&mut scene, AlarmKind::HoneyValueSeen);
    assert_eq!(last_stop(&scene), StopReason::Error);
    assert!(scene.session.epoch > epoch);
    let stops = scene
        .sent
        .iter()
        .filter(|sent| matches!(sent, Outgoing::StopSandbox { reason: StopWhy::Alarm, .. }));
    assert_eq!(stops.count(), 1);
    scene.get_ready();
    assert_eq!(scene.starts_of(scene.current_turn()), 1, "the next message goes on");
}

#[test]
fn a_misused_placeholder_is_told_and_nothing_is_ended() {
    let mut scene = Scene::ready();
    let turn = scene.started("one");
    alarm(&mut scene, AlarmKind::PlaceholderMisused);
    assert_eq!(scene.types().last(), Some(&"session.alarm"));
    scene.end(turn);
    assert_eq!(last_stop(&scene), StopReason::EndTurn);
}
