use chrono::TimeDelta;
use platform_core::budget::{Budget, NanoDollars};
use platform_core::environment::{EnvironmentConfig, Networking, Packages, SandboxSpec};
use platform_core::sandbox::{Sandbox, SandboxState};
use platform_core::session::{Session, SessionStatus};
use platform_core::turn::TurnState;

use super::*;
use crate::fixture::{Fixture, at, new_environment, new_id, new_turn};
use crate::outbox::OutboxMessage;
use crate::{environment, outbox, sandbox, session, team, turn};

#[tokio::test]
async fn a_sandbox_is_idle_for_as_long_as_its_environment_says() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut expected = Vec::new();
    for timeout in [Some(60), Some(600), None] {
        let mut environment = new_environment(&fixture.team, "with its own time-out");
        environment.config = EnvironmentConfig::Cloud {
            networking: Networking::Unrestricted,
            packages: Packages::default(),
            environment_variables: std::collections::BTreeMap::new(),
            sandbox: SandboxSpec { idle_timeout_seconds: timeout, ..SandboxSpec::default() },
        };
        environment::insert(&mut connection, &environment).await.unwrap();
        let mut session = with_sandbox(&fixture);
        session.environment_id = environment.id;
        session::insert(&mut connection, &session).await.unwrap();
        expected.push(IdleSandbox {
            team_id: session.team_id,
            session_id: session.id,
            sandbox_id: session.sandbox_id.unwrap(),
            epoch: Epoch(3),
            idle_since: at(0),
        });
        // One that works and one without a sandbox are never idle.
        session.id = new_id();
        session.idle_since = None;
        session::insert(&mut connection, &session).await.unwrap();
        session.id = new_id();
        session.idle_since = Some(at(0));
        session.sandbox_id = None;
        session::insert(&mut connection, &session).await.unwrap();
    }
    let almost = at(60) - TimeDelta::microseconds(1);
    assert_eq!(list_idle_with_sandbox(&mut connection, almost, None, 10).await.unwrap(), []);
    let idle = list_idle_with_sandbox(&mut connection, at(60), None, 10).await.unwrap();
    assert_eq!(idle, expected[..1]);
    let idle = list_idle_with_sandbox(&mut connection, at(100_000), None, 10).await.unwrap();
    assert_eq!(idle, expected[..2]);
    let first = list_idle_with_sandbox(&mut connection, at(100_000), None, 1).await.unwrap();
    let rest = list_idle_with_sandbox(&mut connection, at(100_000), Some(&first[0]), 10).await;
    assert_eq!(rest.unwrap(), expected[1..2]);
}

#[tokio::test]
async fn a_session_whose_turn_waits_for_an_answer_is_idle() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = with_sandbox(&fixture);
    session::insert(&mut connection, &session).await.unwrap();
    let mut waiting = new_turn(1, 1);
    waiting.state = TurnState::Waiting { epoch: session.epoch };
    turn::save(&connection, session.team_id, session.id, [&waiting]).await.unwrap();
    let idle = list_idle_with_sandbox(&mut connection, at(100_000), None, 10).await.unwrap();
    assert_eq!(idle.len(), 1);
}

#[tokio::test]
async fn a_session_is_bereft_when_its_sandbox_is_gone_and_nothing_is_on_its_way() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let working = stored(&fixture, |session| at_work(session, 10)).await;
    let idle = stored(&fixture, |session| session.updated_at = at(11)).await;
    let starting = stored(&fixture, |session| {
        at_work(session, 12);
        session.sandbox_id = None;
    })
    .await;
    for session in [&working, &idle, &starting] {
        sandbox_of(&fixture, session, 2, SandboxState::Ready).await;
        sandbox_of(&fixture, session, 3, SandboxState::Gone).await;
    }
    // Those that are well, or have an excuse.
    let alive = stored(&fixture, |session| at_work(session, 10)).await;
    sandbox_of(&fixture, &alive, 3, SandboxState::Stopping).await;
    stored(&fixture, |session| at_work(session, 50)).await;
    stored(&fixture, |session| session.sandbox_id = None).await;
    stored(&fixture, |session| {
        session.status = SessionStatus::Terminated;
        session.archived_at = Some(at(5));
    })
    .await;
    let being_told = stored(&fixture, |session| at_work(session, 10)).await;
    outbox::put(&mut connection, &[message_of(&being_told)]).await.unwrap();

    let since = BereftSince { lost: at(50), never_begun: at(0) };
    let bereft = list_bereft(&mut connection, since, None, 10).await.unwrap();
    let expected = [&working, &idle, &starting].map(|session| Bereft {
        team_id: session.team_id,
        session_id: session.id,
        epoch: Epoch(3),
        sandbox_id: session.sandbox_id,
        updated_at: session.updated_at,
    });
    assert_eq!(bereft, expected);
    let rest = list_bereft(&mut connection, since, Some(&expected[0]), 1).await.unwrap();
    assert_eq!(rest, expected[1..2]);
}

#[tokio::test]
async fn a_sandbox_that_never_came_to_be_is_given_longer() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let waiting = stored(&fixture, |session| {
        at_work(session, 10);
        session.sandbox_id = None;
    })
    .await;
    let patient = BereftSince { lost: at(100), never_begun: at(10) };
    assert_eq!(list_bereft(&mut connection, patient, None, 10).await.unwrap(), []);
    let at_its_end = BereftSince { lost: at(100), never_begun: at(11) };
    let bereft = list_bereft(&mut connection, at_its_end, None, 10).await.unwrap();
    assert_eq!(bereft.iter().map(|met| met.session_id).collect::<Vec<_>>(), [waiting.id]);
}

