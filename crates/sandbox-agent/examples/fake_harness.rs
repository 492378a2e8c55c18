//! A harness for tests that is none: it speaks the Agent Client Protocol and does what the prompt's lines say, without any model.
//!
//! `say TEXT` · `think TEXT` · `tool NAME` · `ask NAME` (permission, with the whole input) · `want NAME` (permission as opencode asks for
//! it, and makes the call) · `twice NAME` (the same, asked twice) · `stubborn NAME` (asks and takes no answer) · `file` (wants a file of the
//! client) · `open NAME` (a call that never ends) · `forget` (the session) · `error TEXT` · `crash CODE` · `hang` (until cancelled) · `deaf`
//! (for ever, with a child of its own) · `scribble` (into the workspace, for ever, and not to be terminated) · `custom NAME {…}` (a tool of the server it was told of) · `give-up NAME {…}` (the same, but it
//! loses patience as soon as there is a file `impatient`)
//!
//! When a call is refused it ends the turn, and goes on with the next line when it is given a reminder. Calls that were made are lines
//! of the file `made`.
//!
//! While there is a file `slow` it takes its time to start.
//!
//! Its state lies below its home, so that another process can load its sessions: the prompts it had, one JSON string a line.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "it only runs in tests")]
#![expect(clippy::disallowed_methods, reason = "it is a program of its own")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

struct Fake {
    said: Receiver<Said>,
    says: Sender<Said>,
    server: Option<Server>,
    state: PathBuf,
    messages: u32,
    asked: u32,
    /// What is left of a prompt that ended with a refused call.
    rest: Vec<String>,
}

/// What comes in from either side.
enum Said {
    Client(Value),
    Server(Value),
}

/// The server of further tools, as the client told it.
struct Server {
    child: Child,
    calls: u64,
}

fn main() {
    let home = PathBuf::from(std::env::var("HOME").unwrap());
    let state = home.join(".fake");
    fs::create_dir_all(&state).unwrap();
    append(&state.join("starts"), "start");
    while state.join("slow").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let (says, said) = channel();
    read_lines(io::stdin(), says.clone(), Said::Client);
    Fake { said, says, server: None, state, messages: 0, asked: 0, rest: Vec::new() }.serve();
}

