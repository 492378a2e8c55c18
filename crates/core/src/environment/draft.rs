//! An environment as requests write it, and how that becomes a resolved one.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::environment::cloud::{CloudConfig, CloudDraft};
use crate::environment::{Environment, EnvironmentConfig};
use crate::variable::VariablesDraft;
use crate::wire::{
    Change, InvalidField, MetadataPatch, check_length, check_metadata, patch_metadata,
};

/// The body of a request that creates an environment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDraft {
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub config: Option<EnvironmentConfigDraft>,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub scope: Option<String>,
}

/// The body of a request that changes an environment. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPatch {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub description: Change<String>,
    #[serde(default)]
    pub config: Option<EnvironmentConfigDraft>,
    /// By key: a text sets, `null` or `""` deletes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Option<String>>>))]
    pub metadata: Option<MetadataPatch>,
    #[serde(default)]
    pub scope: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EnvironmentConfigDraft {
    Cloud(Box<CloudDraft>),
    SelfHosted,
}

impl EnvironmentConfigDraft {
    /// Takes out what the request says of variables.
    pub fn take_variables(&mut self) -> Option<VariablesDraft> {
        match self {
            Self::Cloud(draft) => draft.environment_variables.take(),
            Self::SelfHosted => None,
        }
    }
}

/// What a request says of an environment, resolved and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentSettings {
    pub name: String,
    pub description: Option<String>,
    pub config: EnvironmentConfig,
    pub scope: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl EnvironmentDraft {
    /// An environment with every default, of which a request says no more than the name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), description: None, config: None, metadata: None, scope: None }
    }

    pub fn resolve(self) -> Result<EnvironmentSettings, InvalidField> {
        let config = match self.config {
            Some(EnvironmentConfigDraft::SelfHosted) => EnvironmentConfig::SelfHosted,
            Some(EnvironmentConfigDraft::Cloud(draft)) => draft.apply_to(CloudConfig::default())?,
            None => CloudDraft::default().apply_to(CloudConfig::default())?,
        };
        let settings = EnvironmentSettings {
            name: self.name,
            description: self.description,
            config,
            scope: self.scope,
            metadata: self.metadata.unwrap_or_default(),
        };
        settings.check()?;
        Ok(settings)
    }
}

impl EnvironmentPatch {
    pub fn apply_to(self, before: Environment) -> Result<EnvironmentSettings, InvalidField> {
        let metadata = self.metadata.unwrap_or_default().into_iter();
        let metadata = metadata.map(|(key, value)| (key, value.filter(|text| !text.is_empty())));
        let config = match (self.config, before.config) {
            (None, config) => config,
            (Some(EnvironmentConfigDraft::SelfHosted), EnvironmentConfig::SelfHosted) => {
                EnvironmentConfig::SelfHosted
            }
            (
                Some(EnvironmentConfigDraft::Cloud(draft)),
                EnvironmentConfig::Cloud { networking, packages, environment_variables, sandbox },
            ) => draft.apply_to(CloudConfig {
                networking,
                packages,
                variables: environment_variables,
                sandbox,
            })?,
            (
                Some(EnvironmentConfigDraft::Cloud(_) | EnvironmentConfigDraft::SelfHosted),
                EnvironmentConfig::Cloud { .. } | EnvironmentConfig::SelfHosted,
            ) => {
                let problem = "the type of an environment is fixed when it is created";
                return Err(InvalidField::new("config.type", problem));
            }
        };
        let settings = EnvironmentSettings {
            name: self.name.unwrap_or(before.name),
            description: self.description.apply_to(before.description),
            config,
            scope: self.scope.or(before.scope),
            metadata: patch_metadata(before.metadata, metadata.collect())?,
        };
        settings.check()?;
        Ok(settings)
    }
}

