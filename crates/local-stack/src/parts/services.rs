//! The platform's own services.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessName, ProcessSpecification, Readiness, command};

/// What each service is given beyond the database and the broker. Nobody holds a secret he does not need.
fn extra_settings(part: Part) -> &'static [&'static str] {
    match part {
        Part::ApiGateway => &[
            "LITELLM_GATEWAY_URL",
            "LITELLM_API_KEY",
            "MASTER_KEY",
            "ENCRYPTION_KEY",
            "ENCRYPTION_KEY_PREVIOUS",
        ],
        Part::VaultProxy => {
            &["LITELLM_GATEWAY_URL", "LITELLM_API_KEY", "ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"]
        }
        // Recognises secrets in what it writes.
        Part::SessionService => &["ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"],
        Part::SandboxService
        | Part::Worker
        | Part::Postgres
        | Part::Epmd
        | Part::Rabbitmq
        | Part::ScriptedModel
        | Part::Litellm => &[],
    }
}

pub(super) fn specification(
    process: ProcessName,
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    let port = plan.port_of(process)?;
    let mut environment = common_environment(plan);
    for (name, part) in [("DATABASE_URL", Part::Postgres), ("AMQP_URL", Part::Rabbitmq)] {
        if let Some(address) = plan.address_for(process, part) {
            environment.insert(name.to_owned(), address);
        }
    }
    let extra = extra_settings(process.part()).iter();
    environment.extend(
        extra.filter_map(|name| {
            plan.setting(name).map(|value| ((*name).to_owned(), value.to_owned()))
        }),
    );
    if process.part() != Part::VaultProxy {
        environment.retain(|name, _| !name.starts_with("CONTAINER_ENV_"));
    }
    if process.part() != Part::SandboxService {
        environment.remove("KUBECONFIG");
    }
    environment.insert("PORT".to_owned(), port.to_string());
    for (name, value) in sandbox_settings(plan, data)? {
        environment.entry(name.to_owned()).or_insert(value);
    }
    Ok(ProcessSpecification {
        name: process,
        command: command([&plan.binary(process.part().as_str())?]),
        environment,
        working_directory: data.path().to_path_buf(),
        readiness: Readiness::Http(format!("http://127.0.0.1:{port}/readyz")),
        patience: Duration::from_mins(1),
    })
}

/// What every program of the platform is given. A caller's `LAP__…` wins over ours.
pub(super) fn common_environment(plan: &Plan) -> BTreeMap<String, String> {
    let mut environment = plan.basics.clone();
    for name in ["DATABASE_URL", "AMQP_URL"] {
        if let Some(value) = plan.setting(name) {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    environment.extend(plan.for_services.clone());
    environment
}

fn sandbox_settings(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<[(&'static str, String); 5], StackError> {
    let sandboxes = data.make_folder(crate::sandboxes::FOLDER, 0o711)?;
    Ok([
        ("SANDBOX_BACKEND", "local".to_owned()),
        ("LAP__SANDBOX__DATA_DIR", sandboxes.display().to_string()),
        ("LAP__SANDBOX__AGENT_BINARY", plan.binary("sandbox-agent")?.display().to_string()),
        ("LAP__SANDBOX__HARNESS_DIR", plan.root.join("harnesses").display().to_string()),
        ("LAP__SANDBOX__HARNESS_INSTALL_DIR", super::harness_folder(plan).display().to_string()),
    ])
}
