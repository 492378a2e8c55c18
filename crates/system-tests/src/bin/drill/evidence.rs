//! What is known of one session at the end: what was asked, what the log says, what the stream showed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use system_tests::{GaveUp, Reply};

use crate::reader::Sight;
use crate::script::Script;

#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) number: u32,
    pub(crate) session: String,
    /// Told in the first turn.
    pub(crate) word: String,
    /// In the order in which it was accepted.
    pub(crate) asked: Vec<Asked>,
    pub(crate) log: Vec<Value>,
    pub(crate) sight: Sight,
    /// Ids and types of the events in its sandboxes' journals, where those can be read.
    pub(crate) journalled: Vec<(String, String)>,
    /// What the user could not do at all.
    pub(crate) trouble: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Message(Script),
    Interrupt,
}

impl What {
    /// As the API takes it.
    pub(crate) fn event(&self) -> Value {
        match self {
            Self::Message(script) => {
                let content = json!([{ "type": "text", "text": script.text() }]);
                json!({ "type": "user.message", "content": content })
            }
            Self::Interrupt => json!({ "type": "user.interrupt" }),
        }
    }
}

/// Something a user sent, and what the platform answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) what: What,
    /// The id under which it was accepted.
    event: Option<String>,
    tries: u32,
    answer: String,
}

impl Asked {
    /// `position` is its place in the request.
    pub(crate) fn new(what: What, position: usize, reply: &Result<Reply, GaveUp>) -> Self {
        match reply {
            Ok(Reply { status, body, tries }) => {
                let event = body["data"][position]["id"].as_str().map(str::to_owned);
                Self { what, event, tries: *tries, answer: status.to_string() }
            }
            Err(failure) => Self { what, event: None, tries: 0, answer: failure.to_string() },
        }
    }

    /// What was accepted at the first try; for tests of the judge.
    #[cfg(test)]
    pub(crate) fn accepted(what: What, event: &str) -> Self {
        Self { what, event: Some(event.to_owned()), tries: 1, answer: "200".to_owned() }
    }

    pub(crate) fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    pub(crate) fn opens_a_turn(&self) -> bool {
        matches!(self.what, What::Message(_))
    }

    pub(crate) fn answer(&self) -> &str {
        &self.answer
    }
}

impl Evidence {
    /// Writes everything into files, for somebody who looks for the reason of a violation.
    pub(crate) fn keep(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let lines = |events: &[Value]| {
            let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
            lines.join("\n")
        };
        let asked = |asked: &Asked| {
            let text = match &asked.what {
                What::Message(script) => script.text(),
                What::Interrupt => "(interrupt)".to_owned(),
            };
            let Asked { event, tries, answer, .. } = asked;
            json!({ "event": event, "tries": tries, "answer": answer, "text": text })
        };
        let asked: Vec<Value> = self.asked.iter().map(asked).collect();
        let file = |kind: &str| folder.join(format!("session-{}.{kind}.jsonl", self.number));
        fs::write(file("log"), lines(&self.log))?;
        fs::write(file("stream"), lines(&self.sight.events))?;
        fs::write(file("asked"), lines(&asked))
    }
}