/// Hands on each line; at the end of the client's there is nothing more to do.
fn read_lines(from: impl Read + Send + 'static, to: Sender<Said>, as_said: fn(Value) -> Said) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let said = as_said(serde_json::from_str(&line.unwrap()).unwrap());
            let is_client = matches!(said, Said::Client(_));
            if to.send(said).is_err() && is_client {
                return;
            }
        }
        if matches!(as_said(Value::Null), Said::Client(_)) {
            std::process::exit(0);
        }
    });
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
                    "protocolVersion": 1,
                    "agentCapabilities": {
                        "loadSession": true, "sessionCapabilities": {"resume": {}},
                    },
                })),
                Some("session/new") => {
                    self.start_server(&params["mcpServers"]);
                    let session = format!("fake-{}", std::process::id());
                    fs::write(self.state.join(&session), "").unwrap();
                    answer(json!({"sessionId": session, "configOptions": options()}));
                }
                Some(method @ ("session/load" | "session/resume")) => {
                    append(&self.state.join("taken_up"), method);
                    self.start_server(&params["mcpServers"]);
                    let session = params["sessionId"].as_str().unwrap();
                    let Ok(prompts) = fs::read_to_string(self.state.join(session)) else {
                        let error = json!({"code": -32603, "message": "no such session"});
                        send(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                        continue;
                    };
                    let replayed = if method == "session/load" { prompts.as_str() } else { "" };
                    for (number, prompt) in replayed.lines().enumerate() {
                        let prompt: String = serde_json::from_str(prompt).unwrap();
                        chunk("user_message_chunk", &format!("u{number}"), &prompt);
                        chunk("agent_message_chunk", &format!("a{number}"), "replayed");
                    }
                    answer(json!({"configOptions": options()}));
                }
                Some("session/set_config_option") => {
                    let file = format!("{}s", params["configId"].as_str().unwrap());
                    append(&self.state.join(file), params["value"].as_str().unwrap());
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
        loop {
            if let Said::Client(message) = self.said.recv().ok()? {
                return Some(message);
            }
        }
    }

    fn start_server(&mut self, servers: &Value) {
        let Some(server) = servers.as_array().and_then(|servers| servers.first()) else { return };
        let arguments =
            server["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let mut command = Command::new(server["command"].as_str().unwrap());
        let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        read_lines(child.stdout.take().unwrap(), self.says.clone(), Said::Server);
        self.server = Some(Server { child, calls: 0 });
        let parameters = json!({"protocolVersion": "2025-03-26", "capabilities": {}});
        let greeting = self.ask_server("initialize", &parameters, false).unwrap();
        assert_eq!(greeting["result"]["protocolVersion"], "2025-03-26");
        self.tell_server(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        let tools = self.ask_server("tools/list", &json!({}), false).unwrap();
        append(&self.state.join("tools"), &tools["result"]["tools"].to_string());
    }

    fn tell_server(&mut self, message: &Value) {
        writeln!(self.server.as_mut().unwrap().child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Answers nothing when the client cancels the turn first, or patience is lost.
    fn ask_server(&mut self, method: &str, params: &Value, is_impatient: bool) -> Option<Value> {
        let server = self.server.as_mut().unwrap();
        server.calls += 1;
        let id = server.calls;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.tell_server(&request);
        loop {
            match self.said.recv_timeout(Duration::from_millis(20)) {
                Ok(Said::Server(answer)) if answer["id"] == id => return Some(answer),
                Ok(Said::Client(message)) if message["method"] != "session/cancel" => continue,
                Ok(Said::Server(_)) => continue,
                Err(_) if !(is_impatient && self.state.join("impatient").exists()) => continue,
                Ok(Said::Client(_)) | Err(_) => {}
            }
            let method = "notifications/cancelled";
            let params = json!({"requestId": id});
            self.tell_server(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
            return None;
        }
    }

    /// Calls one of the server's tools and tells it as opencode does. Answers whether there was a result.
    fn custom(&mut self, order: &str, is_impatient: bool) -> bool {
        let (name, input) = order.split_once(' ').unwrap_or((order, "{}"));
        let input: Value = serde_json::from_str(input).unwrap();
        let call = format!("client_{name}");
        begin(&call, &input);
        let parameters = json!({"name": name, "arguments": input, "_meta": {"progressToken": 7}});
        let answer = self.ask_server("tools/call", &parameters, is_impatient);
        let answer = answer.unwrap_or_default();
        let result = &answer["result"];
        let is_error = result.is_null() || result["isError"] == true;
        update(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": call,
            "status": if is_error { "failed" } else { "completed" },
            "rawOutput": {"output": result["content"][0]["text"]},
        }));
        if !answer["error"].is_null() {
            self.speak("agent_message_chunk", answer["error"]["message"].as_str().unwrap());
        }
        if !result.is_null() {
            append(&self.state.join("results"), &result.to_string());
        }
        !answer.is_null()
    }

    fn prompt(&mut self, params: &Value) -> Result<&'static str, String> {
        let texts = params["prompt"].as_array().unwrap().iter();
        let text = texts.filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n");
        let session = self.state.join(params["sessionId"].as_str().unwrap());
        append(&session, &json!(text).to_string());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if text.starts_with("<system-reminder>") {
            lines.append(&mut self.rest);
        }
        let mut lines = lines.into_iter();
        while let Some(line) = lines.next() {
            if let Some((_, order)) = line.split_once("Make exactly this call now: ") {
                let (name, input) = order.split_once(' ').unwrap();
                if self.want(name, &serde_json::from_str(input).unwrap(), 1).is_none() {
                    return Ok("end_turn");
                }
                continue;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "want" | "twice" => {
                    let input = json!({"command": rest});
                    match self.want(rest, &input, if word == "want" { 1 } else { 2 }) {
                        Some("allowed") => {}
                        Some(cancelled) => return Ok(cancelled),
                        None => {
                            self.rest = lines.collect();
                            return Ok("end_turn");
                        }
                    }
                }
                "custom" if !self.custom(rest, false) => return Ok("cancelled"),
                "give-up" => {
                    self.custom(rest, true);
                }
                "stubborn" => {
                    begin(rest, &json!({"command": rest}));
                    Self::request_leave(rest, &json!({"command": rest}));
                    while self.receive().is_some() {}
                }
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
                "scribble" => {
                    let mut child = Command::new("sh");
                    child.args([
                        "-c",
                        "trap '' TERM; while echo x >> scribbled; do sleep 0.01; done",
                    ]);
                    child.spawn().unwrap().wait().unwrap();
                }
                "deaf" => {
                    let mut child = Command::new("sleep");
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

    /// As opencode does it: first a part of the input, then the request in words of its own, then the whole input. Answers the reason
    /// to end the turn with if it is cancelled, nothing if the call is refused.
    fn want(&mut self, name: &str, input: &Value, times: u32) -> Option<&'static str> {
        self.asked += 1;
        let call = format!("wanted-{}", self.asked);
        update(&json!({
            "sessionUpdate": "tool_call", "toolCallId": call, "title": name, "status": "pending",
            "rawInput": {"cwd": "/"},
        }));
        for _ in 0..times {
            Self::request_leave(&call, &json!({"title": "in other words"}));
            update(&json!({
                "sessionUpdate": "tool_call_update", "toolCallId": call, "status": "in_progress",
                "title": "in other words", "rawInput": input,
            }));
            let mut cancelled = false;
            let answer = loop {
                let message = self.receive().unwrap();
                if message["id"] == 0 {
                    break message;
                }
                cancelled |= message["method"] == "session/cancel";
            };
            if answer["result"]["outcome"]["optionId"] != "a" {
                update(&json!({
                    "sessionUpdate": "tool_call_update", "toolCallId": call, "status": "failed",
                    "rawOutput": {"error": "rejected"},
                }));
                return cancelled.then_some("cancelled");
            }
        }
        append(&self.state.join("made"), &format!("{name} {input}"));
        update(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": call, "status": "completed",
            "rawOutput": {"output": "made"},
        }));
        Some("allowed")
    }

    fn request_leave(call: &str, input: &Value) {
        let call = json!({"toolCallId": call, "title": "a title", "rawInput": input});
        let options = json!([
            {"optionId": "r", "kind": "reject_once"}, {"optionId": "a", "kind": "allow_once"},
        ]);
        let params = json!({"sessionId": "any", "toolCall": call, "options": options});
        let method = "session/request_permission";
        send(&json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}));
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
    json!([
        {
            "id": "model", "category": "model", "currentValue": "fake/first",
            "options": [{"value": "fake/first"}, {"value": "fake/second"}],
        },
        {
            "id": "mode", "category": "mode", "currentValue": "free",
            "options": [{"value": "free"}, {"value": "asking"}],
        },
    ])
}

fn begin(call: &str, input: &Value) {
    update(&json!({
        "sessionUpdate": "tool_call", "toolCallId": call, "title": call, "status": "in_progress",
        "rawInput": input,
    }));
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
