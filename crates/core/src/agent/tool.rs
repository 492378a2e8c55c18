//! What an agent may call, and under which permission: short in a request, resolved in an answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::wire::{InvalidField, check_length};

const MAX_TOOLS: usize = 256;
const MAX_DOMAINS: usize = 64;

/// What the agent may call, and under which permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type")]
pub enum Tool {
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset { configs: Vec<ToolConfig>, default_config: ToolDefault },
    #[serde(rename = "mcp_toolset")]
    McpToolset { mcp_server_name: String, configs: Vec<ToolConfig>, default_config: ToolDefault },
    #[serde(rename = "custom")]
    Custom { name: String, description: String, input_schema: Value },
}

/// One tool of a set. `kind` equals the name for built-in tools and is absent for those of an MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolConfig {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub name: String,
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
    /// Limits of single tools (`allowed_domains` and the like), kept as sent.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub limits: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolDefault {
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PermissionPolicy {
    AlwaysAllow,
    AlwaysAsk,
    Auto,
}

/// The tools of the built-in set, by the names of the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltInTool {
    Bash,
    Edit,
    Read,
    Write,
    Glob,
    Grep,
    WebFetch,
    WebSearch,
}

impl BuiltInTool {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "edit" => Some(Self::Edit),
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "glob" => Some(Self::Glob),
            "grep" => Some(Self::Grep),
            "web_fetch" => Some(Self::WebFetch),
            "web_search" => Some(Self::WebSearch),
            _ => None,
        }
    }

    /// The limits that a config of this tool may carry.
    fn limits(self) -> &'static [&'static str] {
        match self {
            Self::WebFetch => {
                &["allowed_domains", "blocked_domains", "max_content_tokens", "url_sources"]
            }
            Self::WebSearch => &["allowed_domains", "blocked_domains", "user_location"],
            Self::Bash | Self::Edit | Self::Read | Self::Write | Self::Glob | Self::Grep => &[],
        }
    }
}

/// A tool as a request writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", deny_unknown_fields)]
pub enum ToolDraft {
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset {
        #[serde(default)]
        configs: Option<Vec<ToolConfigDraft>>,
        #[serde(default)]
        default_config: Option<ToolDefaultDraft>,
    },
    #[serde(rename = "mcp_toolset")]
    McpToolset {
        mcp_server_name: String,
        #[serde(default)]
        configs: Option<Vec<ToolConfigDraft>>,
        #[serde(default)]
        default_config: Option<ToolDefaultDraft>,
    },
    #[serde(rename = "custom")]
    Custom { name: String, description: String, input_schema: Value },
}

/// One tool's settings as a request writes them. What is absent comes from the set's default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToolConfigDraft {
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    pub name: String,
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub permission_policy: Option<PermissionPolicy>,
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub limits: Map<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ToolDefaultDraft {
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub permission_policy: Option<PermissionPolicy>,
}

/// Fills in the defaults of a list of tools and checks it. Built-in tools are allowed unless said otherwise, those of an
/// MCP server ask.
pub fn resolve_tools(drafts: Vec<ToolDraft>) -> Result<Vec<Tool>, InvalidField> {
    let mut tools = Vec::with_capacity(drafts.len());
    let mut count = 0;
    for (index, draft) in drafts.into_iter().enumerate() {
        let tool = resolve_tool(draft).map_err(|fault| fault.within(format!("tools[{index}]")))?;
        count += match &tool {
            Tool::AgentToolset { configs, .. } | Tool::McpToolset { configs, .. } => configs.len(),
            Tool::Custom { .. } => 1,
        };
        tools.push(tool);
    }
    if count > MAX_TOOLS {
        return Err(InvalidField::new("tools", "at most 256 tools are allowed over all sets"));
    }
    let sets = tools.iter().filter(|tool| matches!(tool, Tool::AgentToolset { .. })).count();
    if sets > 1 {
        return Err(InvalidField::new("tools", "agent_toolset_20260401 may be named only once"));
    }
    Ok(tools)
}

fn resolve_tool(draft: ToolDraft) -> Result<Tool, InvalidField> {
    match draft {
        ToolDraft::AgentToolset { configs, default_config } => {
            let default_config = resolve_default(default_config, PermissionPolicy::AlwaysAllow);
            let configs = resolve_configs(configs, &default_config, resolve_built_in)?;
            Ok(Tool::AgentToolset { configs, default_config })
        }
        ToolDraft::McpToolset { mcp_server_name, configs, default_config } => {
            check_length("mcp_server_name", &mcp_server_name, 1, 255)?;
            let default_config = resolve_default(default_config, PermissionPolicy::AlwaysAsk);
            let configs = resolve_configs(configs, &default_config, resolve_mcp)?;
            Ok(Tool::McpToolset { mcp_server_name, configs, default_config })
        }
        ToolDraft::Custom { name, description, input_schema } => {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if !(1..=128).contains(&name.len()) || !name.bytes().all(is_word) {
                let problem = "1 to 128 letters, digits, underscores and hyphens are needed";
                return Err(InvalidField::new("name", problem));
            }
            if input_schema.get("type").and_then(Value::as_str) != Some("object") {
                let problem = "a JSON schema with \"type\": \"object\" is needed";
                return Err(InvalidField::new("input_schema", problem));
            }
            Ok(Tool::Custom { name, description, input_schema })
        }
    }
}

