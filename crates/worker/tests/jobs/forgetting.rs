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

#[tokio::test]
async fn decisions_of_the_way_out_are_forgotten_after_thirty_days() {
    let house = House::build().await;
    let session = house.session(|_| {}).await.id;
    let (old, young) = (at(0), at(3600));
    let insert = |time, count| {
        format!(
            "insert into egress_decisions (id, team_id, session_id, sandbox_id, at, verdict, rule, host, port, bytes_out, bytes_in)
             select gen_random_uuid(), (select id from teams), '{}', gen_random_uuid(), '{time}', 'allowed', '', 'a', 443, 0, 0
             from generate_series(1, {count});",
            session.uuid(),
        )
    };
    house.execute(&format!("{}{}", insert(old, 2500), insert(young, 1))).await;
    house.clock.forward(TimeDelta::days(30) + TimeDelta::seconds(1));
    forget_old::job().come_round(&house.worker()).await.unwrap();
    assert_eq!(house.count("egress_decisions").await, 1);
}

#[tokio::test]
async fn secrets_that_belong_to_nothing_are_forgotten_after_a_day() {
    let house = House::build().await;
    let (old, young) = (at(0), at(3600));
    let insert = |owner: &str, time| {
        format!(
            "insert into secrets (id, team_id, owner_id, name, sealed, key_id, created_at)
             select gen_random_uuid(), (select id from teams), {owner}, '', '', '', '{time}';",
        )
    };
    let owned = insert("(select id from agents limit 1)", old);
    let (orphan, new) = (insert("gen_random_uuid()", old), insert("gen_random_uuid()", young));
    house.execute(&format!("{owned}{orphan}{new}")).await;
    house.clock.forward(TimeDelta::hours(24) + TimeDelta::seconds(1));
    forget_old::job().come_round(&house.worker()).await.unwrap();
    assert_eq!(house.count("secrets").await, 2);
}
