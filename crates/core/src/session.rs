//! A session: one durable conversation with one agent.

mod event;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::agent::AgentSnapshot;
use crate::budget::{Allowance, Budget, Money, NanoDollars};
use crate::id::{AgentId, EnvironmentId, SandboxId, SessionId, TeamId, TurnId};
use crate::sandbox::{Epoch, JournalMark, Startup};
use crate::variable::Variables;

pub use event::{
    ClientEvent, ContentBlock, Event, EventBody, ModelUsage, RetryStatus, StoppedBecause, WireError,
};

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub id: SessionId,
    pub team_id: TeamId,
    pub agent_id: AgentId,
    pub environment_id: EnvironmentId,
    pub agent: AgentSnapshot,
    pub context: Option<String>,
    pub title: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub vault_ids: Vec<String>,
    pub status: SessionStatus,
    pub epoch: Epoch,
    /// The sandbox that is ready for turns, if any.
    pub sandbox_id: Option<SandboxId>,
    pub startup: Option<Startup>,
    pub harness_session: Option<String>,
    /// The number of the log's last event.
    pub last_event: i64,
    /// The last entry of the current epoch's journal that is in the log.
    pub journal_through: u64,
    /// The last journal of an earlier epoch of which something is in the log.
    pub former_journal: Option<JournalMark>,
    pub usage: Usage,
    /// What its model calls may cost in all.
    pub budget: Option<Budget>,
    /// Variables of its sandboxes, beside those of its environment and its agent.
    pub environment_variables: Variables,
    /// Where it comes from, if it goes on from an earlier point of another session.
    pub forked_from: Option<ForkedFrom>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Since when no turn is under way; `None` while one is.
    pub idle_since: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
}

/// The point of another session from which one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkedFrom {
    pub session_id: SessionId,
    /// The number of the last event that was taken over.
    pub at_event: i64,
    /// The turn at whose end files and the harness's memory were taken; none when no turn had ended by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<TurnId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    Idle,
    Running,
    Rescheduling,
    Terminated,
}

impl SessionStatus {
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "idle" => Some(Self::Idle),
            "running" => Some(Self::Running),
            "rescheduling" => Some(Self::Rescheduling),
            "terminated" => Some(Self::Terminated),
            _ => None,
        }
    }
}

impl Session {
    /// A session as it is before anything has happened in it.
    pub fn new(
        id: SessionId,
        team_id: TeamId,
        agent: AgentSnapshot,
        environment_id: EnvironmentId,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            team_id,
            agent_id: agent.id,
            environment_id,
            agent,
            context: None,
            title: None,
            metadata: BTreeMap::new(),
            vault_ids: Vec::new(),
            status: SessionStatus::Idle,
            epoch: Epoch::NONE,
            sandbox_id: None,
            startup: None,
            harness_session: None,
            last_event: 0,
            journal_through: 0,
            former_journal: None,
            usage: Usage::default(),
            budget: None,
            environment_variables: Variables::new(),
            forked_from: None,
            created_at: now,
            updated_at: now,
            idle_since: Some(now),
            archived_at: None,
        }
    }

    /// What it may spend and has spent.
    pub fn allowance(&self) -> Allowance {
        Allowance { budget: self.budget, spent: self.usage.cost_nano_usd }
    }

    /// Whether it still takes messages; an archived session counts as ended.
    pub fn is_live(&self) -> bool {
        self.archived_at.is_none() && self.status != SessionStatus::Terminated
    }
}

/// Tokens and money spent, added up over the session's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
    /// In billionths of a US dollar.
    pub cost_nano_usd: NanoDollars,
}

impl Usage {
    pub fn add(&mut self, usage: ModelUsage, cost: NanoDollars) {
        self.cost_nano_usd = self.cost_nano_usd.plus(cost);
        self.input_tokens = self.input_tokens.saturating_add(usage.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(usage.output_tokens);
        self.cache_read_input_tokens =
            self.cache_read_input_tokens.saturating_add(usage.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            self.cache_creation_input_tokens.saturating_add(usage.cache_creation_input_tokens);
    }
}

/// What was spent, in the wire format's shape; `cost_usd` is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WireUsage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation: CacheCreation,
    /// Rounded up to a cent.
    pub list_cost: Money,
    /// Exactly, in dollars: `0.000042`.
    pub cost_usd: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheCreation {
    pub ephemeral_1h_input_tokens: u64,
    pub ephemeral_5m_input_tokens: u64,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_input_tokens: usage.cache_read_input_tokens,
            cache_creation: CacheCreation {
                ephemeral_1h_input_tokens: 0,
                ephemeral_5m_input_tokens: usage.cache_creation_input_tokens,
            },
            list_cost: Money::in_cents(usage.cost_nano_usd),
            cost_usd: usage.cost_nano_usd.to_string(),
        }
    }
}

/// A change to a session. Absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionPatch {
    /// `Some(None)` clears.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "double_option")]
    pub title: Option<Option<String>>,
    /// By key: a value sets, `None` deletes.
    #[serde(default)]
    pub metadata: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<crate::agent::Tool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_servers: Option<Vec<crate::agent::McpServer>>,
    /// `Some(None)` takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "double_option")]
    pub budget: Option<Option<Budget>>,
}

/// Keeps `null` (clear) and absent (leave) apart.
#[expect(
    clippy::option_option,
    clippy::ref_option,
    reason = "serde gives and takes the field as it is"
)]
mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
