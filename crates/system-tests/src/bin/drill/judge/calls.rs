//! What the agent did in each turn: side effects at most once, and as the log says.

use super::conversation::Turn;
use super::{Fault, Findings};
use crate::reader::text;
use crate::script::DONE;

/// What became of the calls with one label.
#[derive(Default)]
struct Called {
    /// Numbers of the events that say so.
    uses: Vec<i64>,
    successes: Vec<i64>,
    failures: Vec<i64>,
}

/// Side effects: in the ledger at most once, and as often as the log says.
pub(super) fn check(turns: &[Turn<'_>], findings: &mut Findings) {
    let ledger = turns.iter().rfind(|turn| turn.script.is_last).and_then(ledger);
    let mut expected_position = 0;
    let mut known = 0;
    for turn in turns {
        let mut before = 0;
        for label in turn.script.calls() {
            let called = called(turn, label);
            if let [first, ..] = called.uses.as_slice() {
                if *first < before {
                    let what = format!("{label} was called before what comes first");
                    findings.add_to_turn(turn.position, Fault::Reordered, [*first, before], what);
                }
                before = *first;
            } else if turn.stop_reason == "end_turn" && turn.losses.is_empty() {
                let what = format!("{label} was not called");
                findings.add_to_turn(turn.position, Fault::Lost, [], what);
            } else if turn.stop_reason == "end_turn" {
                // The harness had begun it, as it knows, and its sandbox died before that was written down.
                findings.remarks.push("call that only the lost sandbox knew");
            }
            if called.uses.len() > 1 {
                findings.remarks.push("call made again after a loss");
            }
            if called.successes.len() > 1 {
                let what = format!("{label} has more than one result");
                findings.add_to_turn(
                    turn.position,
                    Fault::Duplicated,
                    called.successes.clone(),
                    what,
                );
            }
            let Some(ledger) = &ledger else { continue };
            let found: Vec<usize> = positions(ledger, label);
            known += found.len();
            let shown =
                called.uses.iter().chain(&called.successes).chain(&called.failures).copied();
            match found.as_slice() {
                [] if !called.successes.is_empty() => {
                    let what = format!("{label} succeeded and is not in the ledger");
                    findings.add_to_turn(turn.position, Fault::Lost, shown, what);
                }
                [] => {}
                [position] => {
                    if called.uses.is_empty() {
                        let what =
                            format!("{label} is in the ledger, and the log does not know it");
                        findings.add_to_turn(turn.position, Fault::Lost, [], what);
                    }
                    if *position < expected_position {
                        let what = format!("{label} stands in the ledger before what came first");
                        findings.add_to_turn(turn.position, Fault::Reordered, shown, what);
                    }
                    expected_position = *position;
                }
                [_, _, ..] => {
                    let what = format!("{label} stands {} times in the ledger", found.len());
                    findings.add_to_turn(turn.position, Fault::Duplicated, shown, what);
                }
            }
        }
    }
    match ledger {
        Some(ledger) if ledger.len() != known => {
            findings.add(
                Fault::Wrong,
                [],
                format!("the ledger has lines that nobody asked for: {ledger:?}"),
            );
        }
        Some(_) | None => {}
    }
}

fn positions(ledger: &[String], label: &str) -> Vec<usize> {
    let mine = ledger.iter().enumerate().filter(|(_, line)| *line == label);
    mine.map(|(position, _)| position).collect()
}

fn called(turn: &Turn<'_>, label: &str) -> Called {
    let command = format!("echo {label} >>");
    let mut called = Called::default();
    let mut ids = Vec::new();
    for event in &turn.events {
        let input = &event.body["input"]["command"];
        if event.kind == "agent.tool_use" && input.as_str().is_some_and(|it| it.contains(&command))
        {
            called.uses.push(event.number);
            ids.push(event.id);
        } else if event.kind == "agent.tool_result" && ids.contains(&event.call()) {
            let is_done =
                !event.is_error() && text(event.body).contains(&format!("{DONE} {label}"));
            let list = if is_done { &mut called.successes } else { &mut called.failures };
            list.push(event.number);
        }
    }
    called
}

/// What the last turn printed. `None` when it did not come so far, which is told elsewhere.
fn ledger(last: &Turn<'_>) -> Option<Vec<String>> {
    let result = last.events.iter().rfind(|event| event.kind == "agent.tool_result")?;
    let printed = text(result.body);
    let is_label = |word: &&str| {
        let mut parts = word.split('.');
        let mut numbered = |prefix| {
            let part = parts.next().and_then(|part: &str| part.strip_prefix(prefix));
            part.is_some_and(|digits| digits.parse::<u32>().is_ok())
        };
        numbered('s') && numbered('t') && numbered('c')
    };
    Some(printed.split_whitespace().filter(is_label).map(str::to_owned).collect())
}
