//! A harness for tests that is none: it speaks the Agent Client Protocol and does what the prompt's lines say, without any model.
//!
//! `say TEXT` · `think TEXT` · `tool NAME` · `ask NAME` (permission) · `file` (wants a file of the client) · `open NAME` (a call that
//! never ends) · `forget` (the session) · `error TEXT` · `crash CODE` · `hang` (until cancelled) · `deaf` (for ever, with a child of its own)
//!
//! Its state lies below its home, so that another process can load its sessions: the prompts it had, one JSON string a line.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "it only runs in tests")]
#![expect(clippy::disallowed_methods, reason = "it is a program of its own")]

use std::fs;
use std::io::{self, Lines, StdinLock, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

struct Fake {
    lines: Lines<StdinLock<'static>>,
    state: PathBuf,
    messages: u32,
}

fn main() {
    let home = PathBuf::from(std::env::var("HOME").unwrap());
    let state = home.join(".fake");
    fs::create_dir_all(&state).unwrap();
    append(&state.join("starts"), "start");
    Fake { lines: io::stdin().lines(), state, messages: 0 }.serve();
}

fn append(path: &PathBuf, line: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn send(message: &Value) {
    println!("{message}");
    io::stdout().flush().unwrap();
}

fn update(update: &Value) {
    let params = json!({"sessionId": "any", "update": update});
    send(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}));
}

fn chunk(kind: &str, message: &str, text: &str) {
    let content = json!({"type": "text", "text": text});
    update(&json!({"sessionUpdate": kind, "messageId": message, "content": content}));
}

impl Fake {
    fn serve(mut self) {
        while let Some(message) = self.receive() {
            let id = &message["id"];
            let answer =
                |result: Value| send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
            let params = &message["params"];
            match message["method"].as_str() {
                Some("initialize") => answer(json!({
                    "protocolVersion": 1, "agentCapabilities": {"loadSession": true},
                })),
                Some("session/new") => {
                    let session = format!("fake-{}", std::process::id());
                    fs::write(self.state.join(&session), "").unwrap();
                    answer(json!({"sessionId": session, "configOptions": options()}));
                }
                Some("session/load") => {
                    let session = params["sessionId"].as_str().unwrap();
                    let Ok(prompts) = fs::read_to_string(self.state.join(session)) else {
                        let error = json!({"code": -32603, "message": "no such session"});
                        send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                        continue;
                    };
                    for (number, prompt) in prompts.lines().enumerate() {
                        let prompt: String = serde_json::from_str(prompt).unwrap();
                        chunk("user_message_chunk", &format!("u{number}"), &prompt);
                        chunk("agent_message_chunk", &format!("a{number}"), "replayed");
                    }
                    answer(json!({"configOptions": options()}));
                }
                Some("session/set_config_option") => {
                    append(&self.state.join("models"), params["value"].as_str().unwrap());
                    answer(json!({"configOptions": options()}));
                }
                Some("session/prompt") => {
                    let outcome = self.prompt(params);
                    send(&match outcome {
                        Ok(reason) => json!({"jsonrpc": "2.0", "id": id, "result": {
                            "stopReason": reason, "usage": {"inputTokens": 10, "outputTokens": 2},
                        }}),
                        Err(message) => json!({
                            "jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": message},
                        }),
                    });
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Option<Value> {
        Some(serde_json::from_str(&self.lines.next()?.unwrap()).unwrap())
    }

    fn prompt(&mut self, params: &Value) -> Result<&'static str, String> {
        let texts = params["prompt"].as_array().unwrap().iter();
        let text = texts.filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n");
        let session = self.state.join(params["sessionId"].as_str().unwrap());
        append(&session, &json!(text).to_string());
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "say" => self.speak("agent_message_chunk", rest),
                "think" => self.speak("agent_thought_chunk", rest),
                "tool" => tool(rest, "completed"),
                "open" => tool(rest, "in_progress"),
                "ask" => self.ask(rest),
                "file" => self.want_a_file(),
                "error" => return Err(rest.to_owned()),
                "forget" => fs::remove_file(&session).unwrap(),
                "crash" => {
                    eprintln!("about to crash");
                    std::process::exit(rest.parse().unwrap());
                }
                "hang" => {
                    while self.receive().unwrap()["method"] != "session/cancel" {}
                    return Ok("cancelled");
                }
                "deaf" => {
                    let mut child = std::process::Command::new("sleep");
                    child.arg("1000").spawn().unwrap().wait().unwrap();
                }
                _ => {}
            }
        }
        Ok("end_turn")
    }

    fn speak(&mut self, kind: &str, text: &str) {
        self.messages += 1;
        let message = format!("m{}", self.messages);
        for word in text.split_inclusive(' ') {
            chunk(kind, &message, word);
        }
    }

    fn ask(&mut self, name: &str) {
        let call = json!({
            "toolCallId": "asked", "title": name, "status": "pending", "rawInput": {"asked": true},
        });
        let options = json!([
            {"optionId": "r", "kind": "reject_once"}, {"optionId": "a", "kind": "allow_once"},
        ]);
        let params = json!({"sessionId": "any", "toolCall": call, "options": options});
        let method = "session/request_permission";
        send(&json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}));
        let answer = self.receive().unwrap();
        let output = answer["result"]["outcome"]["optionId"].as_str().unwrap_or("nothing");
        update(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": "asked", "status": "completed",
            "rawOutput": {"output": output},
        }));
    }

    fn want_a_file(&mut self) {
        let params = json!({"sessionId": "any", "path": "/etc/passwd", "content": "gone"});
        let method = "fs/write_text_file";
        send(&json!({"jsonrpc": "2.0", "id": "f", "method": method, "params": params}));
        let answer = self.receive().unwrap();
        self.speak("agent_message_chunk", &answer["error"]["code"].to_string());
    }
}

fn options() -> Value {
    json!([{
        "id": "model", "category": "model", "currentValue": "fake/first",
        "options": [{"value": "fake/first"}, {"value": "fake/second"}],
    }])
}

/// As opencode tells it: first without input.
fn tool(name: &str, last: &str) {
    let input = json!({"command": name});
    update(&json!({
        "sessionUpdate": "tool_call", "toolCallId": name, "title": name, "status": "pending",
        "rawInput": {},
    }));
    update(&json!({
        "sessionUpdate": "tool_call_update", "toolCallId": name, "status": "in_progress",
        "rawInput": input,
    }));
    if last == "completed" {
        update(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": name, "status": last,
            "rawOutput": {"output": "done"},
        }));
    }
}
