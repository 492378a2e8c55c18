//! Sessions that are idle, inactive, archived for long, or without the sandbox that they count on.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use platform_core::sandbox::SandboxState;
use platform_core::session::{Session, SessionStatus};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::{DeleteSession, ReleaseSandbox, SessionCommand};
use worker::jobs::{archive_inactive, delete_archived, reconcile_sessions, release_idle};

use crate::house::{House, at};

fn working(session: &mut Session) {
    session.status = SessionStatus::Running;
    session.idle_since = None;
}

fn is_of(told: &SessionCommand, session: &Session) -> bool {
    told.session_id == session.id.uuid().to_string()
        && told.team_id == session.team_id.uuid().to_string()
}

#[tokio::test]
async fn an_idle_sandbox_is_given_back_after_its_environments_time() {
    let mut house = House::build().await;
    let session = house.session(|_| ()).await;
    house.session(working).await;
    let worker = house.worker();
    house.clock.forward(TimeDelta::seconds(59));
    release_idle::job().come_round(&worker).await.unwrap();
    assert!(house.session_commands.try_recv().is_err());
    house.clock.forward(TimeDelta::seconds(1));
    release_idle::job().come_round(&worker).await.unwrap();
    let told = house.told_session_service().await;
    assert!(is_of(&told, &session));
    let expected = ReleaseSandbox {
        sandbox_id: session.sandbox_id.unwrap().uuid().to_string(),
        epoch: 3,
        reason: "idle".to_owned(),
    };
    assert_eq!(told.action, Some(Action::ReleaseSandbox(expected)));
    assert!(house.session_commands.try_recv().is_err());
}

#[tokio::test]
async fn each_of_many_idle_sessions_is_asked_for_even_when_the_first_ones_are_refused() {
    let mut house = House::build_refusing().await;
    let mut expected = BTreeSet::new();
    for index in 0..230 {
        // Twins among them.
        let session = house.session(|session| session.idle_since = Some(at(index / 2 - 200))).await;
        expected.insert(session.id.uuid().to_string());
    }
    house.clock.forward(TimeDelta::minutes(2));
    release_idle::job().come_round(&house.worker()).await.unwrap();
    let mut asked = BTreeSet::new();
    while let Ok(told) = house.session_commands.try_recv() {
        assert!(asked.insert(told.session_id), "asked twice in one round");
    }
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_session_whose_sandbox_vanished_is_told_so_after_two_minutes() {
    let mut house = House::build().await;
    let bereft = house.session(working).await;
    house.sandbox(&bereft, 3, SandboxState::Gone).await;
    let well = house.session(working).await;
    house.sandbox(&well, 3, SandboxState::Ready).await;
    let worker = house.worker();
    house.clock.forward(TimeDelta::minutes(2));
    reconcile_sessions::job().come_round(&worker).await.unwrap();
    assert!(house.session_commands.try_recv().is_err());
    house.clock.forward(TimeDelta::seconds(1));
    reconcile_sessions::job().come_round(&worker).await.unwrap();
    let told = house.told_session_service().await;
    assert!(is_of(&told, &bereft));
    let Some(Action::ReportLoss(loss)) = told.action else { panic!("{told:?}") };
    assert_eq!(loss.epoch, 3);
    assert_eq!(loss.sandbox_id, bereft.sandbox_id.unwrap().uuid().to_string());
    assert_eq!((loss.reason.as_str(), loss.may_retry), ("vanished", true));
    assert!(house.session_commands.try_recv().is_err());
}

#[tokio::test]
async fn a_sandbox_service_that_is_away_is_not_taken_for_lost_sandboxes() {
    let mut house = House::build().await;
    // Nobody has made its sandbox yet.
    let waiting = house
        .session(|session| {
            working(session);
            session.sandbox_id = None;
        })
        .await;
    let worker = house.worker();
    house.clock.forward(TimeDelta::minutes(10));
    reconcile_sessions::job().come_round(&worker).await.unwrap();
    assert!(house.session_commands.try_recv().is_err());
    house.clock.forward(TimeDelta::seconds(1));
    reconcile_sessions::job().come_round(&worker).await.unwrap();
    let told = house.told_session_service().await;
    assert!(is_of(&told, &waiting));
    let Some(Action::ReportLoss(loss)) = told.action else { panic!("{told:?}") };
    assert_eq!(loss.sandbox_id, "");
}

#[tokio::test]
async fn sessions_are_archived_and_deleted_as_their_team_wants() {
    let mut house = House::build().await;
    let inactive = house.session(|_| ()).await;
    house.session(working).await;
    let archived = house
        .session(|session| {
            session.status = SessionStatus::Terminated;
            session.archived_at = Some(at(0));
        })
        .await;
    let worker = house.worker();
    house.clock.forward(TimeDelta::days(1));
    archive_inactive::job().come_round(&worker).await.unwrap();
    delete_archived::job().come_round(&worker).await.unwrap();
    assert!(house.session_commands.try_recv().is_err(), "no team has asked for it");

    house
        .execute(
            "update teams set archive_inactive_after_seconds = 3600, delete_archived_after_seconds = 7200",
        )
        .await;
    archive_inactive::job().come_round(&worker).await.unwrap();
    let told = house.told_session_service().await;
    assert!(is_of(&told, &inactive));
    let Some(Action::Archive(archive)) = told.action else { panic!("{told:?}") };
    assert!(
        archive.if_untouched_since_unix_micros.is_some(),
        "a message that comes meanwhile wins"
    );
    delete_archived::job().come_round(&worker).await.unwrap();
    let told = house.told_session_service().await;
    assert!(is_of(&told, &archived));
    assert_eq!(told.action, Some(Action::Delete(DeleteSession {})));
    assert!(house.session_commands.try_recv().is_err());
}
