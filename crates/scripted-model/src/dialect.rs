//! What the three APIs have in common: an answer is opened, said word by word, and closed.

use serde_json::Value;

use crate::{chat::Chat, messages::Messages, responses::Responses, tool::ToolCall};

/// Stands in every answer's metadata, so that nobody takes it for a language model's.
pub const FINGERPRINT: &str = "scripted-demo";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Chat,
    Responses,
    Messages,
}

/// What an answer says about itself beside its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// `demo-scripted-<hash of the request>`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub input_tokens: u64,
}

/// The end of a message: all that was said, the call if there is one, and the count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub text: String,
    pub call: Option<ToolCall>,
    pub output_tokens: u64,
}

/// How one API writes an answer, whole or as server-sent events.
///
/// An answer is opened once, then come its words, then it is closed once.
pub trait Dialect: Send {
    fn open(&mut self) -> Vec<Frame>;
    fn word(&mut self, word: &str) -> Vec<Frame>;
    fn close(&mut self, ending: &Ending) -> Vec<Frame>;
    fn whole(&self, ending: &Ending) -> Value;
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// `data:` alone.
    Data(Value),
    /// `event:` with the type that the data carries too.
    Typed(Value),
    /// `data: [DONE]`.
    Done,
}

impl Api {
    pub fn dialect(self, heading: Heading) -> Box<dyn Dialect> {
        match self {
            Self::Chat => Box::new(Chat::new(heading)),
            Self::Responses => Box::new(Responses::new(heading)),
            Self::Messages => Box::new(Messages::new(heading)),
        }
    }

    /// The error envelope of the API.
    pub fn failure(self, kind: &str, message: &str) -> Value {
        match self {
            Self::Messages => serde_json::json!({
                "type": "error", "error": {"type": kind, "message": message},
            }),
            Self::Chat | Self::Responses => serde_json::json!({
                "error": {"message": message, "type": kind, "param": null, "code": null},
            }),
        }
    }
}

impl Frame {
    pub fn write(&self) -> String {
        match self {
            Self::Data(data) => format!("data: {data}\n\n"),
            Self::Typed(data) => {
                let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
                format!("event: {kind}\ndata: {data}\n\n")
            }
            Self::Done => "data: [DONE]\n\n".to_owned(),
        }
    }
}
