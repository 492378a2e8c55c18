use futures::future::join_all;
use platform_core::environment::EnvironmentConfig;

use super::*;
use crate::fixture::{Fixture, at, first_page, new_environment, new_id};
use crate::{StorageError, session};

#[tokio::test]
async fn an_environment_reads_back_as_it_was_changed() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let mut environment = fixture.environment.clone();
    environment.description = Some("for builds".to_owned());
    environment.scope = Some("organization".to_owned());
    environment.config = EnvironmentConfig::SelfHosted;
    environment.updated_at = at(5);
    update(&mut connection, &environment).await.unwrap();
    let found = find(&mut connection, fixture.team.id, environment.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&environment));
    environment.description = None;
    update(&mut connection, &environment).await.unwrap();
    let found = find(&mut connection, fixture.team.id, environment.id).await.unwrap();
    assert_eq!(found, Some(environment));
}

#[tokio::test]
async fn an_environment_that_sessions_refer_to_cannot_be_deleted() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (team, id) = (fixture.team.id, fixture.environment.id);
    let session = fixture.stored_session().await;
    let refused = delete(&mut connection, team, id).await;
    assert!(matches!(refused, Err(StorageError::InUse("session"))));
    session::delete(&mut connection, team, session.id).await.unwrap();
    assert!(!delete(&mut connection, new_id(), id).await.unwrap());
    assert!(delete(&mut connection, team, id).await.unwrap());
    assert!(!delete(&mut connection, team, id).await.unwrap());
}

#[tokio::test]
async fn however_many_ask_for_the_same_name_one_environment_is_stored() {
    let fixture = Fixture::create().await;
    let asked = join_all((0..6).map(async |_| {
        let environment = new_environment(&fixture.team, "on demand");
        let mut connection = fixture.connection().await;
        find_or_insert_by_name(&mut connection, &environment).await.unwrap().id
    }))
    .await;
    assert!(asked.iter().all(|id| *id == asked[0]));

    let mut connection = fixture.connection().await;
    let archived = archive(&mut connection, fixture.team.id, asked[0], at(9)).await.unwrap();
    assert_eq!(archived.archived_at, Some(at(9)));
    let found = find_by_name(&mut connection, fixture.team.id, "on demand").await.unwrap();
    assert_eq!(found, None);
    let filter = EnvironmentFilter::default();
    let page = list(&mut connection, fixture.team.id, &filter, first_page(10)).await.unwrap();
    assert_eq!(page.items, std::slice::from_ref(&fixture.environment));
}
