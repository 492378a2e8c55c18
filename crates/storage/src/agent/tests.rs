use platform_core::failure::{Failure, FailureKind};

use super::*;
use crate::fixture::{Fixture, at, first_page, new_agent, new_definition, new_id, new_team};
use crate::{StorageError, TimeRange, team};

#[tokio::test]
async fn each_change_makes_a_version_and_the_old_ones_stay() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let (team, id) = (fixture.team.id, fixture.agent.id);
    let renamed = new_definition("editor");
    let second = update(&mut connection, team, id, Some(1), &renamed, at(5)).await.unwrap();
    assert_eq!((second.version, &second.definition), (2, &renamed));
    assert_eq!((second.created_at, second.updated_at), (at(0), at(5)));
    assert_eq!(find(&mut connection, team, id, None).await.unwrap(), Some(second.clone()));
    let first = find(&mut connection, team, id, Some(1)).await.unwrap();
    assert_eq!(first.as_ref(), Some(&fixture.agent));
    assert_eq!(find(&mut connection, team, id, Some(3)).await.unwrap(), None);

    let versions = list_versions(&mut connection, team, id, None, 10).await.unwrap();
    assert_eq!(versions, [second, fixture.agent.clone()]);
    let below = list_versions(&mut connection, team, id, Some(2), 10).await.unwrap();
    assert_eq!(below, std::slice::from_ref(&fixture.agent));
}

#[tokio::test]
async fn of_two_who_change_one_version_one_hears_of_the_other() {
    let fixture = Fixture::create().await;
    let (team, id) = (fixture.team.id, fixture.agent.id);
    let change = async |name: &str| {
        let definition = new_definition(name);
        update(&mut *fixture.connection().await, team, id, Some(1), &definition, at(5)).await
    };
    let (left, right) = tokio::join!(change("left"), change("right"));
    let (winners, losers): (Vec<_>, Vec<_>) = [left, right].into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    let error = losers.into_iter().next().unwrap().unwrap_err();
    assert!(matches!(error, StorageError::StaleVersion { current: 2 }));
    assert_eq!(error.kind(), FailureKind::Conflict);
}

#[tokio::test]
async fn archived_agents_are_listed_only_on_demand() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let team = fixture.team.id;
    let mut newer = new_agent(&fixture.team);
    newer.created_at = at(50);
    newer.updated_at = at(50);
    insert(&mut connection, &newer).await.unwrap();
    let archived = archive(&mut connection, team, fixture.agent.id, at(60)).await.unwrap();
    assert_eq!(archived.archived_at, Some(at(60)));
    let twice = archive(&mut connection, team, fixture.agent.id, at(70)).await.unwrap();
    assert_eq!(twice, archived);

    let live = AgentFilter::default();
    let all = AgentFilter { include_archived: true, ..AgentFilter::default() };
    let early = AgentFilter {
        created: TimeRange { until: Some(at(0)), ..TimeRange::default() },
        include_archived: true,
    };
    for (filter, expected) in
        [(live, vec![newer.clone()]), (all, vec![newer, archived.clone()]), (early, vec![archived])]
    {
        let page = list(&mut connection, team, &filter, first_page(10)).await.unwrap();
        assert_eq!(page.items, expected);
    }
}

#[tokio::test]
async fn another_team_sees_and_changes_nothing() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let other = new_team("globex");
    team::insert(&mut connection, &other).await.unwrap();
    let id = fixture.agent.id;
    assert_eq!(find(&mut connection, other.id, id, None).await.unwrap(), None);
    assert_eq!(list_versions(&mut connection, other.id, id, None, 10).await.unwrap(), []);
    let definition = new_definition("stolen");
    for agent in [id, new_id()] {
        let update = update(&mut connection, other.id, agent, None, &definition, at(1)).await;
        assert!(matches!(update, Err(StorageError::NotFound("agent"))));
        let archive = archive(&mut connection, other.id, agent, at(1)).await;
        assert!(matches!(archive, Err(StorageError::NotFound("agent"))));
    }
}
