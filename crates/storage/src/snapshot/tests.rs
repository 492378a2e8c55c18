//! Notes of kept files, against the real database.

use platform_core::id::TurnId;
use platform_core::session::Session;

use super::*;
use crate::fixture::{Fixture, HOST, at, new_id};

fn snapshot(session: &Session, turn: TurnId) -> Snapshot {
    Snapshot {
        team_id: session.team_id,
        session_id: session.id,
        turn_id: turn,
        host: HOST.to_owned(),
        files: 3,
        new_bytes: 1000,
        created_at: at(1),
    }
}

#[tokio::test]
async fn only_the_turns_whose_files_are_still_there_stay_noted() {
    let fixture = Fixture::create().await;
    let (session, other) = (fixture.stored_session().await, fixture.stored_session().await);
    let mut connection = fixture.connection().await;
    let [first, second, third] = [(); 3].map(|()| new_id());
    for turn in [first, second, third, third] {
        insert(&mut connection, &snapshot(&session, turn)).await.unwrap();
        insert(&mut connection, &snapshot(&other, turn)).await.unwrap();
    }
    let elsewhere = Snapshot { host: "machine-2".to_owned(), ..snapshot(&session, new_id()) };
    insert(&mut connection, &elsewhere).await.unwrap();

    let (team, id) = (session.team_id, session.id);
    retain(&mut connection, team, id, HOST, &[second, third]).await.unwrap();
    delete(&mut connection, team, id, third).await.unwrap();
    let mut noted = Vec::new();
    for turn in [first, second, third, elsewhere.turn_id] {
        noted.push(exists(&mut connection, team, id, turn).await.unwrap());
    }
    assert_eq!(noted, [false, true, false, true]);
    assert!(exists(&mut connection, team, other.id, first).await.unwrap());
    assert!(!exists(&mut connection, new_id(), id, second).await.unwrap());
}
