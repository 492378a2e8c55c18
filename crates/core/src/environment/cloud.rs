//! The `cloud` config of an environment as requests write it.

use serde::Deserialize;

use crate::environment::{
    EnvironmentConfig, HostRule, Networking, Packages, Resources, SandboxSpec,
};
use crate::network::HostPattern;
use crate::variable::{Variables, VariablesDraft};
use crate::wire::{Change, InvalidField};

const MAX_ALLOWED_HOSTS: usize = 256;
const MAX_RULES: usize = 256;
const MAX_PACKAGES: usize = 256;
const MAX_IDLE_SECONDS: u64 = 30 * 24 * 3600;

/// The `cloud` config; everything after `packages` is ours.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CloudDraft {
    #[serde(default)]
    pub networking: Option<NetworkingDraft>,
    #[serde(default)]
    pub packages: Option<PackagesDraft>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Change<String>,
    #[serde(default)]
    pub resources: Option<ResourcesDraft>,
    /// `null`: the sandbox is never given back for being idle.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub idle_timeout_seconds: Change<u64>,
    #[serde(default)]
    pub harness_silence_seconds: Option<u64>,
    #[serde(default)]
    pub warm_pool_size: Option<u32>,
    #[serde(default)]
    pub inspect_tls: Option<bool>,
    /// Variables of every sandbox; by name: a value sets, `null` takes away.
    // Taken out before the rest is resolved, because secrets among them are sealed first.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, crate::openapi::TextOrVariable>>))]
    pub environment_variables: Option<VariablesDraft>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkingDraft {
    Unrestricted,
    Limited {
        #[serde(default)]
        allowed_hosts: Option<Vec<String>>,
        #[serde(default)]
        rules: Option<Vec<HostRule>>,
        #[serde(default)]
        allow_mcp_servers: Option<bool>,
        #[serde(default)]
        allow_package_managers: Option<bool>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackagesDraft {
    /// Always `packages`, if sent.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub apt: Option<Vec<String>>,
    #[serde(default)]
    pub cargo: Option<Vec<String>>,
    #[serde(default)]
    pub gem: Option<Vec<String>>,
    #[serde(default)]
    pub go: Option<Vec<String>>,
    #[serde(default)]
    pub npm: Option<Vec<String>>,
    #[serde(default)]
    pub pip: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResourcesDraft {
    #[serde(default)]
    pub memory_mib: Option<u64>,
    #[serde(default)]
    pub processes: Option<u64>,
    #[serde(default)]
    pub disk_mib: Option<u64>,
    #[serde(default)]
    pub cpu_millis: Option<u64>,
}

/// The resolved parts of a `cloud` config.
#[derive(Default)]
pub(super) struct CloudConfig {
    pub(super) networking: Networking,
    pub(super) packages: Packages,
    pub(super) variables: Variables,
    pub(super) sandbox: SandboxSpec,
}

impl CloudDraft {
    /// Omitted keys keep what `before` says.
    pub(super) fn apply_to(self, before: CloudConfig) -> Result<EnvironmentConfig, InvalidField> {
        let networking = match self.networking {
            Some(draft) => draft.resolve()?,
            None => before.networking,
        };
        let packages = match self.packages {
            Some(draft) => draft.apply_to(before.packages)?,
            None => before.packages,
        };
        let closed =
            matches!(networking, Networking::Limited { allow_package_managers: false, .. });
        if closed && packages != Packages::default() {
            let problem = "packages need allow_package_managers: true where networking is limited";
            return Err(InvalidField::new("config.packages", problem));
        }
        let sandbox = SandboxSpec {
            image: self.image.apply_to(before.sandbox.image),
            resources: self.resources.unwrap_or_default().apply_to(before.sandbox.resources)?,
            idle_timeout_seconds: self
                .idle_timeout_seconds
                .apply_to(before.sandbox.idle_timeout_seconds),
            harness_silence_seconds: self
                .harness_silence_seconds
                .unwrap_or(before.sandbox.harness_silence_seconds),
            warm_pool_size: self.warm_pool_size.unwrap_or(before.sandbox.warm_pool_size),
            inspect_tls: self.inspect_tls.unwrap_or(before.sandbox.inspect_tls),
        };
        check_range("idle_timeout_seconds", sandbox.idle_timeout_seconds, 1, MAX_IDLE_SECONDS)?;
        let silence = Some(sandbox.harness_silence_seconds);
        check_range("harness_silence_seconds", silence, 1, MAX_IDLE_SECONDS)?;
        check_range("warm_pool_size", Some(sandbox.warm_pool_size.into()), 0, 100)?;
        let environment_variables = before.variables;
        Ok(EnvironmentConfig::Cloud { networking, packages, environment_variables, sandbox })
    }
}

impl NetworkingDraft {
    fn resolve(self) -> Result<Networking, InvalidField> {
        let Self::Limited { allowed_hosts, rules, allow_mcp_servers, allow_package_managers } =
            self
        else {
            return Ok(Networking::Unrestricted);
        };
        let allowed_hosts = allowed_hosts.unwrap_or_default();
        if allowed_hosts.len() > MAX_ALLOWED_HOSTS {
            let problem = "at most 256 hosts are allowed";
            return Err(InvalidField::new("config.networking.allowed_hosts", problem));
        }
        for (index, host) in allowed_hosts.iter().enumerate() {
            if host.parse::<HostPattern>().is_err() {
                let field = format!("config.networking.allowed_hosts[{index}]");
                let problem = format!(
                    "{host:?} is no host name, address or *.example.com, alone or with :port"
                );
                return Err(InvalidField::new(field, problem));
            }
        }
        let rules = rules.unwrap_or_default();
        if rules.len() > MAX_RULES {
            let problem = "at most 256 rules are allowed";
            return Err(InvalidField::new("config.networking.rules", problem));
        }
        Ok(Networking::Limited {
            allowed_hosts,
            rules,
            allow_mcp_servers: allow_mcp_servers.unwrap_or(false),
            allow_package_managers: allow_package_managers.unwrap_or(false),
        })
    }
}

impl PackagesDraft {
    fn apply_to(self, before: Packages) -> Result<Packages, InvalidField> {
        if self.kind.as_deref().is_some_and(|kind| kind != "packages") {
            return Err(InvalidField::new("config.packages.type", "must be \"packages\""));
        }
        let packages = Packages {
            apt: self.apt.unwrap_or(before.apt),
            cargo: self.cargo.unwrap_or(before.cargo),
            gem: self.gem.unwrap_or(before.gem),
            go: self.go.unwrap_or(before.go),
            npm: self.npm.unwrap_or(before.npm),
            pip: self.pip.unwrap_or(before.pip),
        };
        let Packages { apt, cargo, gem, go, npm, pip } = &packages;
        for list in [apt, cargo, gem, go, npm, pip] {
            if list.len() > MAX_PACKAGES || list.iter().any(String::is_empty) {
                let problem = "each list has at most 256 package names, none empty";
                return Err(InvalidField::new("config.packages", problem));
            }
        }
        Ok(packages)
    }
}

impl ResourcesDraft {
    fn apply_to(self, before: Resources) -> Result<Resources, InvalidField> {
        let resources = Resources {
            memory_mib: self.memory_mib.unwrap_or(before.memory_mib),
            processes: self.processes.unwrap_or(before.processes),
            disk_mib: self.disk_mib.unwrap_or(before.disk_mib),
            cpu_millis: self.cpu_millis.unwrap_or(before.cpu_millis),
        };
        check_range("resources.memory_mib", Some(resources.memory_mib), 128, 1024 * 1024)?;
        check_range("resources.processes", Some(resources.processes), 16, 65_536)?;
        check_range("resources.disk_mib", Some(resources.disk_mib), 16, 16 * 1024 * 1024)?;
        check_range("resources.cpu_millis", Some(resources.cpu_millis), 100, 1_024_000)?;
        Ok(resources)
    }
}

fn check_range(
    field: &str,
    number: Option<u64>,
    least: u64,
    most: u64,
) -> Result<(), InvalidField> {
    match number {
        Some(number) if !(least..=most).contains(&number) => Err(InvalidField::new(
            format!("config.{field}"),
            format!("{number} is not between {least} and {most}"),
        )),
        Some(_) | None => Ok(()),
    }
}
