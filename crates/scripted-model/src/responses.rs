//! Answers of `/v1/responses`.

use serde_json::{Map, Value, json};

use crate::{
    dialect::{Dialect, Ending, FINGERPRINT, Frame, Heading},
    tool::ToolCall,
};

pub struct Responses {
    heading: Heading,
    /// Number of the next event of the stream.
    sequence: u64,
    /// Whether the text item, always the first, has been added.
    has_text: bool,
}

impl Responses {
    pub fn new(heading: Heading) -> Self {
        Self { heading, sequence: 0, has_text: false }
    }

    fn event(&mut self, kind: &str, body: Value) -> Frame {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(kind));
        fields.insert("sequence_number".to_owned(), json!(self.sequence));
        self.sequence += 1;
        if let Value::Object(body) = body {
            fields.extend(body);
        }
        Frame::Typed(Value::Object(fields))
    }

    fn text_id(&self) -> String {
        format!("{}-text", self.heading.id)
    }

    fn text_item(&self, status: &str, content: &Value) -> Value {
        json!({
            "type": "message", "id": self.text_id(), "role": "assistant",
            "status": status, "content": content,
        })
    }

    fn call_id(&self) -> String {
        format!("{}-call", self.heading.id)
    }

    fn call_item(&self, call: &ToolCall, status: &str, arguments: &str) -> Value {
        json!({
            "type": "function_call", "id": self.call_id(), "call_id": call.id,
            "name": call.name, "arguments": arguments, "status": status,
        })
    }

    fn response(&self, status: &str, output: &Value, usage: &Value) -> Value {
        json!({
            "id": self.heading.id,
            "object": "response",
            "created_at": self.heading.created,
            "status": status,
            "model": self.heading.model,
            "output": output,
            "usage": usage,
            "metadata": {"system_fingerprint": FINGERPRINT},
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "parallel_tool_calls": false,
            "previous_response_id": null,
            "store": false,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
        })
    }

    fn open_text(&mut self) -> Vec<Frame> {
        self.has_text = true;
        let item = self.text_item("in_progress", &json!([]));
        let part = self.part(&text_part(""));
        vec![
            self.event("response.output_item.added", json!({"output_index": 0, "item": item})),
            self.event("response.content_part.added", part),
        ]
    }

    fn close_text(&mut self, text: &str) -> Vec<Frame> {
        let done = json!({
            "item_id": self.text_id(), "output_index": 0, "content_index": 0,
            "text": text, "logprobs": [],
        });
        let part = self.part(&text_part(text));
        let item = self.text_item("completed", &json!([text_part(text)]));
        vec![
            self.event("response.output_text.done", done),
            self.event("response.content_part.done", part),
            self.event("response.output_item.done", json!({"output_index": 0, "item": item})),
        ]
    }

    fn part(&self, part: &Value) -> Value {
        json!({"item_id": self.text_id(), "output_index": 0, "content_index": 0, "part": part})
    }

    fn call(&mut self, call: &ToolCall) -> Vec<Frame> {
        let index = u8::from(self.has_text);
        let id = self.call_id();
        let added = self.call_item(call, "in_progress", "");
        let done = self.call_item(call, "completed", &call.arguments);
        vec![
            self.event("response.output_item.added", json!({"output_index": index, "item": added})),
            self.event(
                "response.function_call_arguments.delta",
                json!({"item_id": id, "output_index": index, "delta": call.arguments}),
            ),
            self.event(
                "response.function_call_arguments.done",
                json!({
                    "item_id": id, "output_index": index,
                    "name": call.name, "arguments": call.arguments,
                }),
            ),
            self.event("response.output_item.done", json!({"output_index": index, "item": done})),
        ]
    }
}

impl Dialect for Responses {
    fn open(&mut self) -> Vec<Frame> {
        let response = self.response("in_progress", &json!([]), &Value::Null);
        vec![
            self.event("response.created", json!({"response": response.clone()})),
            self.event("response.in_progress", json!({"response": response})),
        ]
    }

    fn word(&mut self, word: &str) -> Vec<Frame> {
        let mut frames = if self.has_text { Vec::new() } else { self.open_text() };
        let delta = json!({
            "item_id": self.text_id(), "output_index": 0, "content_index": 0,
            "delta": word, "logprobs": [],
        });
        frames.push(self.event("response.output_text.delta", delta));
        frames
    }

    fn close(&mut self, ending: &Ending) -> Vec<Frame> {
        let mut frames = if self.has_text { self.close_text(&ending.text) } else { Vec::new() };
        if let Some(call) = &ending.call {
            frames.extend(self.call(call));
        }
        let response = self.whole(ending);
        frames.push(self.event("response.completed", json!({"response": response})));
        frames
    }

    fn whole(&self, ending: &Ending) -> Value {
        let text = (!ending.text.is_empty())
            .then(|| self.text_item("completed", &json!([text_part(&ending.text)])));
        let call =
            ending.call.as_ref().map(|call| self.call_item(call, "completed", &call.arguments));
        let output: Value = text.into_iter().chain(call).collect();
        let usage = json!({
            "input_tokens": self.heading.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": ending.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.heading.input_tokens + ending.output_tokens,
        });
        self.response("completed", &output, &usage)
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
