//! What the agent said in each turn: complete, once, and in order.

use super::conversation::Turn;
use super::{Fault, Findings};
use crate::reader::text;
use crate::script::Step;

/// Text is said once; again only by a model request that a lost sandbox took with it.
pub(super) fn check(turn: &Turn<'_>, broken_requests: bool, findings: &mut Findings) {
    let messages: Vec<(i64, String)> = turn
        .events
        .iter()
        .filter(|event| event.kind == "agent.message")
        .map(|event| (event.number, text(event.body)))
        .collect();
    let mut before = 0;
    for step in &turn.script.steps {
        let (label, words) = match step {
            Step::Say { label } => (label, 0),
            Step::Stream { label, words, .. } => (label, *words),
            Step::Call { .. } => continue,
        };
        let said: Vec<(i64, &str)> =
            messages.iter().flat_map(|(number, text)| times(*number, text, label)).collect();
        for pair in said.windows(2) {
            let [(first, _), (second, _)] = pair else { continue };
            if turn.losses.iter().any(|loss| (first..second).contains(&loss)) {
                findings.remarks.push("text said again after a loss");
            } else if broken_requests {
                findings.remarks.push("text said again after a broken model request");
            } else {
                let what = format!("{label} was said again and nothing was lost between");
                findings.add_to_turn(turn.position, Fault::Duplicated, [*first, *second], what);
            }
        }
        let Some((number, behind)) = said.last() else {
            never_said(turn, label, findings);
            continue;
        };
        if *number < before {
            let what = format!("{label} was said before what comes first");
            findings.add_to_turn(turn.position, Fault::Reordered, [*number, before], what);
        }
        before = before.max(*number);
        let numbered = numbered_words(behind);
        let is_whole = numbered.iter().copied().eq(1..=words);
        if turn.stop_reason == "end_turn" && !is_whole {
            let what = format!("{label} has the words {numbered:?} of {words}");
            findings.add_to_turn(turn.position, Fault::Lost, [*number], what);
        }
    }
}

fn never_said(turn: &Turn<'_>, label: &str, findings: &mut Findings) {
    if turn.stop_reason == "end_turn" && turn.losses.is_empty() {
        let what = format!("{label} was not said");
        findings.add_to_turn(turn.position, Fault::Lost, [], what);
    } else if turn.stop_reason == "end_turn" {
        // The agent had said it, as it knows, and its sandbox died before it was written down.
        findings.remarks.push("text that only the lost sandbox knew");
    }
}

/// Each time that the label is said in this event, with what is said behind it.
fn times<'text>(event: i64, text: &'text str, label: &str) -> Vec<(i64, &'text str)> {
    let ends = text.match_indices(label).map(|(at, found)| at + found.len());
    let behind = ends.filter_map(|end| text.get(end..));
    let is_whole = |behind: &&str| !behind.starts_with(|next: char| next.is_ascii_digit());
    behind.filter(is_whole).map(|behind| (event, behind)).collect()
}

/// The numbers of `w1@… w2@…` behind a label, up to the next one.
fn numbered_words(behind: &str) -> Vec<u32> {
    let number = |word: &str| word.strip_prefix('w')?.split_once('@')?.0.parse().ok();
    behind.split_whitespace().map_while(number).collect()
}
