//! A chat call that streams is asked to tell its tokens, because that dialect keeps them to itself otherwise.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Why a body cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is no JSON object in which each key stands once")]
pub struct UnreadableBody;

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    stream_options: Asks,
}

/// Whether the key is there at all, however it is spelt, and then what it holds.
#[derive(Default)]
enum Asks {
    #[default]
    Absent,
    Null,
    Options(StreamOptions),
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Asks, D::Error> {
    Ok(Option::deserialize(deserializer)?.map_or(Asks::Null, Asks::Options))
}

/// The body as it asks for usage; the same one when it does so already or does not stream.
pub fn asking_for_usage(body: &[u8]) -> Result<Cow<'_, [u8]>, UnreadableBody> {
    // A list would be read as the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(UnreadableBody);
    }
    let head: Head = serde_json::from_slice(body).map_err(|_unreadable| UnreadableBody)?;
    if head.stream != Some(true) {
        return Ok(Cow::Borrowed(body));
    }
    match head.stream_options {
        Asks::Absent => return Ok(Cow::Owned(with_options(body))),
        Asks::Options(StreamOptions { include_usage: Some(true) }) => {
            return Ok(Cow::Borrowed(body));
        }
        Asks::Null | Asks::Options(StreamOptions { include_usage: Some(false) | None }) => {}
    }
    let mut object: serde_json::Map<String, Value> =
        serde_json::from_slice(body).map_err(|_unreadable| UnreadableBody)?;
    let options = object.entry("stream_options").or_insert(Value::Null);
    if !options.is_object() {
        *options = Value::Object(serde_json::Map::new());
    }
    if let Some(options) = options.as_object_mut() {
        options.insert("include_usage".to_owned(), true.into());
    }
    serde_json::to_vec(&object).map(Cow::Owned).map_err(|_unwritable| UnreadableBody)
}

/// Put in as text, so that nothing else of the body is written anew.
fn with_options(body: &[u8]) -> Vec<u8> {
    let begin = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
    let (before, after) = body.split_at(begin);
    [before, b"\"stream_options\":{\"include_usage\":true},", after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> String {
        String::from_utf8(asking_for_usage(body.as_bytes()).unwrap().into_owned()).unwrap()
    }

    #[test]
    fn usage_is_asked_for_only_where_it_is_not() {
        for same in [
            r#"{"model":"demo"}"#,
            r#"{"stream":false}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        ] {
            assert_eq!(asked(same), same);
        }
        assert_eq!(
            asked(r#" {"stream":true,"n":1.50}"#),
            r#" {"stream_options":{"include_usage":true},"stream":true,"n":1.50}"#
        );
        assert_eq!(
            asked(r#"{"stream":true,"stream_options":{"a":1,"include_usage":false}}"#),
            r#"{"stream":true,"stream_options":{"a":1,"include_usage":true}}"#
        );
        assert_eq!(
            asked(r#"{"stream":true,"stream\u005foptions":null}"#),
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert_eq!(
            asked(r#"{"stream":true,"stream_options":null}"#),
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn a_body_that_two_readers_may_read_differently_is_refused() {
        for body in [r#"{"stream":false,"stream":true}"#, "[]", "", "{"] {
            assert_eq!(asking_for_usage(body.as_bytes()), Err(UnreadableBody), "{body}");
        }
    }
}
