//! What the agent did: every call has its result, every turn a reason for its end, and the word of the first turn is known in the last.

use std::collections::BTreeMap;

use super::conversation::Turn;
use super::logged::Logged;
use super::{Excuses, Fault, Findings, calls, said};
use crate::evidence::{Evidence, What};
use crate::reader::text;

pub(super) fn check(
    evidence: &Evidence,
    log: &[Logged<'_>],
    turns: &[Turn<'_>],
    mut excuses: Excuses,
    findings: &mut Findings,
) {
    pairs(log, findings);
    for turn in turns {
        ending(evidence, log, turn, &mut excuses.harness_hits, findings);
        said::check(turn, excuses.broken_requests, findings);
    }
    calls::check(turns, findings);
    // A first turn that was cut short may never have reached the agent.
    let was_told = turns.first().is_some_and(|first| first.stop_reason == "end_turn");
    if let Some(last) = turns.iter().rfind(|turn| turn.script.is_last && was_told) {
        memory(evidence, log, last, findings);
    }
}

/// Every result has its call, and every call its result before its turn ends.
fn pairs(log: &[Logged<'_>], findings: &mut Findings) {
    let mut open: BTreeMap<&str, Logged<'_>> = BTreeMap::new();
    for event in log {
        match event.kind {
            "agent.tool_use" => {
                open.insert(event.id, *event);
            }
            "agent.tool_result" if open.remove(event.call()).is_none() => {
                let what = format!("a result of no open call ({})", event.call());
                findings.add(Fault::Duplicated, [event.number], what);
            }
            "session.status_idle" => {
                let left = open.extract_if(.., |_, call| call.turn == event.turn);
                let left: Vec<i64> = left.map(|(_, call)| call.number).collect();
                if !left.is_empty() {
                    findings.add(Fault::Lost, left, "calls whose turn ended without their results");
                }
            }
            _ => {}
        }
    }
}

/// A turn may end early only for a reason that the log gives.
fn ending(
    evidence: &Evidence,
    log: &[Logged<'_>],
    turn: &Turn<'_>,
    harness_hits: &mut u32,
    findings: &mut Findings,
) {
    findings.endings.push(turn.stop_reason.to_owned());
    let numbers: Vec<i64> = turn.events.last().map(|event| event.number).into_iter().collect();
    let is_explained = match turn.stop_reason {
        "" | "end_turn" | "retries_exhausted" | "sandbox_lost" => true,
        "interrupted" => {
            let interrupts = evidence.asked.iter().filter(|asked| asked.what == What::Interrupt);
            let interrupts: Vec<&str> = interrupts.filter_map(|asked| asked.event()).collect();
            let last = numbers.first().copied().unwrap_or_default();
            log.iter().any(|event| interrupts.contains(&event.id) && event.number < last)
        }
        "error" if *harness_hits > 0 => {
            *harness_hits -= 1;
            true
        }
        _ => false,
    };
    if !is_explained {
        let errors = turn.events.iter().filter(|event| event.kind == "session.error");
        let told: Vec<String> = errors.map(|event| event.body["error"].to_string()).collect();
        let what = format!("it ended as {}: {}", turn.stop_reason, told.join(" "));
        findings.add_to_turn(turn.position, Fault::Wrong, numbers, what);
    } else if turn.script.is_last && turn.stop_reason != "end_turn" {
        let what = format!("nothing was broken any more, and it ended as {}", turn.stop_reason);
        findings.add_to_turn(turn.position, Fault::Stuck, numbers, what);
    }
}

/// The word of the first turn is remembered, or the log says that memory was lost.
fn memory(evidence: &Evidence, log: &[Logged<'_>], last: &Turn<'_>, findings: &mut Findings) {
    if last.stop_reason != "end_turn" {
        return;
    }
    let messages = last.events.iter().filter(|event| event.kind == "agent.message");
    let said: String = messages.map(|event| text(event.body)).collect();
    if said.contains(&format!("recalled: {}", evidence.word)) {
        return;
    }
    let restored = log.iter().filter(|event| event.kind == "session.context_restored");
    let mut others = restored.filter(|event| event.body["mode"] != "native");
    let numbers = last.events.first().map(|event| event.number);
    if others.next().is_some() {
        findings.remarks.push("memory lost, and the log says so");
    } else {
        let what = format!("it forgot {}, and nothing says so: {said:?}", evidence.word);
        findings.add_to_turn(last.position, Fault::Lost, numbers, what);
    }
}
