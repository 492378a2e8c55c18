use platform_core::id::CommandId;
use uuid::Uuid;

use super::*;
use crate::fixture::{Fixture, at, new_id};
use crate::{StorageError, command_answer};

fn message(seconds: i64, body: &str) -> OutboxMessage {
    OutboxMessage {
        id: Uuid::now_v7(),
        session_id: Some(Uuid::now_v7()),
        exchange: "sandbox.commands".to_owned(),
        routing_key: "command".to_owned(),
        kind: "sandbox.command".to_owned(),
        mandatory: true,
        body: body.as_bytes().to_vec(),
        created_at: at(seconds),
    }
}

#[tokio::test]
async fn unsent_messages_are_taken_in_order_and_by_one_only() {
    let fixture = Fixture::create().await;
    let messages = [message(5, "first"), message(3, "second"), message(90, "fresh")];
    put(&mut *fixture.connection().await, &messages).await.unwrap();
    fixture
        .database
        .transaction::<_, StorageError>(async |mine| {
            let taken = take_unsent(mine, at(60), 10).await?;
            assert_eq!(taken, messages[..2]);
            let theirs = fixture
                .database
                .transaction::<_, StorageError>(async |other| take_unsent(other, at(60), 10).await)
                .await?;
            assert_eq!(theirs, []);
            delete(mine, &[taken[0].id]).await
        })
        .await
        .unwrap();
    let left = take_unsent(&mut *fixture.connection().await, at(100), 10).await.unwrap();
    assert_eq!(left, messages[1..]);
}

#[tokio::test]
async fn what_a_sweep_passes_over_stays_and_hides_nothing_behind_it() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let held_session = Uuid::now_v7();
    let of_held = |body| OutboxMessage { session_id: Some(held_session), ..message(0, body) };
    let without_session = |body| OutboxMessage { session_id: None, ..message(0, body) };
    let messages = [
        of_held("first"),
        without_session("held"),
        of_held("second"),
        without_session("free"),
        message(0, "of another session"),
    ];
    put(&mut connection, &messages).await.unwrap();
    let passed_over = PassedOver { messages: vec![messages[1].id], sessions: vec![held_session] };
    let taken = take_unsent_beside(&mut connection, &passed_over, at(1), 10).await.unwrap();
    assert_eq!(taken, messages[3..]);
}

#[tokio::test]
async fn a_command_is_answered_once_and_remembered_for_a_while() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let command: CommandId = new_id();
    assert_eq!(command_answer::find(&mut connection, command).await.unwrap(), None);
    command_answer::put(&mut connection, command, b"done", at(0)).await.unwrap();
    let twice = command_answer::put(&mut connection, command, b"other", at(1)).await;
    assert!(matches!(twice, Err(StorageError::AlreadyExists(_))));
    let answer = command_answer::find(&mut connection, command).await.unwrap();
    assert_eq!(answer.as_deref(), Some(b"done".as_slice()));
    command_answer::put(&mut connection, new_id(), b"done", at(0)).await.unwrap();
    assert_eq!(command_answer::delete_older_than(&mut connection, at(0), 1).await.unwrap(), 0);
    for expected in [1, 1, 0] {
        let deleted = command_answer::delete_older_than(&mut connection, at(1), 1).await.unwrap();
        assert_eq!(deleted, expected);
    }
}
