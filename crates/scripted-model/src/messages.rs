//! Answers of `/v1/messages`.

use serde_json::{Value, json};

use crate::{
    dialect::{Dialect, Ending, Frame, Heading},
    tool::ToolCall,
};

pub struct Messages {
    heading: Heading,
    /// Whether the text block, always the first, has been started.
    has_text: bool,
}

impl Messages {
    pub fn new(heading: Heading) -> Self {
        Self { heading, has_text: false }
    }

    fn message(&self, content: &Value, stop_reason: Option<&str>, output_tokens: u64) -> Value {
        json!({
            "id": self.heading.id,
            "type": "message",
            "role": "assistant",
            "model": self.heading.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": self.usage(output_tokens),
        })
    }

    fn usage(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.heading.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        })
    }
}

impl Dialect for Messages {
    fn open(&mut self) -> Vec<Frame> {
        let message = self.message(&json!([]), None, 0);
        vec![Frame::Typed(json!({"type": "message_start", "message": message}))]
    }

    fn word(&mut self, word: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        if !self.has_text {
            self.has_text = true;
            frames.push(start(0, &json!({"type": "text", "text": ""})));
        }
        frames.push(delta(0, &json!({"type": "text_delta", "text": word})));
        frames
    }

    fn close(&mut self, ending: &Ending) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.has_text {
            frames.push(stop(0));
        }
        if let Some(call) = &ending.call {
            let index = usize::from(self.has_text);
            frames.extend([
                start(index, &tool_use(call, &json!({}))),
                delta(index, &json!({"type": "input_json_delta", "partial_json": call.arguments})),
                stop(index),
            ]);
        }
        frames.push(Frame::Typed(json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(ending), "stop_sequence": null},
            "usage": self.usage(ending.output_tokens),
        })));
        frames.push(Frame::Typed(json!({"type": "message_stop"})));
        frames
    }

    fn whole(&self, ending: &Ending) -> Value {
        let text = (!ending.text.is_empty()).then(|| json!({"type": "text", "text": ending.text}));
        let call = ending.call.as_ref().map(|call| {
            let input = serde_json::from_str(&call.arguments).unwrap_or_default();
            tool_use(call, &input)
        });
        let content: Value = text.into_iter().chain(call).collect();
        self.message(&content, Some(stop_reason(ending)), ending.output_tokens)
    }
}

fn start(index: usize, block: &Value) -> Frame {
    Frame::Typed(json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: &Value) -> Frame {
    Frame::Typed(json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> Frame {
    Frame::Typed(json!({"type": "content_block_stop", "index": index}))
}

fn tool_use(call: &ToolCall, input: &Value) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

fn stop_reason(ending: &Ending) -> &'static str {
    if ending.call.is_some() { "tool_use" } else { "end_turn" }
}
