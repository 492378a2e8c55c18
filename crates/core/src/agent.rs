//! A versioned definition of an agent, and the snapshot of it that a session pins.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::harness::HarnessName;
use crate::id::{AgentId, TeamId};

/// One version of an agent. Versions start at 1 and never change.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: AgentId,
    pub team_id: TeamId,
    pub version: i32,
    pub definition: AgentDefinition,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

impl Agent {
    /// What a session of this agent pins, before any overrides.
    pub fn snapshot(&self) -> AgentSnapshot {
        let definition = self.definition.clone();
        AgentSnapshot { id: self.id, version: self.version, definition }
    }
}

/// Everything a team says about an agent, in resolved form: defaults are filled in when it is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDefinition {
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    pub model: Model,
    #[serde(default)]
    pub system: Option<String>,
    pub harness: HarnessName,
    #[serde(default)]
    pub tools: Vec<Tool>,
    #[serde(default)]
    pub mcp_servers: Vec<McpServer>,
    #[serde(default)]
    pub skills: Vec<SkillReference>,
    #[serde(default)]
    pub multiagent: Option<Value>,
    #[serde(default = "ExecutionIdentity::service_account")]
    pub execution_identity: ExecutionIdentity,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// An agent as one session uses it: the pinned version with the session's overrides applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSnapshot {
    pub id: AgentId,
    pub version: i32,
    #[serde(flatten)]
    pub definition: AgentDefinition,
}

/// A model as LiteLLM names it, with the wish for effort that the wire format always answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    #[serde(default = "Effort::high")]
    pub effort: Effort,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    #[serde(rename = "type")]
    pub level: String,
}

impl Effort {
    pub fn high() -> Self {
        Self { level: "high".to_owned() }
    }
}

/// What the agent may call, and under which permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
pub struct ToolConfig {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub name: String,
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
    /// Limits of single tools (`allowed_domains` and the like), kept as sent.
    #[serde(flatten)]
    pub limits: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefault {
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PermissionPolicy {
    AlwaysAllow,
    AlwaysAsk,
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpServer {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillReference {
    #[serde(rename = "type")]
    pub kind: String,
    pub skill_id: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutionIdentity {
    ServiceAccount,
    AwsRole { role_arn: String },
}

impl ExecutionIdentity {
    pub fn service_account() -> Self {
        Self::ServiceAccount
    }
}
