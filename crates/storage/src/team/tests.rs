use std::time::Duration;

use platform_core::budget::{Allowance, Budget, NanoDollars};
use platform_core::team::{Retention, Team};

use super::*;
use crate::fixture::Fixture;

#[tokio::test]
async fn how_long_sessions_are_kept_can_be_set_and_cleared() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let id = fixture.team.id;
    for retention in [
        Retention {
            archive_inactive_after: Some(Duration::from_mins(1)),
            delete_archived_after: Some(Duration::from_secs(90)),
        },
        Retention::default(),
    ] {
        set_retention(&mut connection, id, retention).await.unwrap();
        let expected = Team { retention, ..fixture.team.clone() };
        assert_eq!(find(&mut connection, id).await.unwrap(), Some(expected));
    }
}

#[tokio::test]
async fn what_a_team_may_reach_and_spend_can_be_set_and_cleared() {
    let fixture = Fixture::create().await;
    let mut connection = fixture.connection().await;
    let id = fixture.team.id;
    let budget = Some(Budget { max_cost: NanoDollars(25_000_000_000) });
    let hosts = vec!["git.corp:8080".parse().unwrap(), "*.corp".parse().unwrap()];
    set_internal_hosts(&mut connection, id, &hosts).await.unwrap();
    set_budget(&mut connection, id, budget).await.unwrap();
    for cost in [NanoDollars(7), NanoDollars(5)] {
        add_spent(&connection, id, cost).await.unwrap();
    }
    let spent = NanoDollars(12);
    let expected = Team { internal_hosts: hosts, budget, spent, ..fixture.team.clone() };
    assert_eq!(find(&mut connection, id).await.unwrap(), Some(expected));
    assert_eq!(allowance(&connection, id).await.unwrap(), Allowance { budget, spent });
    set_internal_hosts(&mut connection, id, &[]).await.unwrap();
    set_budget(&mut connection, id, None).await.unwrap();
    let expected = Team { spent, ..fixture.team.clone() };
    assert_eq!(lock(&mut connection, id).await.unwrap(), Some(expected));
}
