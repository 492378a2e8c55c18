use platform_core::sandbox::{Epoch, Startup};
use platform_core::session::SessionStatus;

use super::*;
use crate::fixture::{Fixture, at, first_page, new_id, new_team};
use crate::{Order, PageRequest, Position, StorageError, TimeRange, team};

#[tokio::test]
async fn a_session_reads_back_as_it_was_written() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut session = fixture.session();
    session.context = Some("slack:T1:C1".to_owned());
    session.vault_ids = vec!["vlt_1".to_owned()];
    session.startup = Some(Startup::begin(1, at(0)));
    assert!(insert(&mut connection, &session).await.unwrap());

    session.title = Some("Fix the parser".to_owned());
    session.metadata.clear();
    session.status = SessionStatus::Running;
    session.epoch = Epoch(2);
    session.sandbox_id = Some(new_id());
    session.harness_session = Some("ses_1".to_owned());
    session.last_event = 7;
    session.journal_through = 5;
    session.usage.output_tokens = 11;
    session.updated_at = at(9);
    session.idle_since = None;
    session.agent.definition.system = Some("Be brief.".to_owned());
    update(&connection, &session).await.unwrap();
    assert_eq!(
        find(&mut connection, session.team_id, session.id).await.unwrap(),
        Some(session.clone())
    );

    let described = session.clone();
    session.title = None;
    session.startup = None;
    session.archived_at = Some(at(10));
    update_state(&connection, &session).await.unwrap();
    session.title = described.title;
    assert_eq!(find(&mut connection, session.team_id, session.id).await.unwrap(), Some(session));
}

#[tokio::test]
async fn another_team_sees_and_changes_nothing() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let session = fixture.stored_session().await;
    let other = new_team("globex");
    team::insert(&mut connection, &other).await.unwrap();
    assert_eq!(find(&mut connection, other.id, session.id).await.unwrap(), None);
    assert_eq!(lock(&connection, other.id, session.id).await.unwrap(), None);
    assert!(!delete(&mut connection, other.id, session.id).await.unwrap());
    let mut stolen = session.clone();
    stolen.team_id = other.id;
    assert!(matches!(update(&connection, &stolen).await, Err(StorageError::NotFound("session"))));
    let page = list(&mut connection, other.id, &SessionFilter::default(), first_page(10)).await;
    assert_eq!(page.unwrap().items, []);
}

#[tokio::test]
async fn a_context_has_one_live_session() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut first = fixture.session();
    first.context = Some("github:acme/api#42".to_owned());
    let mut second = fixture.session();
    second.context.clone_from(&first.context);
    assert!(insert(&mut connection, &first).await.unwrap());
    assert!(!insert(&mut connection, &second).await.unwrap());
    let context = first.context.clone().unwrap();
    let found =
        find_live_by_context(&mut connection, first.team_id, first.agent_id, &context).await;
    assert_eq!(found.unwrap(), Some(first.clone()));

    first.status = SessionStatus::Terminated;
    first.archived_at = Some(at(1));
    update(&connection, &first).await.unwrap();
    assert!(insert(&mut connection, &second).await.unwrap());
    let found =
        find_live_by_context(&mut connection, first.team_id, first.agent_id, &context).await;
    assert_eq!(found.unwrap(), Some(second));
}

#[tokio::test]
async fn pages_meet_without_gap_or_repeat_in_both_directions() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let filter = SessionFilter::default();
    let mut stored = Vec::new();
    for index in 0..5 {
        let mut session = fixture.session();
        // Two at each time: the id decides between twins.
        session.created_at = at(index / 2);
        insert(&mut connection, &session).await.unwrap();
        stored.push(session);
    }
    stored.sort_by_key(|session| (session.created_at, session.id));
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut forward = Vec::new();
        let mut position = Position::Start;
        let mut last_page_from = None;
        loop {
            let request = PageRequest { position, order, limit: 2 };
            let page = list(&mut connection, team, &filter, request).await.unwrap();
            forward.extend(page.items);
            last_page_from = page.previous.or(last_page_from);
            match page.next {
                Some(next) => position = Position::After(next),
                None => break,
            }
        }
        assert_eq!(forward, stored);

        let request =
            PageRequest { position: Position::Before(last_page_from.unwrap()), order, limit: 2 };
        let page = list(&mut connection, team, &filter, request).await.unwrap();
        assert_eq!(page.items, stored[2..4]);
        let request =
            PageRequest { position: Position::Before(page.previous.unwrap()), order, limit: 2 };
        let page = list(&mut connection, team, &filter, request).await.unwrap();
        assert_eq!(page.items, stored[0..2]);
        assert_eq!(page.previous, None);
        stored.reverse();
    }
}

#[tokio::test]
async fn a_list_shows_what_its_filter_asks_for() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut running = fixture.session();
    running.status = SessionStatus::Running;
    running.context = Some("a".to_owned());
    let mut archived = fixture.session();
    archived.archived_at = Some(at(1));
    let mut late = fixture.session();
    late.created_at = at(100);
    late.agent.version = 2;
    for session in [&running, &archived, &late] {
        insert(&mut connection, session).await.unwrap();
    }
    let since = |from| TimeRange { from: Some(at(from)), ..TimeRange::default() };
    let until = |before| TimeRange { before: Some(at(before)), ..TimeRange::default() };
    let all = SessionFilter::default();
    let cases = [
        (all.clone(), vec![&late, &running]),
        (SessionFilter { include_archived: true, ..all.clone() }, vec![&late, &archived, &running]),
        (SessionFilter { statuses: vec![SessionStatus::Running], ..all.clone() }, vec![&running]),
        (SessionFilter { context: Some("a".to_owned()), ..all.clone() }, vec![&running]),
        (SessionFilter { created: since(100), ..all.clone() }, vec![&late]),
        (SessionFilter { created: until(100), ..all.clone() }, vec![&running]),
        (
            SessionFilter {
                agent_id: Some(fixture.agent.id),
                agent_version: Some(2),
                ..all.clone()
            },
            vec![&late],
        ),
        (SessionFilter { agent_id: Some(new_id()), ..all }, vec![]),
    ];
    for (filter, expected) in cases {
        let page = list(&mut connection, fixture.team.id, &filter, first_page(10)).await.unwrap();
        assert_eq!(page.items.iter().collect::<Vec<_>>(), expected, "{filter:?}");
    }
}
