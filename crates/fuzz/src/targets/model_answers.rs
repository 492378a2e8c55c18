//! A model's answer, of which the tokens are counted while it passes.

use platform_core::session::ModelUsage;
use vault_proxy::model::usage::{Dialect, UsageMeter};

use crate::Target;

pub const TARGET: Target = Target {
    name: "model_answers",
    check,
    words: &[
        "data: ",
        "\n\n",
        "\r\n",
        "[DONE]",
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        r#"{"type":"message_start","message":{"usage":{"input_tokens":3}}}"#,
        r#"{"type":"message_delta","usage":{"output_tokens":4}}"#,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":6}}}"#,
        r#"{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":8}}"#,
        "18446744073709551615",
        r#""prompt_tokens_details":{"cached_tokens":9}"#,
    ],
};

/// The first byte says in whose words the answer is, the second one how it is cut, which may change nothing.
fn check(input: &[u8]) {
    let [kind, size, answer @ ..] = input else { return };
    let dialect = match kind % 4 {
        0 => Dialect::Chat,
        1 => Dialect::Responses,
        2 => Dialect::Messages,
        _ => Dialect::Gemini,
    };
    let is_stream = kind & 4 != 0;
    let in_pieces = count(dialect, is_stream, answer.chunks(usize::from(size % 32) + 1));
    let whole = count(dialect, is_stream, [answer].into_iter());
    assert_eq!(in_pieces, whole, "it matters how the answer is cut");
}

fn count<'a>(
    dialect: Dialect,
    is_stream: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Option<ModelUsage>, bool) {
    let mut meter = UsageMeter::new(dialect, is_stream);
    pieces.for_each(|piece| meter.push(piece));
    (meter.finish(), meter.has_ended())
}
