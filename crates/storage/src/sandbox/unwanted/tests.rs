use platform_core::sandbox::{Sandbox, SandboxState};
use platform_core::session::{Session, SessionStatus};

use super::*;
use crate::fixture::{Fixture, at, new_id, new_warm_sandbox};
use crate::outbox::OutboxMessage;
use crate::{outbox, sandbox, session};

#[tokio::test]
async fn a_sandbox_is_unwanted_when_its_session_is_past_it_or_gone() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let replaced = stored(&fixture, 2, |_| ()).await;
    let archived = stored(&fixture, 1, |session| {
        session.status = SessionStatus::Terminated;
        session.archived_at = Some(at(5));
    })
    .await;
    let deleted = fixture.session();
    let old = [
        sandbox_of(&fixture, &replaced, 1, 1).await,
        sandbox_of(&fixture, &archived, 1, 2).await,
        sandbox_of(&fixture, &deleted, 1, 3).await,
    ];
    // These are wanted, gone, of nobody yet, or about to be told.
    sandbox_of(&fixture, &replaced, 2, 4).await;
    let gone = Sandbox { state: SandboxState::Gone, ..fixture.sandbox(&archived, 9) };
    sandbox::insert_unclaimed(&mut connection, &gone).await.unwrap();
    let warm = new_warm_sandbox(fixture.environment.id);
    sandbox::insert_unclaimed(&mut connection, &warm).await.unwrap();
    let being_told = stored(&fixture, 2, |_| ()).await;
    sandbox_of(&fixture, &being_told, 1, 1).await;
    outbox::put(&mut connection, &[message_of(&being_told)]).await.unwrap();

    let unwanted = list_unwanted(&mut connection, at(60), None, 10).await.unwrap();
    let sessions = [(&replaced, false), (&archived, false), (&deleted, true)];
    let expected: Vec<_> = sessions
        .into_iter()
        .zip(&old)
        .map(|((session, session_is_deleted), sandbox)| Unwanted {
            team_id: session.team_id,
            session_id: session.id,
            epoch: Epoch(1),
            sandbox_id: sandbox.id,
            session_is_deleted,
            created_at: sandbox.created_at,
        })
        .collect();
    assert_eq!(unwanted, expected);
    let rest = list_unwanted(&mut connection, at(60), Some(&expected[0]), 1).await.unwrap();
    assert_eq!(rest, expected[1..2]);
}

#[tokio::test]
async fn a_sandbox_has_a_while_to_end_even_when_its_session_never_rests() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let busy = stored(&fixture, 2, |session| session.updated_at = at(1_000)).await;
    let old = sandbox_of(&fixture, &busy, 1, 1).await;
    sandbox_of(&fixture, &busy, 2, 900).await;
    assert_eq!(list_unwanted(&mut connection, at(900), None, 10).await.unwrap(), []);
    let unwanted = list_unwanted(&mut connection, at(901), None, 10).await.unwrap();
    assert_eq!(unwanted.iter().map(|met| met.sandbox_id).collect::<Vec<_>>(), [old.id]);
}

async fn stored(fixture: &Fixture, epoch: u64, change: impl FnOnce(&mut Session)) -> Session {
    let mut session = fixture.session();
    session.epoch = Epoch(epoch);
    change(&mut session);
    assert!(session::insert(&mut *fixture.connection().await, &session).await.unwrap());
    session
}

async fn sandbox_of(fixture: &Fixture, session: &Session, epoch: u64, created: i64) -> Sandbox {
    let state = SandboxState::Ready;
    let sandbox = Sandbox { state, created_at: at(created), ..fixture.sandbox(session, epoch) };
    sandbox::insert_unclaimed(&mut *fixture.connection().await, &sandbox).await.unwrap();
    sandbox
}

fn message_of(session: &Session) -> OutboxMessage {
    OutboxMessage {
        id: new_id::<()>().uuid(),
        session_id: Some(session.id.uuid()),
        exchange: "sandbox.commands".to_owned(),
        routing_key: "command".to_owned(),
        kind: "sandbox.command".to_owned(),
        mandatory: false,
        body: Vec::new(),
        created_at: at(0),
    }
}