#[tokio::test]
async fn sessions_are_put_away_and_removed_when_their_team_says_so() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let resting = |session: &mut Session| session.updated_at = at(100);
    let inactive = stored(&fixture, resting).await;
    let working = stored(&fixture, |session| at_work(session, 100)).await;
    let asking = stored(&fixture, resting).await;
    let mut waiting = new_turn(1, 1);
    waiting.state = TurnState::Waiting { epoch: asking.epoch };
    turn::save(&connection, asking.team_id, asking.id, [&waiting]).await.unwrap();
    let archived = stored(&fixture, |session| {
        session.status = SessionStatus::Terminated;
        session.archived_at = Some(at(100));
    })
    .await;
    let ids = |due: Vec<Due>| due.into_iter().map(|due| due.session_id).collect::<Vec<_>>();

    let late = at(1_000_000);
    assert_eq!(ids(list_inactive(&mut connection, late, 10).await.unwrap()), []);
    assert_eq!(ids(list_archived_for_long(&mut connection, late, 10).await.unwrap()), []);

    keep_for(&fixture, 60, 600).await;
    assert_eq!(ids(list_inactive(&mut connection, at(160), 10).await.unwrap()), []);
    assert_eq!(ids(list_inactive(&mut connection, at(161), 10).await.unwrap()), [inactive.id]);
    assert_eq!(ids(list_archived_for_long(&mut connection, at(700), 10).await.unwrap()), []);
    let removed = list_archived_for_long(&mut connection, at(701), 10).await.unwrap();
    assert_eq!(
        removed,
        [Due {
            team_id: fixture.team.id,
            session_id: archived.id,
            updated_at: archived.updated_at
        }]
    );
    assert_ne!(working.id, asking.id);

    // For ever, in other words.
    keep_for(&fixture, i64::MAX, i64::MAX).await;
    assert_eq!(ids(list_inactive(&mut connection, late, 10).await.unwrap()), []);
    assert_eq!(ids(list_archived_for_long(&mut connection, late, 10).await.unwrap()), []);
}

#[tokio::test]
async fn what_stands_still_for_want_of_money_is_listed_once_there_is_some() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let with_money = |session: &mut Session, max_cost| {
        session.budget = Some(Budget { max_cost: NanoDollars(max_cost) });
        session.usage.cost_nano_usd = NanoDollars(10);
    };
    let raised = stored(&fixture, |session| with_money(session, 11)).await;
    let used_up = stored(&fixture, |session| with_money(session, 10)).await;
    let idle = stored(&fixture, |_| ()).await;
    let working = stored(&fixture, |session| at_work(session, 0)).await;
    for session in [&raised, &used_up, &working] {
        let turn = new_turn(1, 1);
        turn::save(&connection, fixture.team.id, session.id, [&turn]).await.unwrap();
    }
    let listed = list_resumable(&mut connection, None, 10).await.unwrap();
    let [found] = listed[..] else { panic!("{listed:?}") };
    assert_eq!(found.session_id, raised.id);
    assert_ne!(found.session_id, idle.id);
    assert_eq!(list_resumable(&mut connection, Some(&found), 10).await.unwrap(), []);

    let budget = Some(Budget { max_cost: NanoDollars(5) });
    team::set_budget(&mut connection, fixture.team.id, budget).await.unwrap();
    team::add_spent(&connection, fixture.team.id, NanoDollars(5)).await.unwrap();
    assert_eq!(list_resumable(&mut connection, None, 10).await.unwrap(), []);
}

fn with_sandbox(fixture: &Fixture) -> Session {
    let mut session = fixture.session();
    session.sandbox_id = Some(new_id());
    session.epoch = Epoch(3);
    session
}

fn at_work(session: &mut Session, since: i64) {
    session.status = SessionStatus::Running;
    session.idle_since = None;
    session.updated_at = at(since);
}

async fn stored(fixture: &Fixture, change: impl FnOnce(&mut Session)) -> Session {
    let mut session = with_sandbox(fixture);
    change(&mut session);
    assert!(session::insert(&mut *fixture.connection().await, &session).await.unwrap());
    session
}

async fn sandbox_of(fixture: &Fixture, session: &Session, epoch: u64, state: SandboxState) {
    let sandbox = Sandbox { state, ..fixture.sandbox(session, epoch) };
    sandbox::insert_unclaimed(&mut *fixture.connection().await, &sandbox).await.unwrap();
}

fn message_of(session: &Session) -> OutboxMessage {
    OutboxMessage {
        id: Uuid::now_v7(),
        session_id: Some(session.id.uuid()),
        exchange: "sandbox.commands".to_owned(),
        routing_key: "command".to_owned(),
        kind: "sandbox.command".to_owned(),
        mandatory: false,
        body: Vec::new(),
        created_at: at(0),
    }
}

async fn keep_for(fixture: &Fixture, inactive: i64, archived: i64) {
    let server = fixture.server.connect().await.unwrap();
    let set = format!(
        "update teams set archive_inactive_after_seconds = {inactive}, delete_archived_after_seconds = {archived}"
    );
    server.batch_execute(&set).await.unwrap();
}
