use platform_core::team::{ApiKey, DEFAULT_TEAM};

use super::*;
use crate::fixture::{Fixture, at, first_page, new_id};
use crate::{StorageError, team};

#[tokio::test]
async fn a_key_is_found_by_its_lookup_and_revoked_for_good() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let mut key = ApiKey {
        id: new_id(),
        team_id: team,
        name: "ci".to_owned(),
        created_at: at(0),
        expires_at: Some(at(100)),
        revoked_at: None,
        last_used_at: None,
    };
    insert(&mut connection, &key, "abc", b"hash").await.unwrap();
    touch_last_used(&mut connection, team, key.id, at(3)).await.unwrap();
    key.last_used_at = Some(at(3));
    let stored = find_by_lookup(&mut connection, "abc").await.unwrap().unwrap();
    assert_eq!((stored.key, stored.hash.as_slice()), (key.clone(), b"hash".as_slice()));
    assert!(find_by_lookup(&mut connection, "abd").await.unwrap().is_none());

    let other = revoke(&mut connection, new_id(), key.id, at(5)).await;
    assert!(matches!(other, Err(StorageError::NotFound("API key"))));
    key.revoked_at = Some(at(5));
    assert_eq!(revoke(&mut connection, team, key.id, at(5)).await.unwrap(), key);
    assert_eq!(revoke(&mut connection, team, key.id, at(6)).await.unwrap(), key);
    assert_eq!(list(&mut connection, team, first_page(10)).await.unwrap().items, [key]);
}

#[tokio::test]
async fn the_default_team_is_made_once() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let first = team::ensure_default(&mut connection, new_id(), at(1)).await.unwrap();
    let second = team::ensure_default(&mut connection, new_id(), at(2)).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.name, DEFAULT_TEAM);
    let page = team::list(&mut connection, first_page(10)).await.unwrap();
    assert_eq!(page.items, [first, fixture.team.clone()]);
}
