//! `/v1/responses`, as Codex speaks it, and LiteLLM for everybody.

use serde_json::{Value, json};

use crate::demo::Demo;

const PATH: &str = "/v1/responses";

fn request(input: &Value) -> Value {
    let parameters = json!({"type": "object", "properties": {"cmd": {"type": "string"}}});
    json!({"model": "demo", "instructions": "be good", "input": input,
        "tools": [{"type": "function", "name": "exec_command", "parameters": parameters}]})
}

fn user(script: &str) -> Value {
    json!({"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": script}]})
}

#[tokio::test]
async fn a_tool_round_is_a_call_and_after_its_result_the_next_reply() {
    let demo = Demo::start();
    let script = "@write a.txt hi\n@say all done";

    let first = demo.whole(PATH, &request(&json!([user(script)]))).await;
    assert_eq!((&first["status"], &first["object"]), (&json!("completed"), &json!("response")));
    let call = &first["output"][0];
    assert_eq!(call["type"], "function_call");
    assert_eq!(call["name"], "exec_command");
    assert_eq!(call["arguments"], r#"{"cmd":"printf '%s' 'hi' > 'a.txt'"}"#);

    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": ""});
    let second = demo.whole(PATH, &request(&json!([user(script), call, output]))).await;
    assert_eq!(second["output"][0]["content"][0]["text"], "all done");
    assert_eq!(second["metadata"]["system_fingerprint"], "scripted-demo");
    let usage = &second["usage"];
    let sum = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    demo.stop().await;
}

#[tokio::test]
async fn a_stream_numbers_its_events_and_ends_with_the_whole_response() {
    let demo = Demo::start();
    let body = request(&json!([user("@say one two\n@run ls")]));
    let events = demo.streamed(PATH, &body).await;
    let kinds: Vec<&str> = events.iter().map(|(_, data)| data["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        assert_eq!(name.as_deref(), data["type"].as_str());
    }
    let completed = &events.last().unwrap().1["response"];
    assert_eq!(completed["output"][0]["content"][0]["text"], "one two");
    assert_eq!(completed["output"][1]["arguments"], r#"{"cmd":"ls"}"#);
    assert_eq!(completed["output"][1], events[12].1["item"]);
    assert!(completed["usage"]["output_tokens"].as_u64() > Some(2));
    demo.stop().await;
}

#[tokio::test]
async fn what_was_said_before_the_script_is_recalled() {
    let demo = Demo::start();
    let body = request(&json!([user("remember kumquat-7"), user(r"@recall kumquat-\d")]));
    let answer = demo.whole(PATH, &body).await;
    assert_eq!(answer["output"][0]["content"][0]["text"], "recalled: kumquat-7");
    demo.stop().await;
}
