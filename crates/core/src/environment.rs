//! What a sandbox is like: image, packages, network policy, resources, timeouts, pool.

mod cloud;
mod draft;
mod rule;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{EnvironmentId, TeamId};
use crate::variable::Variables;

pub use cloud::{CloudDraft, NetworkingDraft, PackagesDraft, ResourcesDraft};
pub use draft::{EnvironmentConfigDraft, EnvironmentDraft, EnvironmentPatch, EnvironmentSettings};
pub use rule::HostRule;

#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    pub id: EnvironmentId,
    pub team_id: TeamId,
    pub name: String,
    pub description: Option<String>,
    pub config: EnvironmentConfig,
    pub scope: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

/// The wire format's `config`, resolved. Its type is fixed when the environment is created.
#[expect(clippy::large_enum_variant, reason = "nearly every environment is of the large kind")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EnvironmentConfig {
    Cloud {
        networking: Networking,
        packages: Packages,
        /// Variables of every sandbox of this environment.
        #[serde(default)]
        environment_variables: Variables,
        #[serde(flatten)]
        sandbox: SandboxSpec,
    },
    SelfHosted,
}

impl EnvironmentConfig {
    /// Its variables, if it has sandboxes of the platform.
    pub fn variables_mut(&mut self) -> Option<&mut Variables> {
        match self {
            Self::Cloud { environment_variables, .. } => Some(environment_variables),
            Self::SelfHosted => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Networking {
    #[default]
    Unrestricted,
    Limited {
        allowed_hosts: Vec<String>,
        /// What is allowed at a host, where that is less than everything. Ours.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rules: Vec<HostRule>,
        allow_mcp_servers: bool,
        allow_package_managers: bool,
    },
}

/// Packages by manager, each in that manager's own syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Packages {
    #[serde(default)]
    pub apt: Vec<String>,
    #[serde(default)]
    pub cargo: Vec<String>,
    #[serde(default)]
    pub gem: Vec<String>,
    #[serde(default)]
    pub go: Vec<String>,
    #[serde(default)]
    pub npm: Vec<String>,
    #[serde(default)]
    pub pip: Vec<String>,
}

/// What the platform adds to a `cloud` config. Sizes in MiB, times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SandboxSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub resources: Resources,
    /// After this long without a turn the sandbox is given back; the workspace stays. `None`: never.
    pub idle_timeout_seconds: Option<u64>,
    /// A turn whose harness shows no sign of life for this long is ended as `timed_out`.
    pub harness_silence_seconds: u64,
    /// How many sandboxes are kept started and ready for a claim.
    pub warm_pool_size: u32,
    /// Whether TLS is terminated for every host, so that all requests are looked into; else only where a credential or a rule
    /// about requests applies.
    pub inspect_tls: bool,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            image: None,
            resources: Resources::default(),
            idle_timeout_seconds: Some(15 * 60),
            harness_silence_seconds: 30 * 60,
            warm_pool_size: 0,
            inspect_tls: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Resources {
    pub memory_mib: u64,
    pub processes: u64,
    pub disk_mib: u64,
    /// Processors in thousandths.
    pub cpu_millis: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_mib: 2048, processes: 512, disk_mib: 10 * 1024, cpu_millis: 2000 }
    }
}
