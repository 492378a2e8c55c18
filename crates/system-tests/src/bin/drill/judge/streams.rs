//! What was streamed is the log, and what was journalled is in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::logged::Logged;
use super::{Fault, Findings};
use crate::evidence::Evidence;

/// Everything that a sandbox wrote down is in the log, whatever became of the sandbox.
pub(super) fn journals(evidence: &Evidence, log: &[Logged<'_>], findings: &mut Findings) {
    let known: BTreeSet<&str> = log.iter().map(|event| event.id).collect();
    let missing = evidence.journalled.iter().filter(|(id, _)| !known.contains(id.as_str()));
    for (id, kind) in missing {
        findings.add(Fault::Lost, [], format!("{kind} {id} is in a journal and not in the log"));
    }
}

pub(super) fn compare(evidence: &Evidence, log: &[Logged<'_>], findings: &mut Findings) {
    for (number, fault) in &evidence.sight.faults {
        findings.add(Fault::Wrong, [*number], format!("stream: {fault}"));
    }
    let mut shown: BTreeMap<i64, &Value> = evidence
        .sight
        .events
        .iter()
        .filter_map(|event| Some((event["seq"].as_i64()?, event)))
        .collect();
    let mut missed = Vec::new();
    for event in log {
        match shown.remove(&event.number) {
            None => missed.push(event.number),
            Some(streamed) if as_ever(streamed) != as_ever(event.body) => {
                let what = format!("streamed as {streamed}, logged as {}", event.body);
                findings.add(Fault::Wrong, [event.number], what);
            }
            Some(_) => {}
        }
    }
    if !missed.is_empty() {
        findings.add(Fault::Lost, missed, "in the log and never streamed");
    }
    if !shown.is_empty() {
        findings.add(Fault::Wrong, shown.into_keys(), "streamed and not in the log");
    }
}

/// The event without what changes later: a message is processed when its turn begins.
fn as_ever(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.remove("processed_at");
    }
    event
}
