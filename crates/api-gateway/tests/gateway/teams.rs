//! How long a team's sessions are kept.

use serde_json::{Value, json};

use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_says_how_long_a_teams_sessions_are_kept() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let made = administrator.post("/v1/teams", json!({"name": "a"})).await.ok();
    assert_eq!(made["archive_inactive_after_seconds"], Value::Null);
    let path = format!("/v1/teams/{}", made["id"].as_str().unwrap());
    let set = json!({"archive_inactive_after_seconds": 60, "delete_archived_after_seconds": 90});
    let changed = administrator.post(&path, set).await.ok();
    assert_eq!(changed["archive_inactive_after_seconds"], 60);
    let clear = json!({"archive_inactive_after_seconds": null});
    let changed = administrator.post(&path, clear).await.ok();
    assert_eq!(changed["archive_inactive_after_seconds"], Value::Null);
    assert_eq!(changed["delete_archived_after_seconds"], 90);
    assert_eq!(administrator.get(&path).await.ok(), changed);
    let listed = administrator.get("/v1/teams").await.ok();
    assert!(listed["data"].as_array().unwrap().contains(&changed), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_make_no_sense_are_refused() {
    let gateway = Gateway::start_alone().await;
    let administrator = gateway.administrator();
    let made = administrator.post("/v1/teams", json!({"name": "a"})).await.ok();
    let path = format!("/v1/teams/{}", made["id"].as_str().unwrap());
    for seconds in [json!(0), json!(-1), json!(1.5), json!("60"), json!(u64::MAX)] {
        let refused =
            administrator.post(&path, json!({"delete_archived_after_seconds": seconds})).await;
        refused.refused(400);
        assert!(refused.message().starts_with("delete_archived_after_seconds: "), "{seconds}");
    }
    assert_eq!(administrator.get(&path).await.ok(), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_key_sees_its_own_team_and_changes_none() {
    let gateway = Gateway::start_alone().await;
    let (team, other) = (gateway.team("a").await, gateway.team("b").await);
    let own = team.get("/v1/teams").await.ok()["data"][0].clone();
    let path = format!("/v1/teams/{}", own["id"].as_str().unwrap());
    assert_eq!(team.get(&path).await.ok(), own);
    other.get(&path).await.refused(404);
    team.post(&path, json!({"delete_archived_after_seconds": 1})).await.refused(403);
    let nobody = "/v1/teams/team_01935a7e7c1b7e2a8f000123456789ab";
    gateway.administrator().get(nobody).await.refused(404);
    gateway.administrator().post(nobody, json!({})).await.refused(404);
}
