//! Entries of a sandbox's journal, from bytes to a session's log.

use std::collections::BTreeSet;

use chrono::DateTime;
use platform_core::agent::AgentSnapshot;
use platform_core::conversation::{
    Changes, Conversation, Moment, NumberedEntry, PhaseReport, Unfinished,
};
use platform_core::id::{EnvironmentId, EventId, SandboxId, SessionId, TeamId};
use platform_core::journal::Entry;
use platform_core::sandbox::StartupPhase;
use platform_core::session::{ClientEvent, ContentBlock, EventBody, Session};
use serde_json::json;

use crate::Target;
use crate::ids::Counted;

pub const TARGET: Target = Target {
    name: "journal_entries",
    check,
    words: &[
        "\n",
        r#"{"entry":"turn_started","turn_id":""#,
        r#"{"entry":"turn_ended","stop_reason":"end_turn","turn_id":""#,
        r#"{"entry":"event","id":""#,
        r#"{"entry":"action_resumed","event_id":""#,
        r#""body":{"type":"agent.message","content":[{"type":"text","text":"a"}]}"#,
        r#""body":{"type":"agent.tool_use","name":"bash","input":{},"evaluated_permission":"ask"}"#,
        r#""body":{"type":"agent.tool_result","tool_use_id":"","content":[],"is_error":false}"#,
        r#""body":{"type":"user.message","content":[]}"#,
        r#""body":{"type":"session.status_idle","stop_reason":{"type":"end_turn","reason":"end_turn"}}"#,
        "sevt_00000000000000000000000000000009",
        "turn_00000000000000000000000000000000",
    ],
};

/// Each line is an entry. What the log takes of it keeps the log's own rules.
fn check(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let Ok(entries) = lines.map(serde_json::from_slice).collect::<Result<Vec<Entry>, _>>() else {
        return;
    };
    for entry in &entries {
        let again =
            serde_json::to_vec(entry).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let is_allowed = again.map(|again: Entry| again.is_allowed());
        assert_eq!(is_allowed, Some(entry.is_allowed()), "it is read differently the second time");
    }
    let are_allowed = entries.iter().all(Entry::is_allowed);
    let ids = Counted::default();
    let (mut conversation, turns) = asked(&ids);
    let before = conversation.changes().events.len();
    let batch = (1..).zip(entries).map(|(number, entry)| NumberedEntry { number, entry }).collect();
    let epoch = conversation.session().epoch;
    let taken = conversation.take_journal(epoch, batch, moment(&ids));
    assert_eq!(taken.is_ok(), are_allowed, "a sandbox wrote what it may not");
    let (session, Changes { events, .. }) = conversation.into_parts();
    if taken.is_err() {
        assert_eq!(events.len(), before, "a refused batch left something behind");
    }
    let numbers = events.iter().map(|event| event.number);
    assert!(numbers.eq(1..=session.last_event), "the numbers have gaps");
    let ended: Vec<_> = events
        .iter()
        .filter(|event| event.body.is_end_of_turn())
        .map(|event| event.turn_id)
        .collect();
    let once: BTreeSet<_> = ended.iter().copied().collect();
    assert!(once.len() == ended.len() && ended.len() <= turns, "a turn ended twice");
}

/// A session whose sandbox is ready, with two messages: one turn under way and one in line. Answers how many turns there are.
fn asked(ids: &Counted) -> (Conversation, usize) {
    let agent = json!({
        "type": "agent", "id": "agent_00000000000000000000000000000001", "version": 1,
        "name": "writer", "model": { "id": "demo" }, "harness": "opencode",
    });
    let agent: AgentSnapshot = match serde_json::from_value(agent) {
        Ok(agent) => agent,
        Err(fault) => unreachable!("{fault}"),
    };
    let session = Session::new(
        SessionId::mint(ids),
        TeamId::mint(ids),
        agent,
        EnvironmentId::mint(ids),
        DateTime::UNIX_EPOCH,
    );
    let mut conversation = Conversation::begin(session, moment(ids));
    let report = PhaseReport {
        epoch: conversation.session().epoch,
        sandbox: Some(SandboxId::mint(ids)),
        phase: StartupPhase::Ready,
        detail: String::new(),
        spawn_mode: None,
        reached_at: DateTime::UNIX_EPOCH,
    };
    let ready = conversation.report_startup(report, Unfinished::default(), moment(ids));
    let said = ["one", "two"].map(|text| ClientEvent {
        id: EventId::mint(ids),
        body: EventBody::UserMessage { content: vec![ContentBlock::text(text)] },
    });
    let turns = said.len();
    let sent = conversation.send(said.into(), Unfinished::default(), moment(ids));
    assert!(ready.is_ok() && sent.is_ok_and(|taken| taken.len() == turns));
    (conversation, turns)
}

fn moment(ids: &Counted) -> Moment<'_> {
    Moment { now: DateTime::UNIX_EPOCH, ids }
}
