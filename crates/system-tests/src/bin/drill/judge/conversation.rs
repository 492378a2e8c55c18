//! Messages and turns: each message once and in order, each turn with one end.

use std::collections::{BTreeMap, BTreeSet};

use super::logged::Logged;
use super::{Fault, Findings};
use crate::evidence::{Evidence, What};
use crate::reader::text;
use crate::script::Script;

/// One turn as the log has it.
pub(super) struct Turn<'run> {
    /// From 1, in the order in which the user asked.
    pub(super) position: usize,
    pub(super) script: &'run Script,
    /// Its events behind the user's message.
    pub(super) events: Vec<Logged<'run>>,
    /// Empty for one that did not end.
    pub(super) stop_reason: &'run str,
    /// Losses of a sandbox before its end, by the numbers of their events: those name no turn.
    pub(super) losses: Vec<i64>,
}

pub(super) fn numbers(log: &[Logged<'_>], findings: &mut Findings) {
    for (event, expected) in log.iter().zip(1..) {
        if event.number != expected {
            let what = format!("the log has number {} where {expected} belongs", event.number);
            findings.add(Fault::Lost, [event.number], what);
            break;
        }
    }
    let mut ids = BTreeMap::new();
    for event in log {
        if let Some(before) = ids.insert(event.id, event.number) {
            let what = format!("two {} with the id {}", event.kind, event.id);
            findings.add(Fault::Duplicated, [before, event.number], what);
        }
    }
}

/// Everything that was accepted is in the log once, in order, and nothing else is.
pub(super) fn messages(evidence: &Evidence, log: &[Logged<'_>], findings: &mut Findings) {
    let mut position = 0;
    let mut last = 0;
    let mut known = BTreeSet::new();
    for asked in &evidence.asked {
        position += usize::from(asked.opens_a_turn());
        let Some(id) = asked.event() else {
            let what = format!("never accepted: {}", asked.answer());
            findings.add_to_turn(position, Fault::Stuck, [], what);
            continue;
        };
        known.insert(id);
        let Some(event) = log.iter().find(|event| event.id == id) else {
            let what = format!("accepted ({}) as {id} and not in the log", asked.answer());
            findings.add_to_turn(position, Fault::Lost, [], what);
            continue;
        };
        if event.number < last {
            let what = "accepted later than what stands behind it";
            findings.add_to_turn(position, Fault::Reordered, [event.number, last], what);
        }
        last = last.max(event.number);
        let same = match &asked.what {
            What::Message(script) => {
                event.kind == "user.message" && text(event.body) == script.text()
            }
            What::Interrupt => event.kind == "user.interrupt",
        };
        if !same {
            let what = format!("another text than what was sent: {}", event.body);
            findings.add_to_turn(position, Fault::Wrong, [event.number], what);
        }
    }
    let strangers = log.iter().filter(|event| {
        matches!(event.kind, "user.message" | "user.interrupt") && !known.contains(event.id)
    });
    for stranger in strangers {
        let what = format!("nobody sent this {}", stranger.kind);
        findings.add(Fault::Duplicated, [stranger.number], what);
    }
}

/// Sorts the log into turns, each of which ends once, in the order in which they were asked for.
pub(super) fn turns<'run>(
    evidence: &'run Evidence,
    log: &[Logged<'run>],
    findings: &mut Findings,
) -> Vec<Turn<'run>> {
    let mut turns = Vec::new();
    let mut known = BTreeSet::new();
    let mut last_end = 0;
    let mut position = 0;
    for asked in &evidence.asked {
        let What::Message(script) = &asked.what else { continue };
        position += 1;
        let opened = log.iter().find(|event| asked.event() == Some(event.id));
        let Some(opened) = opened else { continue };
        if opened.turn.is_empty() || !known.insert(opened.turn) {
            let what = "the message has no turn of its own";
            findings.add_to_turn(position, Fault::Wrong, [opened.number], what);
            continue;
        }
        let events: Vec<Logged<'run>> = log
            .iter()
            .filter(|event| event.turn == opened.turn && event.id != opened.id)
            .copied()
            .collect();
        let ends: Vec<&Logged<'run>> =
            events.iter().filter(|event| event.kind == "session.status_idle").collect();
        let stop_reason = match ends.as_slice() {
            [] => {
                let last = events.last().map_or(opened.number, |event| event.number);
                findings.add_to_turn(
                    position,
                    Fault::Stuck,
                    [opened.number, last],
                    "it never ended",
                );
                ""
            }
            [end] => end.stop_reason(),
            [_, again, ..] => {
                let numbers: Vec<i64> = ends.iter().map(|end| end.number).collect();
                findings.add_to_turn(
                    position,
                    Fault::Duplicated,
                    numbers,
                    "it ended more than once",
                );
                again.stop_reason()
            }
        };
        if let Some(end) = ends.first() {
            if end.number < last_end {
                let what = "it ended before a turn that was asked for earlier";
                findings.add_to_turn(position, Fault::Reordered, [end.number, last_end], what);
            }
            last_end = last_end.max(end.number);
            let late: Vec<i64> = events
                .iter()
                .map(|event| event.number)
                .filter(|&number| number > end.number)
                .collect();
            if !late.is_empty() {
                findings.add_to_turn(
                    position,
                    Fault::Reordered,
                    late,
                    "events behind the turn's end",
                );
            }
        }
        let until = events.last().map_or(opened.number, |event| event.number);
        let losses = log
            .iter()
            .filter(|event| event.is_a_loss() && (opened.number..until).contains(&event.number));
        let losses = losses.map(|event| event.number).collect();
        turns.push(Turn { position, script, events, stop_reason, losses });
    }
    let of_nobody = log
        .iter()
        .filter(|event| event.kind == "session.status_idle" && !known.contains(event.turn));
    for event in of_nobody {
        findings.add(Fault::Wrong, [event.number], "an end of no turn");
    }
    turns
}

/// The session is shown at work before each end, and not twice at the beginning of one turn.
pub(super) fn statuses(log: &[Logged<'_>], findings: &mut Findings) {
    let mut is_running = false;
    for event in log {
        match event.kind {
            "session.status_running" if is_running => {
                findings.add(Fault::Wrong, [event.number], "running, and it was running already");
            }
            "session.status_running" => is_running = true,
            "session.status_idle" if !is_running && !was_rescheduling(log, event.number) => {
                findings.add(Fault::Wrong, [event.number], "idle, and it was idle already");
            }
            "session.status_idle" | "session.status_rescheduled" => is_running = false,
            _ => {}
        }
    }
}

fn was_rescheduling(log: &[Logged<'_>], before: i64) -> bool {
    let mut statuses = log.iter().filter(|event| event.number < before);
    let last = statuses.rfind(|event| event.kind.starts_with("session.status_"));
    last.is_some_and(|event| event.kind == "session.status_rescheduled")
}
