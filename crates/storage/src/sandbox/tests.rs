use futures::future::join_all;
use platform_core::sandbox::{Epoch, SandboxState};
use serde_json::json;

use super::*;
use crate::fixture::{Fixture, HOST, at, first_page, new_id, new_warm_sandbox};
use crate::{StorageError, session};

#[tokio::test]
async fn an_epoch_of_a_session_has_one_sandbox() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let first = fixture.sandbox(&session, 1);
    assert_eq!(insert_queued(&mut connection, &first).await.unwrap(), first);
    let again = fixture.sandbox(&session, 1);
    assert_eq!(insert_queued(&mut connection, &again).await.unwrap(), first);
    let second = fixture.sandbox(&session, 2);
    insert_queued(&mut connection, &second).await.unwrap();
    let living = list_of_session(&mut connection, session.team_id, session.id).await.unwrap();
    assert_eq!(living, [first.clone(), second]);
    assert_eq!(find(&mut connection, first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(find_of_team(&mut connection, new_id(), first.id).await.unwrap(), None);
}

#[tokio::test]
async fn the_queue_is_first_come_first_served() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut queued = Vec::new();
    for seconds in [3, 1, 2] {
        let session = fixture.stored_session().await;
        let mut sandbox = fixture.sandbox(&session, 1);
        sandbox.created_at = at(seconds);
        queued.push(insert_queued(&mut connection, &sandbox).await.unwrap());
    }
    queued.sort_by_key(|sandbox| sandbox.created_at);
    assert_eq!(next_queued(&mut connection, HOST, 2).await.unwrap(), queued[..2]);
    assert_eq!(next_queued(&mut connection, "elsewhere", 2).await.unwrap(), []);
    let mut position = async |sandbox: &platform_core::sandbox::Sandbox| {
        let (team, session) = (sandbox.team_id.unwrap(), sandbox.session_id.unwrap());
        queue_position(&mut connection, team, session, Epoch(1)).await.unwrap()
    };
    assert_eq!(position(&queued[0]).await, Some(1));
    assert_eq!(position(&queued[2]).await, Some(3));
    let from = [SandboxState::Queued];
    transition(&mut connection, queued[0].id, &from, SandboxState::Starting, at(9)).await.unwrap();
    let mut position = async |sandbox: &platform_core::sandbox::Sandbox| {
        let (team, session) = (sandbox.team_id.unwrap(), sandbox.session_id.unwrap());
        queue_position(&mut connection, team, session, Epoch(1)).await.unwrap()
    };
    assert_eq!(position(&queued[0]).await, None);
    assert_eq!(position(&queued[2]).await, Some(2));
}

#[tokio::test]
async fn a_sandbox_moves_once_however_many_try() {
    let fixture = Fixture::create().await;
    let session = fixture.stored_session().await;
    let sandbox = fixture.sandbox(&session, 1);
    insert_queued(&mut *fixture.connection().await, &sandbox).await.unwrap();
    let from = [SandboxState::Queued];
    let moved = join_all((0..5).map(async |_| {
        let mut connection = fixture.connection().await;
        transition(&mut connection, sandbox.id, &from, SandboxState::Starting, at(1)).await.unwrap()
    }))
    .await;
    assert_eq!(moved.iter().flatten().count(), 1);
}

#[tokio::test]
async fn what_only_a_living_sandbox_needs_is_forgotten_at_its_end() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let sandbox = fixture.sandbox(&session, 1);
    insert_queued(&mut connection, &sandbox).await.unwrap();
    let nul = json!({ "transcript": "nul \u{0}" });
    set_detail(&mut connection, sandbox.id, &nul).await.unwrap();
    set_token_hash(&mut connection, sandbox.id, b"hash").await.unwrap();
    let from = [SandboxState::Queued, SandboxState::Starting];
    let ready = transition(&mut connection, sandbox.id, &from, SandboxState::Ready, at(4)).await;
    let ready = ready.unwrap().unwrap();
    assert_eq!((ready.ready_at, &ready.detail), (Some(at(4)), &nul));
    assert_eq!(ready.token_hash.as_deref(), Some(b"hash".as_slice()));
    let identity_of_it = identity(&mut connection, sandbox.id).await.unwrap().unwrap();
    assert_eq!(identity_of_it.session_id, session.id);
    assert_eq!(list_living_ids(&mut connection, HOST).await.unwrap(), [sandbox.id]);

    assert!(mark_gone(&mut connection, sandbox.id, "released", at(8)).await.unwrap());
    assert!(!mark_gone(&mut connection, sandbox.id, "killed", at(9)).await.unwrap());
    let gone = find(&mut connection, sandbox.id).await.unwrap().unwrap();
    assert_eq!((gone.exit_reason.as_deref(), gone.gone_at), (Some("released"), Some(at(8))));
    assert_eq!((gone.detail.clone(), gone.token_hash.clone()), (json!({}), None));
    assert_eq!(identity(&mut connection, sandbox.id).await.unwrap(), None);
    assert_eq!(list_living(&mut connection, HOST).await.unwrap(), []);
    let page = list(&mut connection, session.team_id, Some(session.id), first_page(5)).await;
    assert_eq!(page.unwrap().items, [gone]);
}

