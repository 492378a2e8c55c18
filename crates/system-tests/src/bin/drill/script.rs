//! What a user asks of the demo model: numbered text and numbered side effects, so that each can be found again.

use std::fmt::Write;

use crate::choices::Choices;

/// The file in the workspace in which every tool call leaves its number.
pub(crate) const LEDGER: &str = "ledger.txt";

/// What a tool call prints when it has come to its end: one that was aborted may be called no error.
pub(crate) const DONE: &str = "done:";

/// One step of a turn. Labels look like `s3.t7.c2`: session, turn, and the call or piece of text in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Text that appears at once.
    Say { label: String },
    /// Text that takes its time: numbered words behind the label.
    Stream { label: String, words: u32, pause: u32 },
    /// A tool call that writes its label into the ledger, and takes some time before or after that.
    Call { label: String, before: u32, after: u32 },
}

/// The message that opens a turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Script {
    /// Said by the user in plain words; the model does nothing about it but remember.
    pub(crate) told: Option<String>,
    pub(crate) steps: Vec<Step>,
    /// Asks for the word that was told, and for the ledger.
    pub(crate) is_last: bool,
}

impl Script {
    /// A turn of one to five steps.
    pub(crate) fn choose(session: u32, turn: u32, choices: &mut Choices) -> Self {
        let count = choices.number(1..=5);
        let step = |number| {
            let text = format!("s{session}.t{turn}.p{number}");
            match choices.number(1..=10) {
                1..=2 => Step::Say { label: text },
                3..=5 => {
                    let (words, pause) = (choices.number(5..=40), choices.number(10..=120));
                    Step::Stream { label: text, words, pause }
                }
                _ => Step::Call {
                    label: format!("s{session}.t{turn}.c{number}"),
                    before: choices.number(0..=10) / 10,
                    after: choices.number(0..=12) / 4,
                },
            }
        };
        Self { steps: (1..=count).map(step).collect(), ..Self::default() }
    }

    /// The turn that asks what is left of the session.
    pub(crate) fn last() -> Self {
        Self { is_last: true, ..Self::default() }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.told.iter().fold(String::new(), |text, told| text + told + "\n");
        for step in &self.steps {
            let line = match step {
                Step::Say { label } => format!("@say {label}"),
                Step::Stream { label, words, pause } => {
                    format!("@say {label}\n@stream {words} {pause}")
                }
                Step::Call { label, before, after } => {
                    format!(
                        "@run sleep {before}; echo {label} >> {LEDGER}; sleep {after}; echo {DONE} {label}"
                    )
                }
            };
            writeln!(text, "{line}").ok();
        }
        if self.is_last {
            writeln!(text, "@recall {WORD_PATTERN}\n@run touch {LEDGER}; cat {LEDGER}").ok();
        }
        text
    }

    /// The labels of the tool calls, in order.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Call { label, .. } => Some(label.as_str()),
            Step::Say { .. } | Step::Stream { .. } => None,
        })
    }
}

/// A word that only the agent's memory of its first turn knows.
pub(crate) fn word(session: u32, choices: &mut Choices) -> String {
    format!("kestrel{session}x{}", choices.number(1000..=9999))
}

const WORD_PATTERN: &str = "kestrel[0-9]+x[0-9]+";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_the_demo_model_reads() {
        let call = Step::Call { label: "s1.t2.c2".to_owned(), before: 0, after: 3 };
        let stream = Step::Stream { label: "s1.t2.p1".to_owned(), words: 5, pause: 20 };
        let told = Some("the word is kestrel1x2".to_owned());
        let script = Script { told, steps: vec![stream, call], is_last: false };
        assert_eq!(
            script.text(),
            "the word is kestrel1x2\n@say s1.t2.p1\n@stream 5 20\n@run sleep 0; echo s1.t2.c2 >> ledger.txt; sleep 3; echo done: s1.t2.c2\n"
        );
        assert_eq!(script.calls().collect::<Vec<_>>(), ["s1.t2.c2"]);
    }
}
