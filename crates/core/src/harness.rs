//! How one kind of coding agent is installed and run: the manifest `harnesses/<name>/harness.toml`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a harness, e.g. `opencode`: lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String", into = "String")]
pub struct HarnessName(String);

/// The text cannot be the name of a harness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a harness name has 1 to 64 lower-case letters, digits and hyphens")]
pub struct InvalidHarnessName;

impl HarnessName {
    pub fn parse(text: &str) -> Result<Self, InvalidHarnessName> {
        let is_valid = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidHarnessName) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HarnessName {
    type Error = InvalidHarnessName;

    fn try_from(text: String) -> Result<Self, InvalidHarnessName> {
        Self::parse(&text)
    }
}

impl From<HarnessName> for String {
    fn from(name: HarnessName) -> Self {
        name.0
    }
}

impl fmt::Display for HarnessName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What `harness.toml` says. `harnesses/README.md` is the contract, field by field.
///
/// In `environment` and `files` these words are replaced: `{{model}}` (the agent's model), `{{model_name}}` (the same as the harness
/// names it), `{{model_entries}}` (all models, each as `model_entry` says, with commas between), `{{gateway_url}}` (where model calls
/// go inside the sandbox), `{{home}}` and `{{workspace}}` (its folders), `{{system}}` (the system prompt). Each has a twin that is
/// quoted and escaped for JSON: `{{model_json}}` and so on; `{{models_json}}` is the list of all models' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: HarnessName,
    /// The pinned version that `install.sh` installs.
    pub version: String,
    /// One line for people.
    pub description: String,
    pub protocol: Protocol,
    /// The command that starts it. A program with a slash in it is relative to the harness's install folder; a bare name is looked
    /// up in that folder's `bin`, then in the system's.
    pub command: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files written into the harness's room before it starts: path → content. `~/` is the home of the room.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Where the harness keeps its own state, below the home; it lies on the workspace volume.
    #[serde(default)]
    pub state: Vec<String>,
    /// The file that the harness reads as additional instructions at each prompt; the system prompt is written there.
    #[serde(default)]
    pub instructions_file: Option<String>,
    /// Whether it may be started before the session is known.
    #[serde(default)]
    pub can_start_warm: bool,
    /// How a model is named towards the harness, e.g. `litellm/{{model}}`; without it, as LiteLLM names it.
    #[serde(default)]
    pub model_name: Option<String>,
    /// How one model is written down in the harness's configuration; `{{model_entries}}` joins these.
    #[serde(default)]
    pub model_entry: Option<String>,
    /// The session mode in which it asks for leave before each call. Without one it serves no agent whose tools need permission.
    #[serde(default)]
    pub asking_mode: Option<String>,
    /// Its own full-screen program, for people (`lap attach --tty`).
    #[serde(default)]
    pub terminal_command: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Agent Client Protocol, version 1, newline-delimited JSON-RPC over stdio.
    Acp,
}
