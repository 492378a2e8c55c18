//! Chat calls from a sandbox, which are made to tell their tokens.

use serde_json::{Map, Value};
use vault_proxy::model::asking_for_usage;

use crate::Target;

pub const TARGET: Target = Target {
    name: "chat_bodies",
    check,
    words: &[
        "{",
        "}",
        ",",
        r#""stream":true"#,
        r#""stream":false"#,
        r#""stream_options":"#,
        r#""stream\u005foptions":null"#,
        r#"{"include_usage":false}"#,
        r#"{"include_usage":true}"#,
        r#""messages":[{"role":"user","content":"stream_options"}]"#,
        "null",
        " ",
    ],
};

/// Whatever passes as a stream asks for usage, as a reader sees it for whom the last of equal keys counts.
fn check(input: &[u8]) {
    let Ok(body) = asking_for_usage(input) else { return };
    // What is no JSON after all, as with bytes that are no text, LiteLLM refuses.
    let Ok(before) = serde_json::from_slice::<Map<String, Value>>(input) else { return };
    let Ok(asked) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        panic!("it is no JSON object any more")
    };
    if before.get("stream") == Some(&Value::Bool(true)) {
        let usage = asked.get("stream_options").and_then(|options| options.get("include_usage"));
        assert_eq!(usage, Some(&Value::Bool(true)), "its tokens would not be told");
    }
    let others = |map: &Map<String, Value>| {
        let others = map.iter().filter(|(key, _)| *key != "stream_options");
        others.map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>()
    };
    assert_eq!(others(&before), others(&asked), "something else of it changed");
}
