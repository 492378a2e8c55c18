//! A versioned definition of an agent, and the snapshot of it that a session pins.

mod draft;
mod model;
mod permission;
mod reference;
mod tool;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::harness::HarnessName;
use crate::id::{AgentId, TeamId};
use crate::variable::Variables;

pub use draft::{AgentDraft, AgentPatch, SkillDraft, check_mcp_servers};
pub use model::{Effort, Model, ModelDraft};
pub use permission::{Permission, needs_permission, permission_of};
pub use reference::{AgentOverrides, AgentReference, AgentReferenceBody};
pub use tool::{
    BuiltInTool, PermissionPolicy, Tool, ToolConfig, ToolConfigDraft, ToolDefault,
    ToolDefaultDraft, ToolDraft, resolve_tools,
};

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
    /// What a session of this agent pins, before any overrides. Metadata is about the agent, so it stays behind.
    pub fn snapshot(&self) -> AgentSnapshot {
        let definition = AgentDefinition { metadata: BTreeMap::new(), ..self.definition.clone() };
        AgentSnapshot { id: self.id, version: self.version, definition }
    }
}

/// Everything a team says about an agent, in resolved form: defaults are filled in when it is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Variables of every sandbox in which it works.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_variables: Variables,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// An agent as one session uses it: the pinned version with the session's overrides applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename = "agent")]
pub struct AgentSnapshot {
    pub id: AgentId,
    pub version: i32,
    #[serde(flatten)]
    pub definition: AgentDefinition,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SkillReference {
    #[serde(rename = "type")]
    pub kind: String,
    pub skill_id: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
