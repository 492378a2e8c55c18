//! How each part of the stack is prepared and started.

mod harnesses;
mod litellm;
mod migrate;
mod postgres;
mod rabbitmq;
mod services;

pub(crate) use harnesses::install as install_harnesses;
pub(crate) use litellm::install as install_litellm;
pub(crate) use migrate::migrate;

use std::path::PathBuf;

use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessName, ProcessSpecification};

/// Where the harnesses of every clone are installed.
pub(crate) fn harness_folder(plan: &Plan) -> PathBuf {
    plan.cache.join(harnesses::FOLDER)
}

/// Prepares what the process needs on disk, and says how it is started.
pub(crate) async fn specification(
    process: ProcessName,
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    match process.part() {
        Part::Postgres => postgres::specification(plan, data).await,
        Part::Epmd => rabbitmq::name_server(plan, data),
        Part::Rabbitmq => rabbitmq::specification(plan, data),
        Part::ScriptedModel => litellm::scripted_model(plan, data),
        Part::Litellm => litellm::specification(plan, data),
        Part::ApiGateway
        | Part::SessionService
        | Part::SandboxService
        | Part::VaultProxy
        | Part::Worker => services::specification(process, plan, data),
    }
}
