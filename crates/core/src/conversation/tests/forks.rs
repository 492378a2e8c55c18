//! Sessions that go on from an earlier point of another.

use chrono::DateTime;

use super::scene::Scene;
use crate::conversation::*;
use crate::id::{SecretId, SessionId};
use crate::session::ForkedFrom;
use crate::variable::Variable;

#[test]
fn a_fork_takes_the_log_up_to_its_point_and_leaves_the_source_alone() {
    let mut scene = Scene::ready();
    let first = scene.started("one");
    scene.end(first);
    let second = scene.started("two");
    let at_event = scene.session.last_event;
    let turn = |id, ordinal, state| Turn {
        id,
        ordinal,
        event_number: ordinal,
        state,
        attempts: 1,
        actions: Vec::new(),
        interrupt_requested: false,
        created_at: DateTime::UNIX_EPOCH,
        started_at: Some(DateTime::UNIX_EPOCH),
    };
    let at = DateTime::UNIX_EPOCH;
    let ended = TurnState::Ended { reason: StopReason::EndTurn, at };
    let running = TurnState::Running { epoch: scene.session.epoch };
    let turns = vec![turn(first, 1, ended), turn(second, 2, running)];
    let point = ForkPoint {
        at_event,
        ended: [first].into(),
        last_at_work: Some(second),
        unfinished: Unfinished::default(),
    };
    let id = SessionId::mint(&scene.ids);
    let moment = Moment { now: at, ids: &scene.ids };
    let description = ForkDescription::default();
    let fork = Conversation::fork(&scene.session, id, description, turns, &point, moment);
    let forked_from = ForkedFrom { session_id: scene.session.id, at_event, turn_id: Some(first) };
    let (session, changes) = fork.conversation.into_parts();
    assert_eq!(session.forked_from, Some(forked_from));
    assert_eq!(session.status, SessionStatus::Idle);
    let numbers: Vec<i64> = changes.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [at_event + 1], "the turn that was cut ends");
    assert!(changes.turns.values().all(|turn| matches!(turn.state, TurnState::Ended { .. })));
    assert_eq!(changes.outgoing, [Outgoing::ProvisionSandbox { epoch: Epoch(1) }]);
    assert_eq!(fork.turns.iter().map(|(old, _)| *old).collect::<Vec<_>>(), [first, second]);
}

#[test]
fn a_fork_has_the_same_variables_with_secrets_of_its_own() {
    let mut scene = Scene::ready();
    let secret_id = SecretId::mint(&scene.ids);
    let allowed_hosts = vec!["a.example.com".parse().unwrap()];
    let plain = Variable::Plain { value: "x".to_owned() };
    let secret = |secret_id| Variable::Secret { secret_id, allowed_hosts: allowed_hosts.clone() };
    let variables = |secret_id| {
        [("A".to_owned(), plain.clone()), ("B_TOKEN".to_owned(), secret(secret_id))].into()
    };
    scene.session.environment_variables = variables(secret_id);
    let moment = Moment { now: DateTime::UNIX_EPOCH, ids: &scene.ids };
    let (id, description) = (SessionId::mint(&scene.ids), ForkDescription::default());
    let point = ForkPoint::default();
    let fork = Conversation::fork(&scene.session, id, description, Vec::new(), &point, moment);
    let [(original, copy)] = fork.secrets[..] else { panic!("{:?}", fork.secrets) };
    assert_eq!(original, secret_id);
    assert_ne!(copy, secret_id);
    assert_eq!(fork.conversation.session().environment_variables, variables(copy));
}
