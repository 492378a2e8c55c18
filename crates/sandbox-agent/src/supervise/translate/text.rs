//! A message or a thought that is still being produced.

use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use platform_messaging::proto::link::Preview;

/// A text that grows beyond this is written down and goes on as a further event, so that no event is without bound.
const LONGEST_TEXT: usize = 512 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    Message,
    Thinking,
}

pub(super) struct OpenText {
    /// Of the event that it will be; the previews carry it already.
    pub(super) id: EventId,
    kind: TextKind,
    message_id: Option<String>,
    text: String,
}

impl OpenText {
    pub(super) fn begin(id: EventId, kind: TextKind, message_id: Option<String>) -> Self {
        Self { id, kind, message_id, text: String::new() }
    }

    /// Whether the next piece belongs to it.
    pub(super) fn takes(&self, kind: TextKind, message_id: Option<&str>) -> bool {
        self.kind == kind
            && self.message_id.as_deref() == message_id
            && self.text.len() < LONGEST_TEXT
    }

    pub(super) fn announcement(&self) -> Preview {
        self.preview(None)
    }

    /// Adds a piece and answers its preview.
    pub(super) fn push(&mut self, piece: String) -> Preview {
        self.text.push_str(&piece);
        let offset = self.text.len() - piece.len();
        Preview { offset: u64::try_from(offset).unwrap_or(u64::MAX), ..self.preview(Some(piece)) }
    }

    pub(super) fn into_event(self) -> EventBody {
        match self.kind {
            TextKind::Message => {
                EventBody::AgentMessage { content: vec![ContentBlock::text(self.text)] }
            }
            TextKind::Thinking => EventBody::AgentThinking { thinking: Some(self.text) },
        }
    }

    fn preview(&self, text: Option<String>) -> Preview {
        let event_type = match self.kind {
            TextKind::Message => "agent.message",
            TextKind::Thinking => "agent.thinking",
        };
        Preview {
            event_id: self.id.uuid().to_string(),
            event_type: event_type.to_owned(),
            text,
            offset: 0,
        }
    }
}
