//! Brings the database to the version of this clone.

use std::process::Stdio;

use tokio::process::Command;

use super::services;
use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;

/// Runs `migrate` to its end. It waits for other ones by itself.
pub(crate) async fn migrate(plan: &Plan, data: &DataDirectory) -> Result<(), StackError> {
    let log = data.named_log("migrate");
    let output = DataDirectory::append_to(&log)?;
    let errors = output.try_clone().map_err(StackError::file("open", &log))?;
    let status = Command::new(plan.binary("migrate")?)
        .env_clear()
        .envs(services::common_environment(plan))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .status()
        .await;
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let output = DataDirectory::tail(&log, 20);
    Err(StackError::Command { command: "migrate".to_owned(), output })
}
