use platform_core::egress::{EgressDecision, Verdict};
use platform_core::session::Session;

use super::*;
use crate::fixture::{Fixture, at, first_page, new_id, new_team};
use crate::{Order, PageRequest, Position, session, team};

fn decision(session: &Session, second: i64, verdict: Verdict, host: &str) -> EgressDecision {
    EgressDecision {
        id: new_id(),
        team_id: session.team_id,
        session_id: session.id,
        sandbox_id: new_id(),
        at: at(second),
        verdict,
        rule: "networking: unrestricted".to_owned(),
        code: Some("host_not_allowed".to_owned()),
        host: host.to_owned(),
        port: 443,
        method: Some("GET".to_owned()),
        path: Some("/a".to_owned()),
        status: Some(200),
        bytes_out: 1,
        bytes_in: u64::from(u32::MAX) + 1,
    }
}

#[tokio::test]
async fn decisions_are_listed_page_by_page_in_both_orders_and_by_verdict_and_host() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let tunnel = EgressDecision {
        method: None,
        path: None,
        status: None,
        code: None,
        ..decision(&session, 2, Verdict::Allowed, "b.example")
    };
    let decisions = [
        decision(&session, 1, Verdict::Allowed, "a.example"),
        tunnel,
        decision(&session, 2, Verdict::Denied, "a.example"),
        decision(&session, 3, Verdict::Failed, "b.example"),
    ];
    insert(&mut connection, &decisions).await.unwrap();
    let all = DecisionFilter::default();
    let (team, id) = (session.team_id, session.id);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut position, mut seen) = (Position::Start, Vec::new());
        loop {
            let request = PageRequest { position, order, limit: 1 };
            let page = list(&mut connection, team, id, &all, request).await.unwrap();
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            position = Position::After(next);
        }
        if order == Order::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, decisions);
    }
    let with = async |connection: &mut _, filter: DecisionFilter| {
        let page = list(connection, team, id, &filter, first_page(9)).await.unwrap();
        page.items.into_iter().map(|decision| decision.id).collect::<Vec<_>>()
    };
    let denied = DecisionFilter { verdict: Some(Verdict::Denied), host: None };
    assert_eq!(with(&mut connection, denied).await, [decisions[2].id]);
    let host = DecisionFilter { verdict: None, host: Some("b.example".to_owned()) };
    assert_eq!(with(&mut connection, host).await, [decisions[3].id, decisions[1].id]);
}

#[tokio::test]
async fn a_decision_that_comes_twice_is_stored_once_and_one_of_a_deleted_session_not_at_all() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let other = new_team("other");
    team::insert(&mut connection, &other).await.unwrap();
    let once = decision(&session, 1, Verdict::Allowed, "a.example");
    let gone = decision(&fixture.session(), 2, Verdict::Allowed, "a.example");
    for _ in 0..2 {
        insert(&mut connection, &[once.clone(), gone.clone()]).await.unwrap();
    }
    insert(&mut connection, &[]).await.unwrap();
    let all = DecisionFilter::default();
    let page = list(&mut connection, session.team_id, session.id, &all, first_page(9)).await;
    assert_eq!(page.unwrap().items, [once]);
    let page = list(&mut connection, other.id, session.id, &all, first_page(9)).await;
    assert_eq!(page.unwrap().items, []);
    session::delete(&mut connection, session.team_id, session.id).await.unwrap();
    let page = list(&mut connection, session.team_id, session.id, &all, first_page(9)).await;
    assert_eq!(page.unwrap().items, []);
}

#[tokio::test]
async fn what_a_sandbox_sent_is_stored_even_if_postgresql_s_text_cannot_hold_it() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let odd = EgressDecision {
        method: Some("G\0T".to_owned()),
        path: Some("/\0".to_owned()),
        ..decision(&session, 1, Verdict::Denied, "a\0b")
    };
    insert(&mut connection, &[odd]).await.unwrap();
    let all = DecisionFilter::default();
    let page = list(&mut connection, session.team_id, session.id, &all, first_page(9)).await;
    assert_eq!(page.unwrap().items[0].path.as_deref(), Some("/\u{fffd}"));
}

#[tokio::test]
async fn old_decisions_are_forgotten_some_at_a_time() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let decisions = [1, 2, 3, 4].map(|second| decision(&session, second, Verdict::Allowed, "a"));
    insert(&mut connection, &decisions).await.unwrap();
    let mut forgotten = Vec::new();
    for _ in 0..3 {
        forgotten.push(forget_before(&mut connection, at(4), 2).await.unwrap());
    }
    assert_eq!(forgotten, [2, 1, 0]);
    let all = DecisionFilter::default();
    let page = list(&mut connection, session.team_id, session.id, &all, first_page(9)).await;
    assert_eq!(page.unwrap().items, [decisions[3].clone()]);
}
