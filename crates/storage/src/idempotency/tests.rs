use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::fixture::{Fixture, at, new_team};
use crate::team;

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
    finish(&mut connection, team, "key", 201, &response).await.unwrap();
    let again = begin(&mut connection, team, "key", b"body", at(9_999)).await.unwrap();
    let Begun::Answered { status: 201, response: repeated } = again else {
        panic!("{again:?}");
    };
    assert_eq!(repeated.to_string(), response.to_string());
    let other = begin(&mut connection, team, "key", b"other", at(9_999)).await.unwrap();
    assert_eq!(other, Begun::OtherRequest);

    assert_eq!(delete_older_than(&mut connection, at(1)).await.unwrap(), 1);
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
    finish(&mut connection, team, "key", 200, &json!(null)).await.unwrap();
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
