//! A message or a thought that is still being produced.

use platform_core::id::EventId;
use platform_core::session::{ContentBlock, EventBody};
use platform_messaging::proto::link::Preview;

/// A text that grows beyond this is written down and goes on as a further event, so that no event is without bound.
const LONGEST_TEXT: usize = 512 * 1024;

/// A text beyond this is not shown anew to those who missed its beginning: its event will bring it.
const LONGEST_REPEATED: usize = 64 * 1024;

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
    /// How much of it was shown as a whole last.
    repeated: usize,
}

impl OpenText {
    pub(super) fn begin(id: EventId, kind: TextKind, message_id: Option<String>) -> Self {
        Self { id, kind, message_id, text: String::new(), repeated: 0 }
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

    /// The whole text so far, for readers who missed some of it, if it has grown since the last time or has to be shown `anyway`.
    pub(super) fn repeat(&mut self, anyway: bool) -> Option<Preview> {
        let has_grown = self.text.len() > self.repeated;
        let is_shown = (has_grown || anyway) && (1..=LONGEST_REPEATED).contains(&self.text.len());
        self.repeated = self.text.len();
        is_shown.then(|| self.preview(Some(self.text.clone())))
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
