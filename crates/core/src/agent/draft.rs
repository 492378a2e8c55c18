//! An agent as requests write it, and how that becomes a definition.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::agent::{
    AgentDefinition, ExecutionIdentity, McpServer, Model, ModelDraft, SkillReference, Tool,
    ToolDraft, resolve_tools,
};
use crate::harness::HarnessName;
use crate::variable::{Variables, VariablesDraft};
use crate::wire::{
    Change, InvalidField, MetadataPatch, TextOr, check_length, check_metadata, patch_metadata,
};

const MAX_SYSTEM: usize = 100_000;
const MAX_MCP_SERVERS: usize = 20;

/// The body of a request that creates an agent. `harness` is ours, the rest is the wire format's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentDraft {
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::TextOrModel))]
    pub model: TextOr<ModelDraft>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub system: Option<String>,
    #[serde(default)]
    pub harness: Option<HarnessName>,
    #[serde(default)]
    pub tools: Option<Vec<ToolDraft>>,
    #[serde(default)]
    pub mcp_servers: Option<Vec<McpServer>>,
    #[serde(default)]
    pub skills: Option<Vec<SkillDraft>>,
    #[serde(default)]
    pub multiagent: Option<Value>,
    #[serde(default)]
    pub execution_identity: Option<ExecutionIdentity>,
    /// Variables of every sandbox in which it works.
    // Taken out before the rest is resolved, because secrets among them are sealed first.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, crate::openapi::TextOrVariable>>))]
    pub environment_variables: Option<VariablesDraft>,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The body of a request that makes a new version of an agent. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentPatch {
    /// The version that the change was made from; another one is a conflict. Absent: unconditional.
    #[serde(default)]
    pub version: Option<i32>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::TextOrModel>))]
    pub model: Option<TextOr<ModelDraft>>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub description: Change<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub system: Change<String>,
    #[serde(default)]
    pub harness: Option<HarnessName>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<ToolDraft>>))]
    pub tools: Change<Vec<ToolDraft>>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<McpServer>>))]
    pub mcp_servers: Change<Vec<McpServer>>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<SkillDraft>>))]
    pub skills: Change<Vec<SkillDraft>>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    pub multiagent: Change<Value>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ExecutionIdentity>))]
    pub execution_identity: Change<ExecutionIdentity>,
    /// By name: a value sets, `null` takes away.
    // Taken out before the rest is resolved, as in `AgentDraft`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, crate::openapi::TextOrVariable>>))]
    pub environment_variables: Option<VariablesDraft>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Option<String>>>))]
    pub metadata: Option<MetadataPatch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SkillDraft {
    #[serde(rename = "type")]
    pub kind: String,
    pub skill_id: String,
    #[serde(default)]
    pub version: Option<String>,
}

impl SkillDraft {
    /// Resolves each reference to a concrete version. No skill can be stored yet, so every reference names one that
    /// does not exist.
    pub fn resolve_all(drafts: Vec<Self>) -> Result<Vec<SkillReference>, InvalidField> {
        match drafts.into_iter().next() {
            None => Ok(Vec::new()),
            Some(draft) => {
                let problem =
                    format!("there is no skill {:?}: skills are not supported yet", draft.skill_id);
                Err(InvalidField::new("skills[0].skill_id", problem))
            }
        }
    }
}

impl AgentDraft {
    /// The definition with every default filled in. `default_harness` is taken when the request names none.
    pub fn resolve(self, default_harness: HarnessName) -> Result<AgentDefinition, InvalidField> {
        refuse_multiagent(self.multiagent.as_ref())?;
        let definition = AgentDefinition {
            name: self.name,
            description: self.description.filter(|text| !text.is_empty()),
            model: Model::resolve(self.model, None)?,
            system: self.system.filter(|text| !text.is_empty()),
            harness: self.harness.unwrap_or(default_harness),
            tools: resolve_tools(self.tools.unwrap_or_default())?,
            mcp_servers: self.mcp_servers.unwrap_or_default(),
            skills: SkillDraft::resolve_all(self.skills.unwrap_or_default())?,
            multiagent: None,
            execution_identity: self
                .execution_identity
                .unwrap_or_else(ExecutionIdentity::service_account),
            environment_variables: Variables::new(),
            metadata: self.metadata.unwrap_or_default(),
        };
        definition.check()?;
        Ok(definition)
    }
}

impl AgentPatch {
    /// The next version's definition.
    pub fn apply_to(self, before: AgentDefinition) -> Result<AgentDefinition, InvalidField> {
        if let Change::Set(multiagent) = &self.multiagent {
            refuse_multiagent(Some(multiagent))?;
        }
        let model = match self.model {
            Some(draft) => Model::resolve(draft, Some(&before.model))?,
            None => before.model,
        };
        let definition = AgentDefinition {
            name: self.name.unwrap_or(before.name),
            description: self.description.empty_clears().apply_to(before.description),
            model,
            system: self.system.empty_clears().apply_to(before.system),
            harness: self.harness.unwrap_or(before.harness),
            tools: match self.tools {
                Change::Keep => before.tools,
                Change::Clear => Vec::new(),
                Change::Set(drafts) => resolve_tools(drafts)?,
            },
            mcp_servers: self.mcp_servers.or_default(before.mcp_servers),
            skills: match self.skills {
                Change::Keep => before.skills,
                Change::Clear => Vec::new(),
                Change::Set(drafts) => SkillDraft::resolve_all(drafts)?,
            },
            multiagent: None,
            execution_identity: match self.execution_identity {
                Change::Keep => before.execution_identity,
                Change::Clear => ExecutionIdentity::service_account(),
                Change::Set(identity) => identity,
            },
            environment_variables: before.environment_variables,
            metadata: patch_metadata(before.metadata, self.metadata.unwrap_or_default())?,
        };
        definition.check()?;
        Ok(definition)
    }
}

