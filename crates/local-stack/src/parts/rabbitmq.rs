//! A RabbitMQ node of the stack's own, with an Erlang name server of its own.

use std::path::PathBuf;
use std::time::Duration;

use crate::data_directory::{DataDirectory, write_private};
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessSpecification, Readiness, command};

/// The scripts themselves: Debian's wrapper in `PATH` forces its own user and directories.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// `epmd` in the foreground. Without it RabbitMQ would start one that outlives every stack.
pub(super) fn name_server(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    let port = plan.port(Part::Epmd.as_str())?;
    Ok(ProcessSpecification {
        name: Part::Epmd.into(),
        command: command([&"epmd", &"-address", &"127.0.0.1", &"-port", &port.to_string()]),
        environment: plan.basics.clone(),
        working_directory: data.path().to_path_buf(),
        readiness: Readiness::Tcp(port),
        patience: Duration::from_secs(30),
    })
}

/// Writes the node's configuration and says how it is started.
pub(super) fn specification(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    if !PathBuf::from(SERVER).exists() {
        return Err(StackError::ProgramMissing("RabbitMQ".to_owned()));
    }
    let port = plan.port(Part::Rabbitmq.as_str())?;
    let management = plan.port("rabbitmq-management").ok();
    let folder = data.make_folder("rabbitmq", 0o700)?;
    write_private(&folder.join("rabbitmq.conf"), &configuration(plan, port, management))?;
    let plugins = if management.is_some() { "[rabbitmq_management].\n" } else { "[].\n" };
    write_private(&folder.join("enabled_plugins"), plugins)?;

    let within = |name: &str| folder.join(name).display().to_string();
    let mut environment = plan.basics.clone();
    environment.extend(
        [
            // Erlang keeps its cookie, the node's password, in HOME.
            ("HOME", folder.display().to_string()),
            // Unique because the name server is; the data belong to the name, so it never changes.
            ("RABBITMQ_NODENAME", "lap@localhost".to_owned()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", plan.port("rabbitmq-distribution")?.to_string()),
            ("ERL_EPMD_PORT", plan.port(Part::Epmd.as_str())?.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_MNESIA_BASE", within("mnesia")),
            ("RABBITMQ_LOG_BASE", within("log")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_PID_FILE", within("pid")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", within("enabled_plugins")),
            ("RABBITMQ_CONFIG_FILE", within("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", within("advanced.config")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", within("config")),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
            // Makes the script become the node instead of watching it, so that the pid is the node's and
            // SIGTERM reaches Erlang, which stops the node cleanly.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(ProcessSpecification {
        name: Part::Rabbitmq.into(),
        command: command([&SERVER]),
        environment,
        working_directory: folder,
        readiness: Readiness::Amqp(port),
        patience: Duration::from_mins(2),
    })
}

fn configuration(plan: &Plan, port: u16, management: Option<u16>) -> String {
    let password = plan.setting("LAP_RABBITMQ_PASSWORD").unwrap_or_default();
    let management = management.map_or_else(String::new, |port| {
        format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
    });
    format!(
        "listeners.tcp.default = 127.0.0.1:{port}\n\
         default_user = lap\n\
         default_pass = {password}\n\
         log.console.level = warning\n\
         {management}"
    )
}
