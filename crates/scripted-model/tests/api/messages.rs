//! `/v1/messages`, as Claude Code speaks it.

use serde_json::{Value, json};

use crate::demo::Demo;

const PATH: &str = "/v1/messages";

fn request(messages: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}});
    json!({"model": "demo", "max_tokens": 100, "messages": messages,
        "tools": [{"name": "Bash", "input_schema": schema}]})
}

fn asked(script: &str) -> Value {
    request(&json!([{"role": "user", "content": script}]))
}

#[tokio::test]
async fn a_tool_round_is_a_call_and_after_its_result_the_next_reply() {
    let demo = Demo::start();
    let script = "@say look\n@run ls\n@say all done";

    let first = demo.whole(PATH, &asked(script)).await;
    assert_eq!(first["stop_reason"], "tool_use");
    assert_eq!(first["content"][0], json!({"type": "text", "text": "look"}));
    let call = &first["content"][1];
    assert_eq!((&call["name"], &call["input"]), (&json!("Bash"), &json!({"command": "ls"})));

    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "ok"});
    let second = demo
        .whole(
            PATH,
            &request(&json!([
                {"role": "user", "content": script},
                {"role": "assistant", "content": first["content"]},
                {"role": "user", "content": [result]},
            ])),
        )
        .await;
    assert_eq!(second["stop_reason"], "end_turn");
    assert_eq!(second["content"], json!([{"type": "text", "text": "all done"}]));
    assert!(second["id"].as_str().unwrap().starts_with("demo-scripted-"));
    assert!(second["usage"]["input_tokens"].as_u64() > Some(0));
    demo.stop().await;
}

#[tokio::test]
async fn a_stream_opens_fills_and_closes_each_block() {
    let demo = Demo::start();
    let events = demo.streamed(PATH, &asked("@say one two\n@run ls")).await;
    for (name, data) in &events {
        assert_eq!(name.as_deref(), data["type"].as_str(), "the event line repeats the type");
    }
    let shape: Vec<String> = events
        .iter()
        .map(|(_, data)| {
            let kind = data["type"].as_str().unwrap();
            data["index"].as_u64().map_or(kind.to_owned(), |index| format!("{kind} {index}"))
        })
        .collect();
    assert_eq!(
        shape,
        [
            "message_start",
            "content_block_start 0",
            "content_block_delta 0",
            "content_block_delta 0",
            "content_block_stop 0",
            "content_block_start 1",
            "content_block_delta 1",
            "content_block_stop 1",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[3].1["delta"], json!({"type": "text_delta", "text": "two"}));
    assert_eq!(
        events[6].1["delta"],
        json!({"type": "input_json_delta", "partial_json": r#"{"command":"ls"}"#})
    );
    assert_eq!(events[8].1["delta"]["stop_reason"], "tool_use");
    assert!(events[8].1["usage"]["output_tokens"].as_u64() > Some(2));
    demo.stop().await;
}

#[tokio::test]
async fn a_stream_of_a_call_alone_has_no_text_block() {
    let demo = Demo::start();
    let events = demo.streamed(PATH, &asked("@run ls")).await;
    assert_eq!(events[1].1["content_block"]["type"], "tool_use");
    assert_eq!(events[1].1["index"], 0);
    demo.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_without_running_the_script() {
    let demo = Demo::start();
    let counted = demo.whole("/v1/messages/count_tokens", &asked("@fail 500")).await;
    assert!(counted["input_tokens"].as_u64() > Some(0));
    demo.stop().await;
}

#[tokio::test]
async fn a_scripted_failure_comes_in_the_error_envelope_of_the_api() {
    let demo = Demo::start();
    let response = demo.send(PATH, &asked("@fail 529")).await;
    assert_eq!(response.status(), 529);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["message"], "the script asked for a failure: @fail 529");
    demo.stop().await;
}
