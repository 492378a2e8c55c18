//! Events as clients send them: each parsed on its own, so that a fault is named with its place and nothing of the list is taken.

mod answers;
mod content;

use platform_core::failure::FailureKind;
use platform_core::session::{ClientEvent, ContentBlock, EventBody};
use platform_core::wire::{InvalidField, TextOr};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::minting::Minting;
use crate::problem::Problem;

pub use answers::Confirmation;
use answers::CustomToolResult;

const MAX_EVENTS: usize = 1000;
const MAX_INITIAL_EVENTS: usize = 50;
const SUPPORTED: &str = "supported are user.message, user.interrupt, user.tool_confirmation and \
    user.custom_tool_result";

/// The wire format's other client events.
const KNOWN_BUT_NOT_SUPPORTED: [&str; 3] =
    ["user.tool_result", "user.define_outcome", "system.message"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserMessage {
    content: TextOr<Vec<ContentBlock>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserInterrupt {
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
    content::check_message(&content)?;
    Ok(ClientEvent { id: minting.id("event 0"), body: EventBody::UserMessage { content } })
}

pub fn confirmation(answer: Confirmation, minting: &Minting) -> Result<ClientEvent, Problem> {
    Ok(ClientEvent { id: minting.id("event 0"), body: answer.into_body()? })
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

fn parse_one(mut event: Value) -> Result<EventBody, InvalidField> {
    let kind = event.as_object_mut().and_then(|fields| fields.shift_remove("type"));
    let Some(kind) = kind.as_ref().and_then(Value::as_str) else {
        return Err(InvalidField::new("type", format!("is missing; {SUPPORTED}")));
    };
    match kind {
        "user.message" => {
            let message: UserMessage = read(event)?;
            let content = content::blocks(message.content);
            content::check_message(&content)?;
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
        "user.tool_confirmation" => read::<Confirmation>(event)?.into_body(),
        "user.custom_tool_result" => read::<CustomToolResult>(event)?.into_body(),
        kind if KNOWN_BUT_NOT_SUPPORTED.contains(&kind) => {
            Err(InvalidField::new("type", format!("{kind} is not supported yet; {SUPPORTED}")))
        }
        kind => {
            let problem = format!("{kind:?} is no event that a client can send; {SUPPORTED}");
            Err(InvalidField::new("type", problem))
        }
    }
}

fn read<T: DeserializeOwned>(event: Value) -> Result<T, InvalidField> {
    serde_path_to_error::deserialize(event).map_err(|fault| {
        let place = fault.path().to_string();
        let reason = fault.into_inner().to_string();
        InvalidField::new(if place == "." { "event".to_owned() } else { place }, reason)
    })
}

#[cfg(test)]
mod tests {
    use platform_core::id::EventId;
    use serde_json::json;

    use super::*;

    const CALL: &str = "sevt_01935a7e7c1b7e2a8f000123456789ab";

    fn fault(event: Value) -> String {
        parse_one(event).unwrap_err().to_string()
    }

    fn confirmation(fields: &Value) -> Value {
        let mut event = json!({"type": "user.tool_confirmation", "tool_use_id": CALL});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event
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
        assert!(fault(json!({"type": "user.tool_result"})).contains("not supported yet"));
        assert!(
            fault(json!({"type": "agent.message"})).contains("no event that a client can send")
        );
        assert!(fault(json!({"content": "x"})).starts_with("type: is missing"));
        assert!(fault(json!("x")).starts_with("type: is missing"));
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

    #[test]
    fn a_confirmation_names_its_call_in_either_spelling() {
        let bare = CALL.trim_start_matches("sevt_");
        let id: EventId = CALL.parse().unwrap();
        for call in [CALL.to_owned(), bare.to_owned(), id.uuid().to_string()] {
            let event = confirmation(&json!({"tool_use_id": call, "result": "allow"}));
            let expected = EventBody::UserToolConfirmation {
                tool_use_id: id,
                result: "allow".to_owned(),
                deny_message: None,
            };
            assert_eq!(parse_one(event).unwrap(), expected);
        }
    }

    #[test]
    fn a_confirmation_that_says_nothing_clear_is_refused() {
        assert!(fault(confirmation(&json!({}))).contains("missing field `result`"));
        assert_eq!(
            fault(confirmation(&json!({"result": "maybe"}))),
            "result: is allow or deny, not \"maybe\""
        );
        let excuse = json!({"result": "allow", "deny_message": "x"});
        assert_eq!(fault(confirmation(&excuse)), "deny_message: goes with deny only");
        let long = json!({"result": "deny", "deny_message": "x".repeat(10_001)});
        assert!(fault(confirmation(&long)).starts_with("deny_message: "));
        parse_one(confirmation(&json!({"result": "deny", "deny_message": "x".repeat(10_000)})))
            .unwrap();
        let unclear = json!({"result": "allow", "tool_use_id": "call_1"});
        assert!(fault(confirmation(&unclear)).starts_with("tool_use_id: "));
    }

    #[test]
    fn a_custom_tools_result_may_be_anything_that_a_tool_gives() {
        let result = |fields: Value| {
            let mut event = json!({"type": "user.custom_tool_result", "custom_tool_use_id": CALL});
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            parse_one(event)
        };
        let stored = |content, is_error| EventBody::UserCustomToolResult {
            custom_tool_use_id: CALL.parse().unwrap(),
            content,
            is_error,
        };
        assert_eq!(result(json!({})).unwrap(), stored(Vec::new(), false));
        let text = vec![ContentBlock::text("a\0")];
        assert_eq!(
            result(json!({"content": "a\0", "is_error": true})).unwrap(),
            stored(text, true)
        );
        result(json!({"content": [{"type": "search_result", "title": "t", "source": "s",
            "content": [{"type": "text", "text": "x"}], "citations": {"enabled": true}}]}))
        .unwrap();
        assert!(result(json!({"content": [{"type": "redacted"}]})).is_err());
        assert!(result(json!({"content": [{"type": "image", "source": {}}]})).is_err());
    }
}
