//! The script language: text in, replies out. Pure.

use std::{str::FromStr, time::Duration};

use regex::Regex;
use serde_json::{Map, Value};

/// One line of a script that means something.
#[derive(Debug, Clone)]
pub enum Directive {
    Say(String),
    Run {
        command: String,
    },
    Write {
        path: String,
        text: String,
    },
    /// A call of any tool that the request offers.
    Tool {
        name: String,
        arguments: Map<String, Value>,
    },
    Sleep(Duration),
    /// The whole reply is this HTTP status.
    Fail(u16),
    /// That many numbered words, one after each pause.
    Stream {
        words: u32,
        pause: Duration,
    },
    Recall(Regex),
    /// The reply never comes.
    Hang,
    /// A directive that cannot be carried out as written. Said aloud, so that a typing mistake in a
    /// script does not look like a fault of the platform.
    Unreadable(DirectiveError),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {line:?}: expected {expected}")]
pub struct DirectiveError {
    line: String,
    expected: &'static str,
}

/// What one request is answered with: any number of directives, of which at most the last one calls
/// a tool.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub directives: Vec<Directive>,
}

impl Directive {
    /// Reads a line, or answers `None` when it is ordinary text.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let directive = match name {
            "@say" => Some(Self::Say(rest.to_owned())),
            "@run" => (!rest.is_empty()).then(|| Self::Run { command: rest.to_owned() }),
            "@write" => parse_write(rest),
            "@tool" => parse_tool(rest),
            "@sleep" => parse_milliseconds(rest).map(Self::Sleep),
            "@fail" => parse_status(rest).map(Self::Fail),
            "@stream" => parse_stream(rest),
            "@recall" if rest.is_empty() => None,
            "@recall" => Regex::new(rest).ok().map(Self::Recall),
            "@hang" => Some(Self::Hang),
            _ => return None,
        };
        Some(directive.unwrap_or_else(|| {
            Self::Unreadable(DirectiveError { line: line.to_owned(), expected: usage_of(name) })
        }))
    }

    /// Whether the agent has to act, and send the result, before the script goes on.
    pub fn calls_a_tool(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Write { .. } | Self::Tool { .. })
    }
}

/// Cuts a script into replies: each ends with its first tool call, what is left over is the last.
///
/// Lines that are no directives are passed over; a text without any gives no replies.
pub fn replies(text: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut reply = Reply::default();
    for directive in text.lines().filter_map(Directive::parse) {
        let ends_reply = directive.calls_a_tool();
        reply.directives.push(directive);
        if ends_reply {
            replies.push(std::mem::take(&mut reply));
        }
    }
    if !reply.directives.is_empty() {
        replies.push(reply);
    }
    replies
}

fn usage_of(name: &str) -> &'static str {
    match name {
        "@run" => "@run COMMAND",
        "@write" => "@write PATH TEXT",
        "@tool" => "@tool NAME {\"argument\": …}",
        "@sleep" => "@sleep MILLISECONDS",
        "@fail" => "@fail STATUS, from 400 to 599",
        "@stream" => "@stream WORDS MILLISECONDS",
        _ => "@recall REGULAR_EXPRESSION",
    }
}

fn parse_write(rest: &str) -> Option<Directive> {
    let (path, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    (!path.is_empty())
        .then(|| Directive::Write { path: path.to_owned(), text: text.trim_start().to_owned() })
}

fn parse_tool(rest: &str) -> Option<Directive> {
    let (name, json) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let json = json.trim();
    let arguments = if json.is_empty() { Map::new() } else { serde_json::from_str(json).ok()? };
    (!name.is_empty()).then(|| Directive::Tool { name: name.to_owned(), arguments })
}

fn parse_milliseconds(text: &str) -> Option<Duration> {
    u64::from_str(text).ok().map(Duration::from_millis)
}

fn parse_status(text: &str) -> Option<u16> {
    u16::from_str(text).ok().filter(|status| (400..=599).contains(status))
}

fn parse_stream(rest: &str) -> Option<Directive> {
    let (words, pause) = rest.split_once(char::is_whitespace)?;
    Some(Directive::Stream { words: words.parse().ok()?, pause: parse_milliseconds(pause.trim())? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> Vec<Vec<String>> {
        let line = |directive: &Directive| format!("{directive:?}");
        replies(text).iter().map(|reply| reply.directives.iter().map(line).collect()).collect()
    }

    fn complaint(line: &str) -> String {
        match Directive::parse(line) {
            Some(Directive::Unreadable(error)) => error.to_string(),
            other => panic!("{line} was read as {other:?}"),
        }
    }

    #[test]
    fn each_reply_ends_with_its_first_tool_call_and_the_rest_is_the_last_reply() {
        let cut = shown("@say one\n@run ls -l\n@write a/b.txt hello  there\n@sleep 5\n@say done");
        assert_eq!(
            cut,
            [
                vec![r#"Say("one")"#, r#"Run { command: "ls -l" }"#],
                vec![r#"Write { path: "a/b.txt", text: "hello  there" }"#],
                vec!["Sleep(5ms)", r#"Say("done")"#],
            ]
        );
    }

    #[test]
    fn a_script_that_ends_with_a_tool_call_has_no_empty_reply_behind_it() {
        assert_eq!(replies("@run true").len(), 1);
    }

    #[test]
    fn text_without_directives_gives_no_replies() {
        assert!(replies("please write to bob@example.com\n@bob will know\n@sayhello").is_empty());
    }

    #[test]
    fn lines_that_are_no_directives_are_passed_over() {
        let cut = shown("Please do this:\n  @say indented\n```\nthanks");
        assert_eq!(cut, [vec![r#"Say("indented")"#]]);
    }

    #[test]
    fn a_tool_takes_a_json_object_or_nothing() {
        let Some(Directive::Tool { name, arguments }) = Directive::parse(r#"@tool add {"a": 1}"#)
        else {
            panic!("not a tool")
        };
        assert_eq!((name.as_str(), Value::Object(arguments)), ("add", json!({"a": 1})));
        assert!(matches!(Directive::parse("@tool ping"), Some(Directive::Tool { .. })));
        assert!(complaint("@tool add [1]").contains("@tool NAME"));
    }

    #[test]
    fn a_mistyped_directive_is_kept_as_a_complaint_that_shows_its_usage() {
        assert_eq!(
            complaint("@sleep soon"),
            r#"cannot read "@sleep soon": expected @sleep MILLISECONDS"#
        );
        for line in ["@run", "@write", "@fail 200", "@fail x", "@stream 5", "@recall", "@recall ("]
        {
            assert!(complaint(line).starts_with("cannot read"), "{line}");
        }
    }

    #[test]
    fn a_stream_takes_a_count_and_a_pause_that_may_be_zero() {
        assert_eq!(shown("@stream 3 0"), [vec!["Stream { words: 3, pause: 0ns }"]]);
    }
}
