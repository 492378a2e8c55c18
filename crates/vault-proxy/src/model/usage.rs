//! Reads from a passing answer of a model how many tokens it took: JSON and SSE, in each of the four dialects that LiteLLM speaks.

use platform_core::session::ModelUsage;
use serde::Deserialize;

/// A longer line or answer is not read: it says nothing about tokens.
const LONGEST: usize = 8 << 20;

/// In whose words an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Chat,
    Responses,
    Messages,
    Gemini,
}

impl Dialect {
    /// By the path of the call.
    pub fn of_path(path: &str) -> Self {
        if path.starts_with("/v1/chat/") {
            Self::Chat
        } else if path.starts_with("/v1/responses") {
            Self::Responses
        } else if path.starts_with("/v1/messages") {
            Self::Messages
        } else {
            Self::Gemini
        }
    }
}

/// Counts while an answer passes.
#[derive(Debug)]
pub struct UsageMeter {
    dialect: Dialect,
    is_stream: bool,
    /// The line, or the answer, as far as it has come.
    text: Vec<u8>,
    is_too_long: bool,
    counted: Option<ModelUsage>,
    has_ended: bool,
}

impl UsageMeter {
    pub fn new(dialect: Dialect, is_stream: bool) -> Self {
        Self {
            dialect,
            is_stream,
            text: Vec::new(),
            is_too_long: false,
            counted: None,
            has_ended: false,
        }
    }

    /// The next piece of the answer, cut anywhere.
    pub fn push(&mut self, mut piece: &[u8]) {
        if !self.is_stream {
            self.keep(piece);
            return;
        }
        while let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = piece.split_at(end);
            self.keep(line);
            self.read_line();
            piece = rest.get(1..).unwrap_or_default();
        }
        self.keep(piece);
    }

    /// Whether the model has said all: what comes after this tells no tokens.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What was counted. To be called once nothing more comes.
    pub fn finish(&mut self) -> Option<ModelUsage> {
        if self.is_stream {
            self.read_line();
        } else if !self.is_too_long {
            let answer = std::mem::take(&mut self.text);
            self.read(&answer);
        }
        self.counted
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.text.len() + piece.len() > LONGEST {
            self.is_too_long = true;
            self.text.clear();
        }
        if !self.is_too_long {
            self.text.extend_from_slice(piece);
        }
    }

    fn read_line(&mut self) {
        let line = std::mem::take(&mut self.text);
        if std::mem::take(&mut self.is_too_long) {
            return;
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            self.read(data.trim_ascii());
        }
    }

    fn read(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.has_ended = true;
            return;
        }
        // Most frames are text deltas, of which nothing is needed.
        if !says_something(data) {
            return;
        }
        let Ok(frame) = serde_json::from_slice::<Frame>(data) else { return };
        let kind = frame.kind.as_deref().unwrap_or_default();
        match self.dialect {
            Dialect::Chat => {
                if let Some(usage) = frame.usage {
                    self.counted = Some(usage.including_cached());
                }
            }
            Dialect::Responses => {
                let nested = frame.response.and_then(|response| response.usage);
                if let Some(usage) = nested.or(frame.usage) {
                    self.counted = Some(usage.including_cached());
                }
                self.has_ended |= matches!(
                    kind,
                    "response.completed" | "response.incomplete" | "response.failed"
                );
            }
            Dialect::Messages => {
                let nested = frame.message.and_then(|message| message.usage);
                if let Some(usage) = nested.or(frame.usage) {
                    self.merge(usage.beside_cached());
                }
                self.has_ended |= kind == "message_stop";
            }
            Dialect::Gemini => {
                if let Some(usage) = frame.usage_metadata {
                    self.counted = Some(usage.into());
                }
                self.has_ended |= frame.candidates.iter().any(|it| it.finish_reason.is_some());
            }
        }
    }

    /// Messages tells tokens twice: at its beginning, and at its end, where zeros mean that nothing new is known.
    fn merge(&mut self, later: ModelUsage) {
        let earlier = self.counted.unwrap_or(ModelUsage {
            input_tokens: 0,
            output_tokens: 0,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
        });
        self.counted = Some(ModelUsage {
            input_tokens: earlier.input_tokens.max(later.input_tokens),
            output_tokens: earlier.output_tokens.max(later.output_tokens),
            cache_creation_input_tokens: earlier
                .cache_creation_input_tokens
                .max(later.cache_creation_input_tokens),
            cache_read_input_tokens: earlier
                .cache_read_input_tokens
                .max(later.cache_read_input_tokens),
        });
    }
}

