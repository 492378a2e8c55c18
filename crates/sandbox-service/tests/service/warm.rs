//! Warm pools come from the database: they outlive the service, and follow their environment.

use platform_storage::sandbox as rows;
use sandbox_service::warm_pool;

use crate::agent::Agent;
use crate::house::{House, Limits};
use crate::session;

const CONFIG: &str = r#"{"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {}, "warm_pool_size": 1}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_filled_again_after_a_restart_and_ends_with_its_environment() {
    let mut house = House::build(Limits::default()).await;
    house.store_environment(CONFIG).await;
    house.store_session(session()).await;
    house.replace_service().await;
    let first = house.unclaimed().await;

    let larger = CONFIG
        .replace("\"warm_pool_size\"", "\"resources\": {\"memory_mib\": 512}, \"warm_pool_size\"");
    house.execute(&format!("update environments set config = '{larger}'")).await;
    warm_pool::look(house.service()).await.unwrap();
    house.gone(first, "superseded").await;
    let second = Agent::dial_warm(&house).await.sandbox;
    let row = rows::find(&mut *house.connection().await, second).await.unwrap().unwrap();
    assert_eq!(row.spec.resources.memory_mib, 512);

    house.execute("update environments set archived_at = now()").await;
    warm_pool::look(house.service()).await.unwrap();
    house.gone(second, "superseded").await;
    let living = rows::list_living(&mut *house.connection().await, &crate::house::host()).await;
    assert_eq!(living.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_does_not_grow_old() {
    let mut house = House::build(Limits::default()).await;
    house.store_environment(CONFIG).await;
    house.store_session(session()).await;
    house.replace_service().await;
    let first = house.unclaimed().await;
    let aged = "update sandboxes set created_at = created_at - interval '25 hours'";
    house.execute(aged).await;
    warm_pool::look(house.service()).await.unwrap();
    house.gone(first, "superseded").await;
    assert_ne!(house.unclaimed().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_filled_when_the_session_that_starts_is_ready() {
    let mut house = House::build(Limits { warm_pool_size: 1, ..Limits::default() }).await;
    let session = session();
    house.provision(session, 1).await;
    let mut agent = Agent::dial(&mut house, session, 1).await;
    agent.say_hello().await;
    agent.hydrated().await;
    agent.startup("preparing_workspace").await;
    house.startup(session, "preparing_workspace").await;
    let living = rows::list_living(&mut *house.connection().await, &crate::house::host()).await;
    let living: Vec<_> = living.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(living, [agent.sandbox]);
    agent.startup("ready").await;
    house.unclaimed().await;
}