impl EnvironmentSettings {
    fn check(&self) -> Result<(), InvalidField> {
        check_length("name", &self.name, 1, 255)?;
        check_length("description", self.description.as_deref().unwrap_or(""), 0, 2_048)?;
        if self.scope.as_deref().is_some_and(|scope| scope != "organization") {
            return Err(InvalidField::new("scope", "only \"organization\" is supported"));
        }
        if self.config == EnvironmentConfig::SelfHosted {
            let problem = "self_hosted environments are not supported yet, use cloud";
            return Err(InvalidField::new("config.type", problem));
        }
        check_metadata(&self.metadata)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::id::{EnvironmentId, TeamId};

    fn resolve(body: Value) -> Result<EnvironmentSettings, InvalidField> {
        serde_json::from_value::<EnvironmentDraft>(body).unwrap().resolve()
    }

    fn stored(settings: EnvironmentSettings) -> Environment {
        let EnvironmentSettings { name, description, config, scope, metadata } = settings;
        Environment {
            id: EnvironmentId::from_uuid(Uuid::nil()),
            team_id: TeamId::from_uuid(Uuid::nil()),
            name,
            description,
            config,
            scope,
            metadata,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            archived_at: None,
        }
    }

    #[test]
    fn a_cloud_config_is_answered_with_networking_and_all_six_package_lists() {
        let limited = json!({"type": "limited", "allowed_hosts": ["example.com"]});
        let settings = resolve(
            json!({"name": "n", "config": {"type": "cloud", "networking": limited, "image": "x"}}),
        )
        .unwrap();
        let config = serde_json::to_value(settings.config).unwrap();
        assert_eq!(
            config["networking"],
            json!({"type": "limited", "allowed_hosts": ["example.com"], "allow_mcp_servers": false, "allow_package_managers": false})
        );
        assert_eq!(
            config["packages"],
            json!({"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []})
        );
        assert_eq!(config["image"], "x");
    }

    #[test]
    fn an_update_keeps_the_keys_that_it_omits() {
        let before = stored(
            resolve(json!({"name": "n", "description": "d", "metadata": {"a": "1", "b": "2"},
                "config": {"type": "cloud", "resources": {"memory_mib": 512}}}))
            .unwrap(),
        );
        let patch = json!({"description": null, "metadata": {"a": ""}, "config": {"type": "cloud", "resources": {"processes": 64}}});
        let patch: EnvironmentPatch = serde_json::from_value(patch).unwrap();
        let after = patch.apply_to(before).unwrap();
        assert_eq!((after.name.as_str(), after.description), ("n", None));
        assert_eq!(after.metadata, BTreeMap::from([("b".to_owned(), "2".to_owned())]));
        let EnvironmentConfig::Cloud { sandbox, .. } = after.config else {
            panic!("cloud stays cloud")
        };
        assert_eq!((sandbox.resources.memory_mib, sandbox.resources.processes), (512, 64));
    }

    #[test]
    fn the_type_of_a_config_cannot_change() {
        let before = stored(resolve(json!({"name": "n"})).unwrap());
        let patch: EnvironmentPatch =
            serde_json::from_value(json!({"config": {"type": "self_hosted"}})).unwrap();
        assert_eq!(patch.apply_to(before).unwrap_err().field, "config.type");
    }

    #[test]
    fn hosts_are_names_and_nothing_more() {
        for host in ["https://x", "x:0", "x/y", "", "*.", "a..b", "0x7f.1"] {
            let networking = json!({"type": "limited", "allowed_hosts": [host]});
            let body = json!({"name": "n", "config": {"type": "cloud", "networking": networking}});
            assert!(resolve(body).is_err(), "{host}");
        }
    }

    #[test]
    fn packages_need_their_managers_to_be_reachable() {
        let body = json!({"name": "n", "config": {"type": "cloud", "packages": {"pip": ["x"]}, "networking": {"type": "limited"}}});
        assert_eq!(resolve(body).unwrap_err().field, "config.packages");
    }
}
