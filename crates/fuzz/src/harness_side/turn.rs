//! One turn of a harness that says whatever it likes: its lines as messages, and these as what the log and the readers get.

use std::collections::{HashMap, HashSet};

use futures::executor::block_on;
use platform_core::id::{EventId, TurnId};
use platform_core::journal::Entry;
use platform_core::session::{ContentBlock, EventBody};
use platform_messaging::proto::link::Preview;
use serde_json::{Value, json};
use uuid::Uuid;

use super::acp::{Connection, Message, ToolCall};
use super::policy::Policy;
use super::room::Process;
use super::translate::{Produced, Translation};
use crate::ids::Counted;

/// The first byte says how the rest arrives; that may change nothing. Then the turn's story has to be whole.
pub(crate) fn check(input: &[u8]) {
    let Some((first, said)) = input.split_first() else { return };
    let size = usize::from(first % 32) + 1;
    let in_pieces = messages(said.chunks(size));
    let at_once = messages([said].into_iter().filter(|said| !said.is_empty()));
    assert_eq!(format!("{in_pieces:?}"), format!("{at_once:?}"), "the pieces mattered");
    tell(in_pieces, first & 0x80 != 0);
}

fn messages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Message> {
    let mut connection = Connection::new(Process::saying(pieces));
    let mut messages = Vec::new();
    loop {
        let message = block_on(connection.next());
        if matches!(message, Message::Ended(_)) {
            return messages;
        }
        messages.push(message);
    }
}

fn tell(messages: Vec<Message>, asks: bool) {
    let policy = policy(asks);
    let ids = Counted::default();
    let mut turn = Translation::new(TurnId::from_uuid(Uuid::from_u64_pair(7, 7)), &ids, &policy);
    let mut story = Story::default();
    for message in messages {
        match message {
            Message::Update(update) => story.take(turn.update(*update)),
            Message::Request { method, params, .. } if method == "session/request_permission" => {
                let call = params.get("toolCall").cloned().unwrap_or(Value::Null);
                if let Ok(call) = serde_json::from_value::<ToolCall>(call) {
                    story.take(turn.leave_asked(&call));
                    story.take(turn.decide(&call.id, false).1);
                    story.take(turn.decide(&call.id, true).1);
                }
            }
            Message::Request { .. }
            | Message::Response { .. }
            | Message::Ended(_)
            | Message::Broken => {}
        }
    }
    story.take(turn.close("the turn is over"));
    story.is_whole();
}

fn policy(asks: bool) -> Policy {
    let permission = if asks { "always_ask" } else { "always_allow" };
    let default = json!({ "enabled": true, "permission_policy": { "type": permission } });
    let off = json!({ "name": "write", "enabled": false, "permission_policy": { "type": "always_allow" } });
    let tools = json!([
        { "type": "agent_toolset_20260401", "configs": [off], "default_config": default },
        { "type": "custom", "name": "add", "description": "", "input_schema": {} },
    ]);
    let Ok(tools) = serde_json::from_value(tools) else { unreachable!("these are tools") };
    Policy::new(tools)
}

/// What was told so far.
#[derive(Default)]
struct Story {
    events: HashSet<EventId>,
    open_calls: HashSet<EventId>,
    previews: HashMap<String, String>,
}

impl Story {
    fn take(&mut self, produced: Vec<Produced>) {
        for produced in produced {
            match produced {
                Produced::Preview(preview) => self.take_preview(preview),
                Produced::Entry(Entry::Event { id, body, .. }) => self.take_event(id, body),
                Produced::Entry(entry) => panic!("{entry:?} is not what a harness says"),
            }
        }
    }

    fn take_preview(&mut self, Preview { event_id, text, offset, .. }: Preview) {
        let shown = self.previews.entry(event_id).or_default();
        assert_eq!(
            usize::try_from(offset).ok(),
            Some(shown.len()),
            "a reader would miss something"
        );
        shown.push_str(&text.unwrap_or_default());
    }

    fn take_event(&mut self, id: EventId, body: EventBody) {
        assert!(body.may_come_from_sandbox(), "{body:?} is not a sandbox's to write");
        assert!(self.events.insert(id), "two events have one id");
        let shown = self.previews.remove(&id.uuid().to_string());
        if let EventBody::AgentToolUse { .. } = body {
            self.open_calls.insert(id);
        } else if let EventBody::AgentToolResult { tool_use_id, .. } = body {
            assert!(self.open_calls.remove(&tool_use_id), "a result without a call");
        } else if let EventBody::AgentMessage { content } = body {
            let told: String = content.iter().filter_map(ContentBlock::as_text).collect();
            assert_eq!(shown, Some(told), "the event is another text than its previews");
        }
    }

    fn is_whole(&self) {
        assert!(self.open_calls.is_empty(), "a call never ended");
        assert!(self.previews.is_empty(), "a text was shown and not written down");
    }
}