fn says_something(data: &[u8]) -> bool {
    const WORDS: [&[u8]; 6] = [
        b"\"usage",
        b"message_stop",
        b"finishReason",
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
    ];
    WORDS.iter().any(|word| data.windows(word.len()).any(|window| window == *word))
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    response: Option<Part>,
    #[serde(default)]
    message: Option<Part>,
    #[serde(rename = "usageMetadata", default)]
    usage_metadata: Option<GeminiTokens>,
    #[serde(default)]
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Candidate {
    #[serde(rename = "finishReason", default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(rename = "input_tokens", alias = "prompt_tokens", default)]
    input: Option<u64>,
    #[serde(rename = "output_tokens", alias = "completion_tokens", default)]
    output: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens", default)]
    cache_creation: Option<u64>,
    #[serde(rename = "cache_read_input_tokens", default)]
    cache_read: Option<u64>,
    #[serde(rename = "input_tokens_details", alias = "prompt_tokens_details", default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Tokens {
    /// OpenAI's way: what was read from the cache is part of the input.
    fn including_cached(self) -> ModelUsage {
        let cached = self.details.and_then(|details| details.cached_tokens);
        let read = self.cache_read.or(cached).unwrap_or(0);
        let created = self.cache_creation.unwrap_or(0);
        let input = self.input.unwrap_or(0);
        ModelUsage {
            input_tokens: input.saturating_sub(read).saturating_sub(created),
            output_tokens: self.output.unwrap_or(0),
            cache_creation_input_tokens: created,
            cache_read_input_tokens: read,
        }
    }

    /// Anthropic's way: it is counted beside it.
    fn beside_cached(self) -> ModelUsage {
        ModelUsage {
            input_tokens: self.input.unwrap_or(0),
            output_tokens: self.output.unwrap_or(0),
            cache_creation_input_tokens: self.cache_creation.unwrap_or(0),
            cache_read_input_tokens: self.cache_read.unwrap_or(0),
        }
    }
}

#[derive(Deserialize)]
struct GeminiTokens {
    #[serde(rename = "promptTokenCount", default)]
    prompt: Option<u64>,
    #[serde(rename = "candidatesTokenCount", default)]
    candidates: Option<u64>,
    #[serde(rename = "thoughtsTokenCount", default)]
    thoughts: Option<u64>,
    #[serde(rename = "cachedContentTokenCount", default)]
    cached: Option<u64>,
}

impl From<GeminiTokens> for ModelUsage {
    fn from(tokens: GeminiTokens) -> Self {
        let read = tokens.cached.unwrap_or(0);
        let spoken = tokens.candidates.unwrap_or(0);
        Self {
            input_tokens: tokens.prompt.unwrap_or(0).saturating_sub(read),
            output_tokens: spoken.saturating_add(tokens.thoughts.unwrap_or(0)),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(dialect: Dialect, is_stream: bool, text: &str) -> Option<(u64, u64, u64, u64)> {
        let in_one = meter(dialect, is_stream, &[text.as_bytes()]);
        let bytewise: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(meter(dialect, is_stream, &bytewise), in_one);
        in_one
    }

    fn meter(dialect: Dialect, is_stream: bool, pieces: &[&[u8]]) -> Option<(u64, u64, u64, u64)> {
        let mut meter = UsageMeter::new(dialect, is_stream);
        for piece in pieces {
            meter.push(piece);
        }
        meter.finish().map(|usage| {
            (
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_creation_input_tokens,
                usage.cache_read_input_tokens,
            )
        })
    }

    #[test]
    fn tokens_are_read_from_whole_answers() {
        let chat = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        assert_eq!(counted(Dialect::Chat, false, chat), Some((6, 5, 0, 4)));
        let messages = r#"{"type":"message","usage":{"input_tokens":3,"output_tokens":2,"cache_read_input_tokens":7}}"#;
        assert_eq!(counted(Dialect::Messages, false, messages), Some((3, 2, 0, 7)));
        let gemini = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"thoughtsTokenCount":2}}"#;
        assert_eq!(counted(Dialect::Gemini, false, gemini), Some((9, 3, 0, 0)));
        assert_eq!(counted(Dialect::Chat, false, "not json"), None);
    }

    #[test]
    fn tokens_are_read_from_streams() {
        let chat = "data: {\"choices\":[{\"delta\":{}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        assert_eq!(counted(Dialect::Chat, true, chat), Some((1, 2, 0, 0)));
        let messages = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}\r\n\r\nevent: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":6}}\r\n\r\n";
        assert_eq!(counted(Dialect::Messages, true, messages), Some((8, 6, 0, 0)));
        let responses = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":3}}}\n\n";
        assert_eq!(counted(Dialect::Responses, true, responses), Some((4, 3, 0, 0)));
    }

    #[test]
    fn the_end_of_each_dialect_s_stream_is_known() {
        for (dialect, end) in [
            (Dialect::Chat, "data: [DONE]\n"),
            (Dialect::Messages, "data: {\"type\":\"message_stop\"}\n"),
            (Dialect::Responses, "data: {\"type\":\"response.completed\",\"response\":{}}\n"),
            (Dialect::Gemini, "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n"),
        ] {
            let mut meter = UsageMeter::new(dialect, true);
            meter.push(b"data: {\"type\":\"response.output_text.delta\"}\n\n");
            assert!(!meter.has_ended(), "{dialect:?}");
            meter.push(end.as_bytes());
            assert!(meter.has_ended(), "{dialect:?}");
        }
    }
}
