//! Sandboxes that live on though no session wants them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use platform_core::sandbox::{Epoch, SandboxState};
use platform_messaging::proto::sandbox::{StopSandbox, sandbox_command::Action};
use platform_storage::session;
use worker::jobs::stop_unwanted;

use crate::house::House;

#[tokio::test]
async fn an_unwanted_sandbox_is_stopped_by_name_and_its_files_go_only_with_the_session() {
    let mut house = House::build().await;
    let replaced = house.session(|session| session.epoch = Epoch(4)).await;
    let deleted = house.session(|_| ()).await;
    let old = house.sandbox(&replaced, 3, SandboxState::Ready).await;
    house.sandbox(&replaced, 4, SandboxState::Ready).await;
    let orphan = house.sandbox(&deleted, 3, SandboxState::Stopping).await;
    let mut connection = house.database.connection().await.unwrap();
    assert!(session::delete(&mut connection, deleted.team_id, deleted.id).await.unwrap());
    drop(connection);
    let worker = house.worker();
    house.clock.forward(TimeDelta::minutes(5));
    stop_unwanted::job().come_round(&worker).await.unwrap();
    house.clock.forward(TimeDelta::seconds(1));
    stop_unwanted::job().come_round(&worker).await.unwrap();
    let mut stopped = BTreeMap::new();
    for _ in 0..2 {
        let (_, command) = house.told_sandbox_service().await;
        assert_eq!(command.epoch, 3);
        let Some(Action::Stop(stop)) = command.action else { panic!("{command:?}") };
        stopped.insert(command.session_id, stop);
    }
    let stop = |id: String, reason: &str, remove_workspace| StopSandbox {
        sandbox_id: id,
        reason: reason.to_owned(),
        remove_workspace,
    };
    let expected = BTreeMap::from([
        (replaced.id.uuid().to_string(), stop(old.id.uuid().to_string(), "superseded", false)),
        (deleted.id.uuid().to_string(), stop(orphan.id.uuid().to_string(), "deleted", true)),
    ]);
    assert_eq!(stopped, expected);
    assert!(house.sandbox_commands.try_recv().is_err());
}
