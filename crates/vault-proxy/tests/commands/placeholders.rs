//! Whose a placeholder is, and what becomes of one that is another session's.

use platform_core::id::SessionId;
use platform_core::session::{ForkedFrom, Session};
use platform_runtime::clock::SystemIds;
use platform_runtime::lifecycle::Shutdown;
use platform_storage::session;
use vault_proxy::rules::RulesSource;
use vault_proxy::secrets::shape::Shape;

use crate::bound::{bind, environment_variable, sent};
use crate::house::{House, Plan, desk_of, keys};

#[tokio::test]
async fn a_placeholder_from_before_there_were_marks_goes_on_to_stand_for_its_secret() {
    let house = House::build(async |_| Plan::default()).await;
    let value = house.sealer().seal("a-real-value").await;
    house.add_credential(environment_variable(value, "A_TOKEN", "a.example.com")).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let now = bind(&desk, &house).await.unwrap().environment["A_TOKEN"].clone();
    let (keys, session) = (keys(), house.session.id);
    let shape = Shape::of("A_TOKEN", b"a-real-value");
    let former = shape.without_mark(keys.current(), session, "A_TOKEN");
    assert_ne!(now, former);
    let rules = desk.loader.rules_of(house.sandbox).await.unwrap().unwrap();
    for placeholder in [now, former] {
        assert_eq!(sent(&rules, "a.example.com", &placeholder).unwrap(), "a-real-value");
    }
}

#[tokio::test]
async fn placeholders_of_other_sessions_are_told_from_those_that_a_fork_inherits() {
    let house = House::build(async |_| Plan::default()).await;
    let desk = desk_of(&house.database, &Shutdown::new());
    let keys = keys();
    let of = |session| Shape::of("A_TOKEN", b"").placeholder(keys.current(), session, "A_TOKEN");
    let mut connection = house.database.connection().await.unwrap();
    let new_session = |forked_from| Session {
        id: SessionId::mint(&SystemIds),
        forked_from,
        ..house.session.clone()
    };
    let grandparent = new_session(None);
    let from =
        |session: &Session| ForkedFrom { session_id: session.id, at_event: 1, turn_id: None };
    let parent = new_session(Some(from(&grandparent)));
    for session in [&grandparent, &parent] {
        assert!(session::insert(&mut connection, session).await.unwrap());
    }
    let fork = new_session(Some(from(&parent)));
    assert!(session::insert(&mut connection, &fork).await.unwrap());
    let sandbox = house.claim(&fork).await;
    let rules = desk.loader.rules_of(sandbox).await.unwrap().unwrap();
    for ancestor in [&parent, &grandparent] {
        let refused = sent(&rules, "a.example.com", &of(ancestor.id)).unwrap_err();
        assert_eq!((refused.code(), refused.alarm()), ("inherited_placeholder", None));
    }
    let refused = sent(&rules, "a.example.com", &of(house.session.id)).unwrap_err();
    assert_eq!(refused.code(), "foreign_placeholder");
    assert!(refused.alarm().is_some());
    assert!(sent(&rules, "a.example.com", &of(fork.id)).is_ok());
}
