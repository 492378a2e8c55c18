use chrono::TimeDelta;
use diesel_async::RunQueryDsl;
use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::fixture::{Fixture, at, new_team};
use crate::{session, team};

#[tokio::test]
async fn a_key_is_answered_as_the_first_time() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let mut begun = async |hash: &[u8], seconds| {
        begin(&mut connection, team, "key", hash, at(seconds)).await.unwrap()
    };
    assert_eq!(begun(b"body", 0).await, Begun::Fresh);
    assert_eq!(begun(b"body", 1).await, Begun::InProgress);
    assert_eq!(begun(b"other", 1).await, Begun::OtherRequest);
    let response = json!({ "zebra": 1, "a": 2 });
    finish(&mut connection, team, "key", 201, &response, None).await.unwrap();
    let again = begin(&mut connection, team, "key", b"body", at(9_999)).await.unwrap();
    let Begun::Answered { status: 201, response: repeated } = again else {
        panic!("{again:?}");
    };
    assert_eq!(repeated.to_string(), response.to_string());
    let other = begin(&mut connection, team, "key", b"other", at(9_999)).await.unwrap();
    assert_eq!(other, Begun::OtherRequest);

    assert_eq!(delete_older_than(&mut connection, at(1), 10).await.unwrap(), 1);
    let anew = begin(&mut connection, team, "key", b"other", at(10_000)).await.unwrap();
    assert_eq!(anew, Begun::Fresh);
}

#[tokio::test]
async fn teams_do_not_share_keys() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("globex");
    team::insert(&mut connection, &other).await.unwrap();
    for team in [fixture.team.id, other.id] {
        let begun = begin(&mut connection, team, "key", b"body", at(0)).await.unwrap();
        assert_eq!(begun, Begun::Fresh);
    }
}

#[tokio::test]
async fn an_abandoned_key_can_be_used_again_and_an_answered_one_stays() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    begin(&mut connection, team, "key", b"body", at(0)).await.unwrap();
    abandon(&mut connection, team, "key").await.unwrap();
    let again = begin(&mut connection, team, "key", b"other", at(1)).await.unwrap();
    assert_eq!(again, Begun::Fresh);
    finish(&mut connection, team, "key", 200, &json!(null), None).await.unwrap();
    abandon(&mut connection, team, "key").await.unwrap();
    let kept = begin(&mut connection, team, "key", b"other", at(2)).await.unwrap();
    assert_eq!(kept, Begun::Answered { status: 200, response: json!(null) });
}

#[tokio::test]
async fn what_a_dead_gateway_left_is_taken_over_by_one_repeat() {
    let fixture = Fixture::create().await;
    let team = fixture.team.id;
    begin(&mut *fixture.connection().await, team, "key", b"body", at(0)).await.unwrap();
    let late = at(0) + TAKEN_OVER_AFTER + TimeDelta::microseconds(1);
    let other = begin(&mut *fixture.connection().await, team, "key", b"other", late).await.unwrap();
    assert_eq!(other, Begun::OtherRequest);
    let repeats = join_all((0..6).map(async |_| {
        begin(&mut *fixture.connection().await, team, "key", b"body", late).await.unwrap()
    }))
    .await;
    assert_eq!(repeats.iter().filter(|begun| **begun == Begun::Fresh).count(), 1);
    assert_eq!(repeats.iter().filter(|begun| **begun == Begun::InProgress).count(), 5);
}

#[tokio::test]
async fn answers_about_a_session_go_with_it_and_others_stay() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let kept = fixture.session();
    session::insert(&mut connection, &kept).await.unwrap();
    let answer = json!({ "text": "planted" });
    for (key, about) in [("a", Some(kept.id)), ("b", None)] {
        begin(&mut connection, team, key, b"body", at(0)).await.unwrap();
        finish(&mut connection, team, key, 200, &answer, about).await.unwrap();
        let again = begin(&mut connection, team, key, b"body", at(1)).await.unwrap();
        assert_eq!(again, Begun::Answered { status: 200, response: answer.clone() });
    }
    forget_session(&mut connection, team, kept.id).await.unwrap();
    assert_eq!(begin(&mut connection, team, "a", b"body", at(2)).await.unwrap(), Begun::Fresh);
    let other = begin(&mut connection, team, "b", b"body", at(2)).await.unwrap();
    assert_eq!(other, Begun::Answered { status: 200, response: answer });
}

#[tokio::test]
async fn an_answer_that_comes_after_its_session_is_gone_is_not_kept() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let session = fixture.session();
    session::insert(&mut connection, &session).await.unwrap();
    begin(&mut connection, team, "key", b"body", at(0)).await.unwrap();

    // The answer is noted while the deletion is under way.
    let mut deleting = fixture.connection().await;
    diesel::sql_query("begin").execute(&mut *deleting).await.unwrap();
    session::lock(&deleting, team, session.id).await.unwrap();
    forget_session(&mut deleting, team, session.id).await.unwrap();
    session::delete(&mut deleting, team, session.id).await.unwrap();
    let answer = json!({ "text": "planted" });
    let (finished, committed) = tokio::join!(
        finish(&mut connection, team, "key", 200, &answer, Some(session.id)),
        diesel::sql_query("commit").execute(&mut *deleting),
    );
    finished.unwrap();
    committed.unwrap();
    assert_eq!(begin(&mut connection, team, "key", b"body", at(1)).await.unwrap(), Begun::Fresh);
}
