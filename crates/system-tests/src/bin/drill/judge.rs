//! Compares what was asked of a session with its log, and its log with what was streamed. Pure.

mod calls;
mod conversation;
mod logged;
mod said;
mod streams;
mod work;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::evidence::Evidence;
use logged::Logged;

/// What a platform must not do to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Lost,
    Duplicated,
    Reordered,
    Stuck,
    /// It contradicts itself, or ended for no reason that anybody gave it.
    Wrong,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::Lost, Self::Duplicated, Self::Reordered, Self::Stuck, Self::Wrong];
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Stuck => "stuck",
            Self::Wrong => "wrong",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) fault: Fault,
    /// In the order in which the user opened them, from 1.
    pub(crate) turn: Option<usize>,
    /// The numbers of the events that show it.
    pub(crate) events: Vec<i64>,
    pub(crate) what: String,
}

/// What was found in one session.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<Violation>,
    /// How each turn ended, in order.
    pub(crate) endings: Vec<String>,
    /// What is allowed after a loss, and worth knowing how often it happens.
    pub(crate) remarks: Vec<&'static str>,
}

impl Findings {
    fn add(
        &mut self,
        fault: Fault,
        events: impl IntoIterator<Item = i64>,
        what: impl Into<String>,
    ) {
        let events = events.into_iter().collect();
        self.violations.push(Violation { fault, turn: None, events, what: what.into() });
    }

    fn add_to_turn(
        &mut self,
        turn: usize,
        fault: Fault,
        events: impl IntoIterator<Item = i64>,
        what: impl Into<String>,
    ) {
        let events = events.into_iter().collect();
        self.violations.push(Violation { fault, turn: Some(turn), events, what: what.into() });
    }
}

/// What was done that a conversation is allowed to show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Excuses {
    /// How often the session's harness was hit: that many turns may end with an error.
    pub(crate) harness_hits: u32,
    /// Whether model requests were broken off. Harnesses repeat those by themselves, and what was said is said again.
    pub(crate) broken_requests: bool,
}

/// Judges one session.
pub(crate) fn judge(evidence: &Evidence, excuses: Excuses) -> Findings {
    let log = Logged::all(&evidence.log);
    let mut findings = Findings::default();
    for trouble in &evidence.trouble {
        findings.add(Fault::Stuck, [], trouble.clone());
    }
    streams::compare(evidence, &log, &mut findings);
    streams::journals(evidence, &log, &mut findings);
    conversation::numbers(&log, &mut findings);
    conversation::messages(evidence, &log, &mut findings);
    conversation::statuses(&log, &mut findings);
    let turns = conversation::turns(evidence, &log, &mut findings);
    work::check(evidence, &log, &turns, excuses, &mut findings);
    findings
}
