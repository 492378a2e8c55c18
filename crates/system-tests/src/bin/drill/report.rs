//! What a drill prints at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::evidence::Evidence;
use crate::judge::{Fault, Findings, Violation};
use crate::record::Record;

#[derive(Default)]
pub(crate) struct Report {
    faults: BTreeMap<Fault, usize>,
    violations: Vec<String>,
    endings: BTreeMap<String, usize>,
    remarks: BTreeMap<&'static str, usize>,
    longest_gap: Duration,
    gap_of: String,
    turns: usize,
    events: usize,
    connections: u32,
}

impl Report {
    pub(crate) fn add_session(&mut self, evidence: &Evidence, findings: Findings) {
        for violation in findings.violations {
            *self.faults.entry(violation.fault).or_default() += 1;
            self.violations.push(line(evidence, &violation));
        }
        self.turns += findings.endings.len();
        for ending in findings.endings {
            let ending = if ending.is_empty() { "(never)".to_owned() } else { ending };
            *self.endings.entry(ending).or_default() += 1;
        }
        for remark in findings.remarks {
            *self.remarks.entry(remark).or_default() += 1;
        }
        self.events += evidence.log.len();
        self.connections += evidence.sight.connections;
        let (gap, after) = evidence.sight.longest_gap;
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.gap_of = format!("session {} after event {after}", evidence.number);
        }
    }

    /// Something that no log of a session tells.
    pub(crate) fn add(&mut self, fault: Fault, what: &str) {
        *self.faults.entry(fault).or_default() += 1;
        self.violations.push(format!("{fault}: {what}"));
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn print(&self, record: &Record, seed: u64) {
        println!("\n{:<40} {:<12} {:>6}", "whom", "what", "times");
        for (whom, how, count) in record.table() {
            println!("{whom:<40} {how:<12} {count:>6}");
        }
        println!("\n{:<53} {:>6}", "turns that ended as", "times");
        for (ending, count) in &self.endings {
            println!("{ending:<53} {count:>6}");
        }
        for (remark, count) in &self.remarks {
            println!("{remark:<53} {count:>6}");
        }
        println!("{:<53} {:>6}", "events", self.events);
        println!("{:<53} {:>6}", "streams opened", self.connections);
        if !self.gap_of.is_empty() {
            println!("the longest gap was in {}", self.gap_of);
        }
        if !self.violations.is_empty() {
            println!("\n{}", self.violations.join("\n"));
        }
        let counts = Fault::ALL.map(|fault| {
            let count = self.faults.get(&fault).copied().unwrap_or_default();
            format!("{fault}={count}")
        });
        println!(
            "\n{} longest_gap_ms={} turns={} seed={seed}",
            counts.join(" "),
            self.longest_gap.as_millis(),
            self.turns,
        );
    }
}

fn line(evidence: &Evidence, violation: &Violation) -> String {
    let Violation { fault, turn, events, what } = violation;
    let turn = turn.map(|turn| format!(", turn {turn}")).unwrap_or_default();
    let numbers: Vec<String> = events.iter().map(ToString::to_string).collect();
    let events =
        if numbers.is_empty() { String::new() } else { format!(", events {}", numbers.join(" ")) };
    format!("{fault}: session {} ({}){turn}{events}: {what}", evidence.number, evidence.session)
}
