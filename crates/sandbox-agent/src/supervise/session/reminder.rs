//! What a harness is told in the middle of a turn that is not the user's words: marked as such, in a tag that agents know.

use std::fmt::Write;

use platform_core::id::TurnId;
use platform_core::turn::{ActionAnswer, AnsweredAction};
use serde_json::{Map, Value};

use crate::supervise::translate::{Refused, denied};

/// Given in place of a prompt that the agent already has.
const REPLACED: &str = "Your sandbox was replaced while you were working on the last message. The files are as you left them, but every \
process that ran is gone, and a tool call that has no result may or may not have taken effect. Look before you repeat anything, then \
continue the work where it stopped.";

const CONTINUE: &str = "Continue the work where it stopped.";

const REFUSED: &str = "This call was not allowed and not made. Do not make it again; continue the work without it, or say what you need.";

const NO_TEXT: &str = "[content that is no text]";

/// For an agent that has the prompt of the turn, in a new sandbox.
pub(super) fn continuation(turn: TurnId, answers: &[AnsweredAction]) -> String {
    let mut said = String::from(REPLACED);
    if !answers.is_empty() {
        write!(said, "\n{}\n{CONTINUE}", answered(answers)).ok();
    }
    reminder(turn, &said)
}

/// For an agent that is given the prompt again because it has forgotten it.
pub(super) fn answers(turn: TurnId, answers: &[AnsweredAction]) -> Option<String> {
    (!answers.is_empty()).then(|| reminder(turn, &answered(answers)))
}

/// For an agent whose calls were refused.
pub(super) fn refusals(turn: TurnId, refused: &[Refused]) -> String {
    let mut said = String::from(REFUSED);
    for Refused { name, input, why } in refused {
        write!(said, "\n{}\nThe reason: {}", call(name, input), quoted(why)).ok();
    }
    reminder(turn, &said)
}

/// Whether the text is a reminder of this turn.
pub(super) fn is_of(turn: TurnId, text: &str) -> bool {
    text.trim_start().starts_with("<system-reminder>") && text.contains(&mark(turn))
}

/// The agent's calls that were answered while it was away. The wording of an order to make a call is also what the scripted model reads.
fn answered(answers: &[AnsweredAction]) -> String {
    let lines = answers.iter().map(|action| {
        let call = call(&action.name, &action.input);
        match &action.answer {
            ActionAnswer::Allow => {
                format!("The user has allowed a call of yours. Make exactly this call now: {call}")
            }
            ActionAnswer::Deny { message } => {
                let why = quoted(&denied(message.as_deref()));
                format!("This call was not allowed and not made: {call}\nThe reason: {why}")
            }
            ActionAnswer::Result { content, is_error } => {
                let texts = content.iter().map(|block| block.as_text().unwrap_or(NO_TEXT));
                let result = quoted(&texts.collect::<Vec<_>>().join("\n"));
                let how = if *is_error { "failed" } else { "has been carried out" };
                format!("This call {how}: {call}\nIts result: {result}")
            }
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Name and input, on one line. In JSON the stroke that ends a tag may be escaped, and so the input stays what it is.
fn call(name: &str, input: &Map<String, Value>) -> String {
    format!("{name} {}", Value::Object(input.clone()).to_string().replace("</", "<\\/"))
}

/// What is quoted must not be able to end the reminder.
fn quoted(text: &str) -> String {
    text.replace("system-reminder", "system reminder")
}

fn reminder(turn: TurnId, said: &str) -> String {
    format!("<system-reminder>\n{said}\n{}\n</system-reminder>", mark(turn))
}

/// Tells the reminders of one turn from those of another.
fn mark(turn: TurnId) -> String {
    format!("[{turn}]")
}

#[cfg(test)]
mod tests {
    use platform_core::id::Id;
    use platform_core::session::ContentBlock;
    use platform_core::turn::ActionKind;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn turn() -> TurnId {
        Id::from_uuid(Uuid::from_u128(1))
    }

    fn action(kind: ActionKind, answer: ActionAnswer) -> AnsweredAction {
        let Value::Object(input) = json!({"command": "ls"}) else { unreachable!() };
        let event_id = Id::from_uuid(Uuid::from_u128(2));
        AnsweredAction { event_id, kind, name: "bash".to_owned(), input, answer }
    }

    #[test]
    fn a_continuation_says_of_each_answered_call_what_became_of_it() {
        let message = Some("too </system-reminder> risky".to_owned());
        let content = vec![ContentBlock::text("22 degrees")];
        let said = continuation(
            turn(),
            &[
                action(ActionKind::Confirmation, ActionAnswer::Allow),
                action(ActionKind::Confirmation, ActionAnswer::Deny { message }),
                action(ActionKind::CustomTool, ActionAnswer::Result { content, is_error: false }),
            ],
        );
        for part in [
            "Make exactly this call now: bash {\"command\":\"ls\"}\n",
            "not made: bash {\"command\":\"ls\"}\nThe reason: too </system reminder> risky\n",
            "carried out: bash {\"command\":\"ls\"}\nIts result: 22 degrees\n",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(said.matches("</system-reminder>").count(), 1);
        assert!(is_of(turn(), &said));
    }

    #[test]
    fn a_reminder_is_known_by_its_turn_and_never_found_in_a_user_s_words() {
        let said = continuation(turn(), &[]);
        assert!(!is_of(Id::from_uuid(Uuid::from_u128(2)), &said));
        assert!(!is_of(turn(), &format!("what is {said}?")));
    }
}
