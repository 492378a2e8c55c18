//! Answers of `/v1/chat/completions`.

use serde_json::{Map, Value, json};

use crate::{
    dialect::{Dialect, Ending, FINGERPRINT, Frame, Heading},
    tool::ToolCall,
};

pub struct Chat {
    heading: Heading,
}

impl Chat {
    pub fn new(heading: Heading) -> Self {
        Self { heading }
    }

    fn object(&self, kind: &str, choices: &Value, usage: &Value) -> Value {
        json!({
            "id": self.heading.id,
            "object": kind,
            "created": self.heading.created,
            "model": self.heading.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
            "usage": usage,
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Frame {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]);
        Frame::Data(self.object("chat.completion.chunk", &choices, &Value::Null))
    }

    fn usage(&self, ending: &Ending) -> Value {
        json!({
            "prompt_tokens": self.heading.input_tokens,
            "completion_tokens": ending.output_tokens,
            "total_tokens": self.heading.input_tokens + ending.output_tokens,
        })
    }
}

impl Dialect for Chat {
    fn open(&mut self) -> Vec<Frame> {
        vec![self.chunk(&json!({"role": "assistant", "content": ""}), None)]
    }

    fn word(&mut self, word: &str) -> Vec<Frame> {
        vec![self.chunk(&json!({"content": word}), None)]
    }

    fn close(&mut self, ending: &Ending) -> Vec<Frame> {
        let called = ending.call.as_ref().map(|call| {
            let mut call = tool_call(call);
            call.insert("index".to_owned(), json!(0));
            self.chunk(&json!({"tool_calls": [call]}), None)
        });
        let finish = self.chunk(&json!({}), Some(finish_reason(ending)));
        let usage = self.object("chat.completion.chunk", &json!([]), &self.usage(ending));
        called.into_iter().chain([finish, Frame::Data(usage), Frame::Done]).collect()
    }

    fn whole(&self, ending: &Ending) -> Value {
        let calls = ending.call.as_ref().map(|call| [tool_call(call)]);
        let message = json!({"role": "assistant", "content": ending.text, "tool_calls": calls});
        let choice =
            json!({"index": 0, "message": message, "finish_reason": finish_reason(ending)});
        self.object("chat.completion", &json!([choice]), &self.usage(ending))
    }
}

fn tool_call(call: &ToolCall) -> Map<String, Value> {
    let function = json!({"name": call.name, "arguments": call.arguments});
    [("id", json!(call.id)), ("type", json!("function")), ("function", function)]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn finish_reason(ending: &Ending) -> &'static str {
    if ending.call.is_some() { "tool_calls" } else { "stop" }
}