impl AgentDefinition {
    /// What has to hold for every definition, however it came to be.
    pub fn check(&self) -> Result<(), InvalidField> {
        check_length("name", &self.name, 1, 255)?;
        check_length("description", self.description.as_deref().unwrap_or(""), 0, 2_048)?;
        check_length("system", self.system.as_deref().unwrap_or(""), 0, MAX_SYSTEM)?;
        check_mcp_servers(&self.mcp_servers, &self.tools)?;
        if let ExecutionIdentity::AwsRole { .. } = self.execution_identity {
            let problem = "only {\"type\":\"service_account\"} is supported by this platform";
            return Err(InvalidField::new("execution_identity", problem));
        }
        check_metadata(&self.metadata)
    }
}

fn refuse_multiagent(multiagent: Option<&Value>) -> Result<(), InvalidField> {
    match multiagent {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(InvalidField::new("multiagent", "sub-agents are not supported yet")),
    }
}

/// At most 20 servers with names of their own, each used by an `mcp_toolset` and each `mcp_toolset` with a server.
pub fn check_mcp_servers(servers: &[McpServer], tools: &[Tool]) -> Result<(), InvalidField> {
    if servers.len() > MAX_MCP_SERVERS {
        return Err(InvalidField::new("mcp_servers", "at most 20 servers are allowed"));
    }
    let used: BTreeSet<&str> = tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::McpToolset { mcp_server_name, .. } => Some(mcp_server_name.as_str()),
            Tool::AgentToolset { .. } | Tool::Custom { .. } => None,
        })
        .collect();
    let mut names = BTreeSet::new();
    for (index, server) in servers.iter().enumerate() {
        let place = format!("mcp_servers[{index}]");
        let fault = |field: &str, problem: &str| {
            Err(InvalidField::new(format!("{place}.{field}"), problem))
        };
        if server.kind != "url" {
            return fault("type", "must be \"url\"");
        }
        check_length("name", &server.name, 1, 255).map_err(|fault| fault.within(&place))?;
        if !server.url.starts_with("https://") && !server.url.starts_with("http://") {
            return fault("url", "must begin with https:// or http://");
        }
        if !names.insert(server.name.as_str()) {
            return fault("name", "another server has the same name");
        }
        if !used.contains(server.name.as_str()) {
            return fault("name", "no mcp_toolset in tools names this server");
        }
    }
    match used.difference(&names).next() {
        Some(name) => Err(InvalidField::new(
            "tools",
            format!("no MCP server is named {name:?} in mcp_servers"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(body: Value) -> AgentDraft {
        serde_json::from_value(body).unwrap()
    }

    fn opencode() -> HarnessName {
        HarnessName::parse("opencode").unwrap()
    }

    #[test]
    fn the_smallest_agent_is_answered_in_full() {
        let definition = draft(json!({"name": "n", "model": "m"})).resolve(opencode()).unwrap();
        assert_eq!(
            serde_json::to_value(definition).unwrap(),
            json!({
                "name": "n", "description": null, "model": {"id": "m", "effort": {"type": "high"}}, "system": null,
                "harness": "opencode", "tools": [], "mcp_servers": [], "skills": [], "multiagent": null,
                "execution_identity": {"type": "service_account"}, "metadata": {},
            })
        );
    }

    #[test]
    fn an_unknown_field_is_named() {
        let body = json!({"name": "n", "model": "m", "colour": "red"});
        let fault = serde_json::from_value::<AgentDraft>(body).unwrap_err().to_string();
        assert!(fault.contains("`colour`"), "{fault}");
    }

    #[test]
    fn null_and_empty_text_clear_and_absent_keeps() {
        let before = draft(json!({"name": "n", "model": "m", "system": "s", "description": "d"}))
            .resolve(opencode())
            .unwrap();
        let patch: AgentPatch =
            serde_json::from_value(json!({"system": null, "description": ""})).unwrap();
        let after = patch.apply_to(before.clone()).unwrap();
        assert_eq!((after.system, after.description), (None, None));
        assert_eq!(AgentPatch::default().apply_to(before.clone()).unwrap(), before);
    }

    #[test]
    fn an_mcp_server_needs_its_toolset_and_the_toolset_its_server() {
        let server = json!([{"type": "url", "name": "s", "url": "https://x"}]);
        let toolset = json!([{"type": "mcp_toolset", "mcp_server_name": "s"}]);
        let resolve = |servers: &Value, tools: &Value| {
            draft(json!({"name": "n", "model": "m", "mcp_servers": servers, "tools": tools}))
                .resolve(opencode())
        };
        assert!(resolve(&server, &toolset).is_ok());
        assert_eq!(resolve(&server, &json!([])).unwrap_err().field, "mcp_servers[0].name");
        assert_eq!(resolve(&json!([]), &toolset).unwrap_err().field, "tools");
    }

    #[test]
    fn what_is_not_supported_yet_is_refused_and_never_ignored() {
        let field = |extra: Value| {
            let mut body = json!({"name": "n", "model": "m"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            draft(body).resolve(opencode()).unwrap_err().field
        };
        assert_eq!(
            field(json!({"multiagent": {"type": "coordinator", "agents": []}})),
            "multiagent"
        );
        assert_eq!(
            field(json!({"skills": [{"type": "custom", "skill_id": "x"}]})),
            "skills[0].skill_id"
        );
    }
}
