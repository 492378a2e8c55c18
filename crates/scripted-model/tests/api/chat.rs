//! `/v1/chat/completions`, as opencode speaks it.

use serde_json::{Value, json};

use crate::demo::{Demo, Event};

const PATH: &str = "/v1/chat/completions";

fn request(messages: &Value) -> Value {
    let parameters = json!({"type": "object", "required": ["command", "description"],
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}}});
    json!({"model": "demo", "messages": messages,
        "tools": [{"type": "function", "function": {"name": "bash", "parameters": parameters}}]})
}

fn asked(script: &str) -> Value {
    request(&json!([{"role": "user", "content": script}]))
}

/// The same conversation after the agent ran the call it was given.
fn after_result(script: &str, call: &Value) -> Value {
    request(&json!([
        {"role": "user", "content": script},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "ok"},
    ]))
}

/// The text of each chunk that has any.
fn contents(events: &[Event]) -> Vec<&str> {
    let texts = events
        .iter()
        .filter_map(|(_, data)| data.pointer("/choices/0/delta/content").and_then(Value::as_str));
    texts.filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn a_tool_round_is_a_call_and_after_its_result_the_next_reply() {
    let demo = Demo::start();
    let script = "@run ls\n@say all done";

    let first = demo.whole(PATH, &asked(script)).await;
    let call = &first["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(call["function"]["name"], "bash");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"command": "ls", "description": "scripted"}));

    let second = demo.whole(PATH, &after_result(script, call)).await;
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
    assert_eq!(second["choices"][0]["message"]["content"], "all done");
    assert!(second["usage"]["prompt_tokens"].as_u64() > Some(0));
    assert_eq!(second["usage"]["completion_tokens"], 2);
    demo.stop().await;
}

#[tokio::test]
async fn a_streamed_text_comes_a_word_per_chunk_and_ends_with_usage() {
    let demo = Demo::start();
    let events = demo.streamed(PATH, &asked("@say one two three")).await;
    assert_eq!(contents(&events), ["one ", "two ", "three"]);

    let (_, opening) = &events[0];
    assert_eq!(opening["object"], "chat.completion.chunk");
    assert_eq!(opening["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let [.., (_, finish), (_, usage), (_, done)] = events.as_slice() else { panic!("too short") };
    assert_eq!(finish["choices"][0], json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert_eq!(*done, json!("[DONE]"));
    demo.stop().await;
}

#[tokio::test]
async fn a_streamed_call_comes_whole_in_one_chunk() {
    let demo = Demo::start();
    let events = demo.streamed(PATH, &asked("@say look\n@run ls")).await;
    let called: Vec<&Value> = events
        .iter()
        .map(|(_, data)| &data["choices"][0]["delta"]["tool_calls"])
        .filter(|calls| !calls.is_null())
        .collect();
    assert_eq!(contents(&events), ["look"]);
    assert_eq!(called.len(), 1);
    assert_eq!(called[0][0]["index"], 0);
    assert_eq!(called[0][0]["function"]["name"], "bash");
    let finish = &events[events.len() - 3].1;
    assert_eq!(finish["choices"][0]["finish_reason"], "tool_calls");
    demo.stop().await;
}

#[tokio::test]
async fn each_numbered_word_leaves_by_itself_and_says_when() {
    let demo = Demo::start();
    let events = demo.streamed(PATH, &asked("@stream 4 20")).await;
    let stamps: Vec<(String, u64)> = contents(&events)
        .iter()
        .map(|word| {
            let (number, stamp) = word.trim_end().split_once('@').unwrap();
            (number.to_owned(), stamp.parse().unwrap())
        })
        .collect();
    let numbers: Vec<&str> = stamps.iter().map(|(number, _)| number.as_str()).collect();
    assert_eq!(numbers, ["w1", "w2", "w3", "w4"]);
    let took = stamps[3].1 - stamps[0].1;
    assert!(took >= 55_000, "three pauses of 20 ms took {took} µs");
    demo.stop().await;
}

#[tokio::test]
async fn the_same_request_gets_the_same_ids_and_they_name_the_demo() {
    let demo = Demo::start();
    let first = demo.whole(PATH, &asked("@run ls")).await;
    let again = demo.whole(PATH, &asked("@run ls")).await;
    let other = demo.whole(PATH, &asked("@run pwd")).await;
    let ids = |answer: &Value| {
        (answer["id"].clone(), answer["choices"][0]["message"]["tool_calls"][0]["id"].clone())
    };
    assert_eq!(ids(&first), ids(&again));
    assert_ne!(ids(&first), ids(&other));
    assert!(first["id"].as_str().unwrap().starts_with("demo-scripted-"));
    assert_eq!(first["system_fingerprint"], "scripted-demo");
    demo.stop().await;
}

#[tokio::test]
async fn a_request_without_tools_is_a_side_call_and_does_not_run_the_script() {
    let demo = Demo::start();
    let mut side_call = asked("@fail 500");
    side_call.as_object_mut().unwrap().remove("tools");
    let answer = demo.whole(PATH, &side_call).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "Scripted demo session");
    demo.stop().await;
}