fn resolve_default(draft: Option<ToolDefaultDraft>, policy: PermissionPolicy) -> ToolDefault {
    let draft = draft.unwrap_or_default();
    ToolDefault {
        enabled: draft.enabled.unwrap_or(true),
        permission_policy: draft.permission_policy.unwrap_or(policy),
    }
}

fn resolve_configs(
    drafts: Option<Vec<ToolConfigDraft>>,
    default: &ToolDefault,
    resolve: fn(ToolConfigDraft, &ToolDefault) -> Result<ToolConfig, InvalidField>,
) -> Result<Vec<ToolConfig>, InvalidField> {
    let mut configs: Vec<ToolConfig> = Vec::new();
    for (index, draft) in drafts.unwrap_or_default().into_iter().enumerate() {
        let place = format!("configs[{index}]");
        let config = resolve(draft, default).map_err(|fault| fault.within(&place))?;
        if configs.iter().any(|earlier| earlier.name == config.name) {
            let problem = format!("{:?} is configured twice", config.name);
            return Err(InvalidField::new(format!("{place}.name"), problem));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn resolve_built_in(
    draft: ToolConfigDraft,
    default: &ToolDefault,
) -> Result<ToolConfig, InvalidField> {
    let Some(tool) = BuiltInTool::from_name(&draft.name) else {
        let problem = format!(
            "{:?} is none of bash, edit, read, write, glob, grep, web_fetch, web_search",
            draft.name
        );
        return Err(InvalidField::new("name", problem));
    };
    if draft.kind.as_ref().is_some_and(|kind| *kind != draft.name) {
        return Err(InvalidField::new("type", "must equal the name"));
    }
    check_limits(&draft.limits, tool)?;
    Ok(ToolConfig { kind: Some(draft.name.clone()), ..inherit(draft, default) })
}

fn resolve_mcp(draft: ToolConfigDraft, default: &ToolDefault) -> Result<ToolConfig, InvalidField> {
    check_length("name", &draft.name, 1, 128)?;
    if let Some(key) = draft.limits.keys().next() {
        return Err(InvalidField::new(key, "unknown field"));
    }
    Ok(inherit(draft, default))
}

fn inherit(draft: ToolConfigDraft, default: &ToolDefault) -> ToolConfig {
    ToolConfig {
        kind: None,
        name: draft.name,
        enabled: draft.enabled.unwrap_or(default.enabled),
        permission_policy: draft.permission_policy.unwrap_or(default.permission_policy),
        limits: draft.limits,
    }
}

fn check_limits(limits: &Map<String, Value>, tool: BuiltInTool) -> Result<(), InvalidField> {
    if let Some(key) = limits.keys().find(|key| !tool.limits().contains(&key.as_str())) {
        return Err(InvalidField::new(key, "unknown field"));
    }
    if limits.contains_key("allowed_domains") && limits.contains_key("blocked_domains") {
        let problem = "give allowed_domains or blocked_domains, not both";
        return Err(InvalidField::new("allowed_domains", problem));
    }
    for key in ["allowed_domains", "blocked_domains"] {
        let Some(domains) = limits.get(key) else { continue };
        let fits = domains.as_array().is_some_and(|list| {
            (1..=MAX_DOMAINS).contains(&list.len()) && list.iter().all(Value::is_string)
        });
        if !fits {
            return Err(InvalidField::new(key, "a list of 1 to 64 host names is needed"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(tools: Value) -> Result<Value, InvalidField> {
        let drafts = serde_json::from_value(tools).unwrap();
        resolve_tools(drafts).map(|tools| serde_json::to_value(tools).unwrap())
    }

    #[test]
    fn a_bare_toolset_is_answered_with_its_defaults() {
        let tools = resolve(json!([{"type": "agent_toolset_20260401"}])).unwrap();
        assert_eq!(
            tools,
            json!([{
                "type": "agent_toolset_20260401",
                "configs": [],
                "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
            }])
        );
    }

    #[test]
    fn every_config_of_the_built_in_set_is_answered_with_its_type() {
        let tools = resolve(json!([{
            "type": "agent_toolset_20260401",
            "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
            "default_config": {"enabled": false},
        }]))
        .unwrap();
        assert_eq!(
            tools[0]["configs"],
            json!([{"type": "bash", "name": "bash", "enabled": false, "permission_policy": {"type": "always_ask"}}])
        );
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let fault = |tools| resolve(tools).unwrap_err().field;
        let configured =
            |config: Value| json!([{"type": "agent_toolset_20260401", "configs": [config]}]);
        assert_eq!(fault(configured(json!({"name": "shell"}))), "tools[0].configs[0].name");
        assert_eq!(
            fault(configured(json!({"name": "bash", "colour": 1}))),
            "tools[0].configs[0].colour"
        );
        assert_eq!(
            fault(configured(json!({"name": "web_fetch", "allowed_domains": []}))),
            "tools[0].configs[0].allowed_domains"
        );
        let custom = json!([{"type": "custom", "name": "a b", "description": "", "input_schema": {"type": "object"}}]);
        assert_eq!(fault(custom), "tools[0].name");
    }

    #[test]
    fn an_unknown_permission_policy_is_refused() {
        let tools = json!([{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "never"}}}]);
        assert!(serde_json::from_value::<Vec<ToolDraft>>(tools).is_err());
    }
}