#[tokio::test]
async fn each_claim_gets_a_warm_sandbox_of_its_own() {
    let fixture = Fixture::create().await;
    let mut sessions = Vec::new();
    for seconds in 0..3 {
        let mut warm = new_warm_sandbox(fixture.environment.id);
        warm.created_at = at(seconds);
        insert_unclaimed(&mut *fixture.connection().await, &warm).await.unwrap();
        sessions.push(fixture.stored_session().await);
    }
    sessions.push(fixture.stored_session().await);
    let harness = &fixture.agent.definition.harness;
    let claim = async |session: &platform_core::session::Session| {
        let claim = Claim {
            team_id: session.team_id,
            session_id: session.id,
            agent_id: session.agent_id,
            epoch: Epoch(1),
        };
        fixture
            .database
            .transaction::<_, StorageError>(async |connection| {
                claim_warm(connection, HOST, fixture.environment.id, harness, &claim).await
            })
            .await
            .unwrap()
    };
    let claimed = join_all(sessions.iter().map(&claim)).await;
    let mut ids: Vec<_> = claimed.iter().flatten().map(|sandbox| sandbox.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(claimed.iter().flatten().all(|sandbox| sandbox.state == SandboxState::Claimed));
    let mut connection = fixture.connection().await;
    let left = count_unclaimed(&mut connection, HOST, fixture.environment.id, harness).await;
    assert_eq!(left.unwrap(), 0);
}

#[tokio::test]
async fn the_longest_idle_sandbox_is_the_first_to_give_back() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut expected = Vec::new();
    for idle_since in [Some(at(20)), Some(at(10)), None] {
        let mut session = fixture.session();
        let mut sandbox = fixture.sandbox(&session, 1);
        sandbox.state = SandboxState::Ready;
        session.sandbox_id = Some(sandbox.id);
        session.idle_since = idle_since;
        session::insert(&mut connection, &session).await.unwrap();
        insert_queued(&mut connection, &sandbox).await.unwrap();
        if let Some(idle_since) = idle_since {
            expected.push(IdleReady { sandbox, idle_since });
        }
    }
    expected.reverse();
    assert_eq!(longest_idle(&mut connection, HOST, 5).await.unwrap(), expected);
}

#[tokio::test]
async fn a_ticket_leads_to_its_sandbox_while_that_runs() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let sandbox = insert_queued(&mut connection, &fixture.sandbox(&session, 1)).await.unwrap();
    set_egress_ticket_hash(&mut connection, sandbox.id, b"first").await.unwrap();
    assert_eq!(find_by_egress_ticket(&mut connection, b"first").await.unwrap(), None, "it waits");

    let (from, starting) = ([SandboxState::Queued], SandboxState::Starting);
    transition(&mut connection, sandbox.id, &from, starting, at(1)).await.unwrap();
    let found = find_by_egress_ticket(&mut connection, b"first").await.unwrap();
    assert_eq!(found.map(|found| found.id), Some(sandbox.id));
    assert_eq!(find_by_egress_ticket(&mut connection, b"other").await.unwrap(), None);

    set_egress_ticket_hash(&mut connection, sandbox.id, b"second").await.unwrap();
    assert_eq!(find_by_egress_ticket(&mut connection, b"first").await.unwrap(), None);
    assert!(mark_gone(&mut connection, sandbox.id, "stopped", at(2)).await.unwrap());
    assert_eq!(find_by_egress_ticket(&mut connection, b"second").await.unwrap(), None);
}
