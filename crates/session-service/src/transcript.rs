//! What was said in a session so far, for a harness that cannot resume by itself.

use platform_core::id::{SessionId, TeamId};
use platform_core::sandbox::TranscriptItem;
use platform_core::session::{ContentBlock, Event, EventBody};
use platform_storage::event::{self, EventFilter};
use platform_storage::{Connection, Order};

use crate::failure::CommandError;

/// How much of the end of a conversation is handed on, in events and in bytes of text. It travels in one message and becomes part of a
/// prompt, so it has to fit both.
const LAST_EVENTS: u32 = 400;
const LAST_BYTES: usize = 128 * 1024;

/// The end of the conversation, oldest item first.
pub async fn of(
    connection: &mut Connection,
    team: TeamId,
    session: SessionId,
) -> Result<Vec<TranscriptItem>, CommandError> {
    let spoken = [
        "user.message",
        "user.custom_tool_result",
        "agent.message",
        "agent.tool_use",
        "agent.tool_result",
        "agent.custom_tool_use",
    ];
    let types = spoken.map(str::to_owned).to_vec();
    let filter = EventFilter { types, ..EventFilter::default() };
    let order = Order::NewestFirst;
    let newest_first = event::list(connection, team, session, &filter, order, LAST_EVENTS).await?;
    Ok(select(newest_first.into_iter().filter_map(item)))
}

fn select(newest_first: impl Iterator<Item = TranscriptItem>) -> Vec<TranscriptItem> {
    let mut room = LAST_BYTES;
    let mut items: Vec<_> = newest_first
        .take_while(|item| {
            let fits = item.text.len() <= room;
            room = room.saturating_sub(item.text.len());
            fits
        })
        .collect();
    items.reverse();
    items
}

fn item(event: Event) -> Option<TranscriptItem> {
    let (role, text) = match event.body {
        EventBody::UserMessage { content } => ("user", joined(&content)),
        EventBody::AgentMessage { content } => ("agent", joined(&content)),
        EventBody::AgentToolUse { name, input, .. }
        | EventBody::AgentCustomToolUse { name, input } => {
            ("tool", format!("{name} {}", serde_json::Value::Object(input)))
        }
        EventBody::AgentToolResult { content, .. }
        | EventBody::UserCustomToolResult { content, .. } => ("tool", joined(&content)),
        EventBody::UserInterrupt {}
        | EventBody::UserToolConfirmation { .. }
        | EventBody::AgentThinking { .. }
        | EventBody::AgentThreadContextCompacted {}
        | EventBody::SessionStatusRunning {}
        | EventBody::SessionStatusIdle { .. }
        | EventBody::SessionStatusRescheduled { .. }
        | EventBody::SessionStatusTerminated { .. }
        | EventBody::SessionError { .. }
        | EventBody::SessionUpdated { .. }
        | EventBody::SessionUsage { .. }
        | EventBody::SessionAlarm { .. }
        | EventBody::SessionContextRestored { .. }
        | EventBody::SessionDeleted {}
        | EventBody::SpanModelRequestStart {}
        | EventBody::SpanModelRequestEnd { .. } => return None,
    };
    (!text.is_empty()).then(|| TranscriptItem { role: role.to_owned(), text })
}

fn joined(content: &[ContentBlock]) -> String {
    let texts: Vec<&str> = content.iter().filter_map(ContentBlock::as_text).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> TranscriptItem {
        TranscriptItem { role: "user".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_transcript_keeps_the_end_of_the_conversation() {
        let long = "x".repeat(LAST_BYTES - 1);
        let newest_first = vec![said("b"), said(&long), said("a")];
        assert_eq!(select(newest_first.into_iter()), [said(&long), said("b")]);
    }
}
