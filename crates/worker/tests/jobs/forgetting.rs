//! Records that no repeat asks for any more.

use chrono::TimeDelta;
use worker::jobs::forget_old;

use crate::house::{House, at};

#[tokio::test]
async fn answers_and_keys_are_forgotten_after_a_day_however_many_there_are() {
    let house = House::build().await;
    let (old, young) = (at(0), at(3600));
    house
        .execute(&format!(
            "insert into command_answers select gen_random_uuid(), '', '{old}' from generate_series(1, 2500);
             insert into command_answers values (gen_random_uuid(), '', '{young}');
             insert into idempotency_keys (team_id, key, request_hash, created_at)
             select (select id from teams), n::text, '', '{old}' from generate_series(1, 2500) n;
             insert into idempotency_keys (team_id, key, request_hash, created_at)
             select id, 'young', '', '{young}' from teams;",
        ))
        .await;
    house.clock.forward(TimeDelta::hours(24) + TimeDelta::seconds(1));
    forget_old::job().come_round(&house.worker()).await.unwrap();
    assert_eq!(house.count("command_answers").await, 1);
    assert_eq!(house.count("idempotency_keys").await, 1);
}
