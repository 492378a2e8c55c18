//! Lines of the Agent Client Protocol, from the harness's standard output to journal entries and previews.

use crate::Target;
use crate::supervise::turn;

pub const TARGET: Target = Target {
    name: "acp_lines",
    check: turn::check,
    words: &[
        "\n",
        r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"sessionUpdate":"#,
        r#""agent_message_chunk","content":{"type":"text","text":"a"}}}}"#,
        r#""agent_thought_chunk","messageId":"m","content":{"type":"text","text":"b"}}}}"#,
        r#""tool_call","toolCallId":"c","title":"bash","status":"pending"}}}"#,
        r#""tool_call_update","toolCallId":"c","status":"completed"}}}"#,
        r#","rawInput":{"command":"ls"}"#,
        r#","rawOutput":{"output":"x"}"#,
        r#""status":"in_progress""#,
        r#""status":"failed""#,
        r#""title":"client_add""#,
        r#""title":"write""#,
        r#"{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"toolCall":{"toolCallId":"c"}}}"#,
        r#"{"id":1,"result":{"stopReason":"end_turn"}}"#,
    ],
};
