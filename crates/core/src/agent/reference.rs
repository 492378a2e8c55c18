//! How a request for a session names its agent.

use serde::Deserialize;

use crate::agent::{
    AgentDefinition, AgentSnapshot, McpServer, Model, ModelDraft, SkillDraft, ToolDraft,
    check_mcp_servers, resolve_tools,
};
use crate::id::AgentId;
use crate::wire::{Change, InvalidField, TextOr};

/// An agent by its id alone (the latest version), by id and version, or with overrides for one session.
pub type AgentReference = TextOr<AgentReferenceBody>;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentReferenceBody {
    Agent {
        id: AgentId,
        #[serde(default)]
        version: Option<i32>,
    },
    AgentWithOverrides {
        id: AgentId,
        #[serde(default)]
        version: Option<i32>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<ModelDraft>))]
        model: Option<TextOr<ModelDraft>>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        system: Change<String>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<ToolDraft>>))]
        tools: Change<Vec<ToolDraft>>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<McpServer>>))]
        mcp_servers: Change<Vec<McpServer>>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<SkillDraft>>))]
        skills: Change<Vec<SkillDraft>>,
    },
}

/// What one session has different from its agent. Each override replaces the whole value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentOverrides {
    pub model: Option<TextOr<ModelDraft>>,
    pub system: Change<String>,
    pub tools: Change<Vec<ToolDraft>>,
    pub mcp_servers: Change<Vec<McpServer>>,
    pub skills: Change<Vec<SkillDraft>>,
}

impl AgentReference {
    /// Which agent, which version (`None`: the latest) and what is different.
    pub fn into_parts(self) -> Result<(AgentId, Option<i32>, AgentOverrides), InvalidField> {
        let (id, version, overrides) = match self {
            Self::Text(text) => {
                let id = text.parse().map_err(|invalid| not_an_agent(&invalid))?;
                (id, None, AgentOverrides::default())
            }
            Self::Full(AgentReferenceBody::Agent { id, version }) => {
                (id, version, AgentOverrides::default())
            }
            Self::Full(AgentReferenceBody::AgentWithOverrides {
                id,
                version,
                model,
                system,
                tools,
                mcp_servers,
                skills,
            }) => (id, version, AgentOverrides { model, system, tools, mcp_servers, skills }),
        };
        if version.is_some_and(|version| version < 1) {
            return Err(InvalidField::new("agent.version", "versions start at 1"));
        }
        Ok((id, version, overrides))
    }
}

fn not_an_agent(invalid: &crate::id::InvalidId) -> InvalidField {
    InvalidField::new("agent", invalid.to_string())
}

impl AgentOverrides {
    /// The snapshot with the overrides in place, checked as a whole.
    pub fn apply_to(self, snapshot: AgentSnapshot) -> Result<AgentSnapshot, InvalidField> {
        let AgentSnapshot { id, version, definition: before } = snapshot;
        let model = match self.model {
            Some(draft) => Model::resolve(draft, Some(&before.model))?,
            None => before.model,
        };
        let definition = AgentDefinition {
            model,
            system: self.system.empty_clears().apply_to(before.system),
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
            ..before
        };
        definition.check()?;
        check_mcp_servers(&definition.mcp_servers, &definition.tools)?;
        Ok(AgentSnapshot { id, version, definition })
    }
}
