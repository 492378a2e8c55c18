//! Events as clients send them: each parsed on its own, so that a fault is named with its place and nothing of the list is taken.

use platform_core::failure::FailureKind;
use platform_core::session::{ClientEvent, ContentBlock, EventBody};
use platform_core::wire::{InvalidField, TextOr};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::minting::Minting;
use crate::problem::Problem;

const MAX_EVENTS: usize = 1000;
const MAX_INITIAL_EVENTS: usize = 50;
const SUPPORTED: &str = "supported are user.message and user.interrupt";

/// The wire format's other client events.
const KNOWN_BUT_NOT_SUPPORTED: [&str; 5] = [
    "user.tool_confirmation",
    "user.custom_tool_result",
    "user.tool_result",
    "user.define_outcome",
    "system.message",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserMessage {
    #[serde(rename = "type")]
    _kind: String,
    content: TextOr<Vec<ContentBlock>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserInterrupt {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(default)]
    session_thread_id: Option<String>,
}

/// Parses the events of a `send`.
pub fn parse(events: Vec<Value>, minting: &Minting) -> Result<Vec<ClientEvent>, Problem> {
    if !(1..=MAX_EVENTS).contains(&events.len()) {
        return Err(Problem::invalid("events: 1 to 1000 events are needed"));
    }
    parse_each("events", events, minting, |_| Ok(()))
}

/// Parses the events that a session begins with.
pub fn parse_initial(events: Vec<Value>, minting: &Minting) -> Result<Vec<ClientEvent>, Problem> {
    if events.len() > MAX_INITIAL_EVENTS {
        return Err(Problem::invalid("initial_events: at most 50 are allowed"));
    }
    parse_each("initial_events", events, minting, |body| {
        if matches!(body, EventBody::UserMessage { .. }) {
            return Ok(());
        }
        Err(InvalidField::new("type", "a session begins with user.message only"))
    })
}

/// A message of one text.
pub fn text_message(text: String, minting: &Minting) -> Result<ClientEvent, Problem> {
    let content = vec![ContentBlock::Text { text }];
    check_content(&content)?;
    Ok(ClientEvent { id: minting.id("event 0"), body: EventBody::UserMessage { content } })
}

/// What goes into a command as JSON.
pub fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|failure| {
        Problem::new(FailureKind::Internal, "a command could not be written").caused_by(failure)
    })
}

fn parse_each(
    list: &str,
    events: Vec<Value>,
    minting: &Minting,
    check: impl Fn(&EventBody) -> Result<(), InvalidField>,
) -> Result<Vec<ClientEvent>, Problem> {
    let parsed = events.into_iter().enumerate().map(|(index, event)| {
        let body = parse_one(event).and_then(|body| check(&body).map(|()| body));
        let body = body.map_err(|fault| fault.within(format!("{list}[{index}]")))?;
        Ok(ClientEvent { id: minting.id(&format!("event {index}")), body })
    });
    parsed.collect()
}

fn parse_one(event: Value) -> Result<EventBody, InvalidField> {
    let Some(kind) = event.get("type").and_then(Value::as_str) else {
        return Err(InvalidField::new("type", format!("is missing; {SUPPORTED}")));
    };
    match kind {
        "user.message" => {
            let message: UserMessage = read(event)?;
            let content = match message.content {
                TextOr::Text(text) => vec![ContentBlock::Text { text }],
                TextOr::Full(content) => content,
            };
            check_content(&content)?;
            Ok(EventBody::UserMessage { content })
        }
        "user.interrupt" => {
            let interrupt: UserInterrupt = read(event)?;
            if interrupt.session_thread_id.is_some() {
                let problem = "sub-agents are not supported yet, so there are no threads";
                return Err(InvalidField::new("session_thread_id", problem));
            }
            Ok(EventBody::UserInterrupt {})
        }
        kind if KNOWN_BUT_NOT_SUPPORTED.contains(&kind) => {
            Err(InvalidField::new("type", format!("{kind} is not supported yet; {SUPPORTED}")))
        }
        kind => {
            let problem = format!("{kind:?} is no event that a client can send; {SUPPORTED}");
            Err(InvalidField::new("type", problem))
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(event: Value) -> Result<T, InvalidField> {
    serde_path_to_error::deserialize(event).map_err(|fault| {
        let place = fault.path().to_string();
        let reason = fault.into_inner().to_string();
        InvalidField::new(if place == "." { "event".to_owned() } else { place }, reason)
    })
}

fn check_content(content: &[ContentBlock]) -> Result<(), InvalidField> {
    if content.is_empty() {
        return Err(InvalidField::new("content", "at least one block is needed"));
    }
    for (index, block) in content.iter().enumerate() {
        let place = || format!("content[{index}]");
        match block {
            ContentBlock::Text { text } if text.is_empty() => {
                return Err(InvalidField::new(place(), "a text block has at least one character"));
            }
            ContentBlock::Text { text } if text.contains('\0') => {
                return Err(InvalidField::new(place(), "text cannot contain U+0000"));
            }
            ContentBlock::Text { .. } => {}
            ContentBlock::Image { source } => {
                check_source(source, &["base64", "url"]).map_err(|fault| fault.within(place()))?;
            }
            ContentBlock::Document { source, .. } => {
                check_source(source, &["base64", "url", "text"])
                    .map_err(|fault| fault.within(place()))?;
            }
            ContentBlock::SearchResult { .. } | ContentBlock::Redacted {} => {
                let problem = "a user's message has text, image and document blocks only";
                return Err(InvalidField::new(place(), problem));
            }
        }
    }
    Ok(())
}

fn check_source(source: &Value, kinds: &[&str]) -> Result<(), InvalidField> {
    let has = |key: &str| source.get(key).is_some_and(Value::is_string);
    let kind = source.get("type").and_then(Value::as_str).unwrap_or_default();
    let is_complete = match kind {
        "base64" | "text" => has("media_type") && has("data"),
        "url" => has("url"),
        _ => false,
    };
    if kinds.contains(&kind) && is_complete {
        return Ok(());
    }
    let problem = match kind {
        "file" => "uploaded files are not supported yet".to_owned(),
        _ => format!("is one of {} with all its fields", kinds.join(", ")),
    };
    Err(InvalidField::new("source", problem))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(event: Value) -> String {
        parse_one(event).unwrap_err().to_string()
    }

    #[test]
    fn plain_text_is_one_text_block() {
        let body = parse_one(json!({"type": "user.message", "content": "hi"})).unwrap();
        assert_eq!(body, EventBody::UserMessage { content: vec![ContentBlock::text("hi")] });
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        assert!(fault(json!({"type": "user.message"})).contains("missing field `content`"));
        assert!(fault(json!({"type": "user.message", "content": []})).starts_with("content:"));
        assert!(
            fault(json!({"type": "user.message", "content": "x", "colour": 1}))
                .contains("`colour`")
        );
        assert!(fault(json!({"type": "user.tool_confirmation"})).contains("not supported yet"));
        assert!(
            fault(json!({"type": "agent.message"})).contains("no event that a client can send")
        );
        assert!(fault(json!({"content": "x"})).starts_with("type: is missing"));
        assert!(
            fault(json!({"type": "user.message", "content": [{"type": "video"}]}))
                .contains("content")
        );
        let file = json!({"type": "image", "source": {"type": "file", "file_id": "f"}});
        assert_eq!(
            fault(json!({"type": "user.message", "content": [file]})),
            "content[0].source: uploaded files are not supported yet"
        );
    }
}
