//! The sections, each a type that holds only values that can be used.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::reader::secret;
use super::{Reader, Section};

const SHORTEST_GOOD_KEY: usize = 16;
const WHOLE_NUMBER: &str = "a whole number";
/// lapin reports each lost connection on many lines, where platform-messaging does so on one; actix tells of its own threads.
const FILTER: &str = "info,lapin=off,actix_server=warn";
/// An unprivileged user that no package of Debian takes.
const SANDBOX_USER: u32 = 64_999;
const LEFTOVER_GRACE: u64 = 5 * 60;
/// Of Debian, and of what comes from it.
const ROOT_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    pub url: SecretString,
    /// Connections that this process holds at most.
    pub pool_size: usize,
}

impl Section for DatabaseSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.required_secret(
            "database.url",
            "the address of PostgreSQL, postgres://user:password@host:port/database",
        );
        let pool_size = reader.parsed("database.pool_size", WHOLE_NUMBER, 8);
        Some(Self { url: url?, pool_size: pool_size? })
    }
}

#[derive(Debug, Clone)]
pub struct BrokerSettings {
    pub url: SecretString,
}

impl Section for BrokerSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let what = "the address of RabbitMQ, amqp://user:password@host:port/vhost";
        Some(Self { url: reader.required_secret("broker.url", what)? })
    }
}

/// The LiteLLM gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Without a slash at its end.
    pub url: String,
    /// Absent when the gateway asks for none.
    pub api_key: Option<SecretString>,
    /// Whether each session gets a key of its own, which LiteLLM issues only with a database.
    pub virtual_keys: bool,
}

impl Section for GatewaySettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.required("gateway.url", "the address of LiteLLM, http://host:port")?;
        let url = reader.http_url("gateway.url", &url)?;
        let virtual_keys = match reader.optional("gateway.virtual_keys").as_deref() {
            None | Some("off" | "false") => false,
            Some("on" | "true") => true,
            Some(other) => {
                let what = format!("must be on or off, not {other:?}");
                reader.fault("gateway.virtual_keys", &what);
                return None;
            }
        };
        Some(Self { url, api_key: reader.optional_secret("gateway.api_key"), virtual_keys })
    }
}

#[derive(Debug, Clone)]
pub struct KeySettings {
    /// The bootstrap administrator's key.
    pub master: SecretString,
}

impl Section for KeySettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let master = reader.required_secret(
            "keys.master",
            "the administrator's key; without one nobody could be let in, and there is no default",
        )?;
        if master.expose_secret().chars().count() < SHORTEST_GOOD_KEY {
            reader.warn("keys.master", "is shorter than 16 characters and can be guessed");
        }
        Some(Self { master })
    }
}

#[derive(Debug, Clone)]
pub struct EncryptionSettings {
    /// What secrets at rest are encrypted under.
    pub key: SecretString,
    /// What some of them may still be encrypted under.
    pub previous: Vec<SecretString>,
}

impl Section for EncryptionSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let what = "the key under which secrets at rest are encrypted";
        let previous = reader.optional("keys.encryption_previous").unwrap_or_default();
        let previous = previous.split(',').map(str::trim).filter(|key| !key.is_empty());
        let previous = previous.map(|key| secret(key.to_owned())).collect();
        Some(Self { key: reader.required_secret("keys.encryption", what)?, previous })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxBackendName {
    Local,
    Kubernetes,
}

impl FromStr for SandboxBackendName {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "local" => Ok(Self::Local),
            "kubernetes" => Ok(Self::Kubernetes),
            _ => Err(()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct SandboxSettings {
    pub backend: SandboxBackendName,
    /// Holds links, workspaces and sandboxes of the local backend.
    pub data_dir: PathBuf,
    /// The `sandbox-agent` executable that is put into every sandbox.
    pub agent_binary: PathBuf,
    /// The folder with one folder per harness, each with its manifest.
    pub harness_dir: PathBuf,
    /// Where the harnesses are installed.
    pub harness_install_dir: PathBuf,
    /// Whom sandboxes run as when the service itself runs as root.
    pub user_id: u32,
    /// What a sandbox is taken to need before it has shown what it needs, in MiB.
    pub expected_memory_mib: u64,
    /// What is left to the rest of the machine, in MiB.
    pub reserved_memory_mib: u64,
    /// A bound beside what memory allows.
    pub max_running: Option<usize>,
    /// How long what is left over of sandboxes and sessions is let be before it is removed.
    pub leftover_grace: Duration,
    /// The certificates that sandboxes trust besides their own, in one file.
    pub root_certificates: PathBuf,
}

impl Section for SandboxSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let backend =
            reader.parsed("sandbox.backend", "local or kubernetes", SandboxBackendName::Local);
        let user_id = reader.parsed("sandbox.user_id", WHOLE_NUMBER, SANDBOX_USER);
        let expected = reader.parsed("sandbox.expected_memory_mib", WHOLE_NUMBER, 600);
        let reserved = reader.parsed("sandbox.reserved_memory_mib", WHOLE_NUMBER, 1024);
        let max_running = reader.parsed_optional("sandbox.max_running", WHOLE_NUMBER);
        let grace = reader.parsed("sandbox.leftover_grace_seconds", WHOLE_NUMBER, LEFTOVER_GRACE);
        Some(Self {
            backend: backend?,
            data_dir: reader.path("sandbox.data_dir", ".lap/sandboxes"),
            agent_binary: reader.path("sandbox.agent_binary", beside_this_program("sandbox-agent")),
            harness_dir: reader.path("sandbox.harness_dir", "harnesses"),
            harness_install_dir: reader.path("sandbox.harness_install_dir", ".lap/harnesses"),
            user_id: user_id?,
            expected_memory_mib: expected?,
            reserved_memory_mib: reserved?,
            max_running: max_running?,
            leftover_grace: Duration::from_secs(grace?),
            root_certificates: reader.path("sandbox.root_certificates", ROOT_CERTIFICATES),
        })
    }
}

fn beside_this_program(name: &str) -> PathBuf {
    std::env::current_exe().map_or_else(|_| name.into(), |program| program.with_file_name(name))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    pub host: IpAddr,
    /// 0 takes any free one.
    pub port: u16,
}

impl Section for HttpSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let default_port = if reader.service_name() == "api-gateway" { 3000 } else { 8080 };
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = reader.parsed("http.host", "an IP address", localhost);
        let port = reader.parsed("http.port", "a port between 0 and 65535", default_port);
        Some(Self { host: host?, port: port? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Which lines are written, as `RUST_LOG` says it: `info,platform_messaging=debug`.
    pub filter: String,
}

impl Section for LogSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let format = reader.parsed("log.format", "json or text", LogFormat::Json)?;
        let filter = reader.optional("log.filter").unwrap_or_else(|| FILTER.to_owned());
        Some(Self { format, filter })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// Where traces go over OTLP (HTTP, protobuf). Without it none are made.
    pub otlp_endpoint: Option<String>,
    /// Which share of the traces that begin here is kept, from 0 to 1.
    pub sample_ratio: f64,
}

impl Section for TelemetrySettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let otlp_endpoint = match reader.optional("telemetry.otlp_endpoint") {
            Some(text) => Some(reader.http_url("telemetry.otlp_endpoint", &text)?),
            None => None,
        };
        let sample_ratio = reader.parsed("telemetry.sample_ratio", "a number from 0 to 1", 1.0)?;
        if !(0.0..=1.0).contains(&sample_ratio) {
            reader.fault("telemetry.sample_ratio", "must be a number from 0 to 1");
            return None;
        }
        Some(Self { otlp_endpoint, sample_ratio })
    }
}
