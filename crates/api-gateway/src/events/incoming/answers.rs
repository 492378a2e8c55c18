//! Answers to calls that a turn waits for.

use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use platform_core::wire::{InvalidField, TextOr, check_length};
use serde::Deserialize;

use super::content;

/// A `user.tool_confirmation`, but for its `type`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The event of the call.
    tool_use_id: EventId,
    /// `allow` or `deny`.
    result: String,
    /// Why, for the agent to read; only with `deny`.
    #[serde(default)]
    deny_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomToolResult {
    custom_tool_use_id: EventId,
    #[serde(default)]
    content: Option<TextOr<Vec<ContentBlock>>>,
    #[serde(default)]
    is_error: Option<bool>,
}

impl Confirmation {
    pub(super) fn into_body(self) -> Result<EventBody, InvalidField> {
        let Self { tool_use_id, result, deny_message } = self;
        if !matches!(result.as_str(), "allow" | "deny") {
            let problem = format!("is allow or deny, not {result:?}");
            return Err(InvalidField::new("result", problem));
        }
        if let Some(message) = &deny_message {
            if result == "allow" {
                return Err(InvalidField::new("deny_message", "goes with deny only"));
            }
            check_length("deny_message", message, 0, 10_000)?;
        }
        Ok(EventBody::UserToolConfirmation { tool_use_id, result, deny_message })
    }
}

impl CustomToolResult {
    pub(super) fn into_body(self) -> Result<EventBody, InvalidField> {
        let content = self.content.map(content::blocks).unwrap_or_default();
        content::check_result(&content)?;
        Ok(EventBody::UserCustomToolResult {
            custom_tool_use_id: self.custom_tool_use_id,
            content,
            is_error: self.is_error.unwrap_or(false),
        })
    }
}
