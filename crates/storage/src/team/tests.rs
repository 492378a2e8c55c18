use std::time::Duration;

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
