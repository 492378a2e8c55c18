//! The judge finds what is wrong, and nothing where all is well.

use serde_json::{Value, json};

use super::*;
use crate::evidence::{Asked, What};
use crate::reader::Sight;
use crate::script::{Script, Step};

/// A log under construction: each event gets the next number and an id of its own.
#[derive(Default)]
struct Log(Vec<Value>);

impl Log {
    fn add(&mut self, turn: &str, kind: &str, more: &Value) -> String {
        let number = self.0.len() + 1;
        let id = format!("e{number}");
        let mut event = json!({ "id": id, "seq": number, "type": kind });
        if !turn.is_empty() {
            event["turn_id"] = json!(turn);
        }
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            event[name] = value;
        }
        self.0.push(event);
        id
    }

    fn text(&mut self, turn: &str, kind: &str, text: &str) -> String {
        self.add(turn, kind, &json!({ "content": [{ "type": "text", "text": text }] }))
    }

    fn call(&mut self, turn: &str, label: &str) -> String {
        let command = format!("echo {label} >> ledger.txt");
        self.add(turn, "agent.tool_use", &json!({ "input": { "command": command } }))
    }

    fn result(&mut self, turn: &str, call: &str, text: &str, is_error: bool) {
        let content = json!([{ "type": "text", "text": text }]);
        let more = json!({ "tool_use_id": call, "content": content, "is_error": is_error });
        self.add(turn, "agent.tool_result", &more);
    }

    fn end(&mut self, turn: &str, reason: &str) {
        self.add(turn, "session.status_idle", &json!({ "stop_reason": { "reason": reason } }));
    }

    /// The turn that asks for the word and the ledger.
    fn last_turn(&mut self, ledger: &str) -> Asked {
        let script = Script::last();
        let asked = Asked::accepted(
            What::Message(script.clone()),
            &self.text("last", "user.message", &script.text()),
        );
        self.add("last", "session.status_running", &json!({}));
        self.text("last", "agent.message", "recalled: kestrel1x1");
        let cat = self.add("last", "agent.tool_use", &json!({ "input": { "command": "cat" } }));
        self.result("last", &cat, ledger, false);
        self.end("last", "end_turn");
        asked
    }
}

fn script() -> Script {
    let said = Step::Stream { label: "s1.t1.p1".to_owned(), words: 2, pause: 1 };
    let call = Step::Call { label: "s1.t1.c2".to_owned(), before: 0, after: 0 };
    Script { steps: vec![said, call], ..Script::default() }
}

fn ask(log: &mut Log) -> Asked {
    let script = script();
    let text = script.text();
    let asked = Asked::accepted(What::Message(script), &log.text("one", "user.message", &text));
    log.add("one", "session.status_running", &json!({}));
    asked
}

/// Judges a log that was streamed as it is; answers the faults.
fn faults(log: Log, asked: Vec<Asked>) -> Vec<Fault> {
    let mut sight = Sight::new();
    sight.events.clone_from(&log.0);
    let evidence = Evidence {
        number: 1,
        session: "sesn_1".to_owned(),
        word: "kestrel1x1".to_owned(),
        asked,
        log: log.0,
        sight,
        journalled: Vec::new(),
        trouble: Vec::new(),
    };
    judge(&evidence, Excuses::default())
        .violations
        .into_iter()
        .map(|violation| violation.fault)
        .collect()
}

/// One turn that says and does what it should, then what `more` adds, then its end and the last turn.
fn with(more: impl FnOnce(&mut Log), ledger: &str) -> Vec<Fault> {
    let mut log = Log::default();
    let first = ask(&mut log);
    log.text("one", "agent.message", "s1.t1.p1\nw1@1 w2@2 ");
    let call = log.call("one", "s1.t1.c2");
    log.result("one", &call, "done: s1.t1.c2", false);
    more(&mut log);
    log.end("one", "end_turn");
    let last = log.last_turn(ledger);
    faults(log, vec![first, last])
}

#[test]
fn a_session_that_did_what_was_asked_has_no_violation() {
    assert_eq!(with(|_| (), "s1.t1.c2\n"), []);
}

#[test]
fn a_side_effect_that_is_missing_or_doubled_is_found() {
    assert_eq!(with(|_| (), ""), [Fault::Lost]);
    assert_eq!(with(|_| (), "s1.t1.c2\ns1.t1.c2\n"), [Fault::Duplicated]);
    assert_eq!(with(|_| (), "s1.t1.c2\ns1.t9.c9\n"), [Fault::Wrong]);
}

#[test]
fn text_said_twice_is_allowed_only_across_a_loss() {
    let again = |log: &mut Log| drop(log.text("one", "agent.message", "s1.t1.p1\nw1@3 w2@4 "));
    assert_eq!(with(again, "s1.t1.c2"), [Fault::Duplicated]);
    let after_a_loss = |log: &mut Log| {
        log.add("", "session.status_rescheduled", &json!({}));
        log.add("", "session.status_running", &json!({}));
        again(log);
    };
    assert_eq!(with(after_a_loss, "s1.t1.c2"), []);
}

#[test]
fn text_without_its_end_is_lost() {
    let mut log = Log::default();
    let first = ask(&mut log);
    log.text("one", "agent.message", "s1.t1.p1\nw1@1 ");
    let call = log.call("one", "s1.t1.c2");
    log.result("one", &call, "the sandbox was lost", true);
    log.end("one", "end_turn");
    let last = log.last_turn("");
    assert_eq!(faults(log, vec![first, last]), [Fault::Lost]);
}

#[test]
fn a_turn_ends_once_and_for_a_reason() {
    let mut log = Log::default();
    let first = ask(&mut log);
    assert_eq!(faults(log, vec![first]), [Fault::Stuck]);

    let mut log = Log::default();
    let first = ask(&mut log);
    log.end("one", "interrupted");
    assert_eq!(faults(log, vec![first]), [Fault::Wrong], "nobody interrupted it");

    let mut log = Log::default();
    let first = ask(&mut log);
    let interrupt = Asked::accepted(What::Interrupt, &log.add("one", "user.interrupt", &json!({})));
    log.end("one", "interrupted");
    assert_eq!(faults(log, vec![first, interrupt]), []);

    let again = |log: &mut Log| log.end("one", "end_turn");
    let found = with(again, "s1.t1.c2");
    assert!(found.contains(&Fault::Duplicated), "{found:?}");
}

#[test]
fn a_message_that_is_missing_doubled_or_out_of_order_is_found() {
    let lost = vec![Asked::accepted(What::Message(script()), "nowhere")];
    assert_eq!(faults(Log::default(), lost), [Fault::Lost]);

    let mut log = Log::default();
    let first = ask(&mut log);
    log.text("other", "user.message", &script().text());
    log.end("one", "retries_exhausted");
    let found = faults(log, vec![first]);
    assert_eq!(found, [Fault::Duplicated], "the second one was never sent");

    let mut log = Log::default();
    let second = Asked::accepted(What::Interrupt, &log.add("", "user.interrupt", &json!({})));
    let first = ask(&mut log);
    log.end("one", "retries_exhausted");
    assert_eq!(faults(log, vec![first, second]), [Fault::Reordered]);
}

#[test]
fn a_forgotten_word_must_be_admitted() {
    let forgets = |mode: &str| {
        let mut log = Log::default();
        let first = ask(&mut log);
        log.text("one", "agent.message", "s1.t1.p1\nw1@1 w2@2 ");
        let call = log.call("one", "s1.t1.c2");
        log.result("one", &call, "done: s1.t1.c2", false);
        log.end("one", "end_turn");
        log.add("", "session.context_restored", &json!({ "mode": mode }));
        let last = log.last_turn("s1.t1.c2");
        for event in &mut log.0 {
            if event["content"][0]["text"] == "recalled: kestrel1x1" {
                event["content"][0]["text"] = json!("recalled: nothing");
            }
        }
        faults(log, vec![first, last])
    };
    assert_eq!(forgets("native"), [Fault::Lost]);
    assert_eq!(forgets("transcript"), []);
}

#[test]
fn a_side_effect_that_the_log_does_not_know_is_found() {
    let mut log = Log::default();
    let first = ask(&mut log);
    log.add("", "session.status_rescheduled", &json!({}));
    log.add("one", "session.status_running", &json!({}));
    log.text("one", "agent.message", "s1.t1.p1\nw1@1 w2@2 ");
    log.end("one", "end_turn");
    let last = log.last_turn("s1.t1.c2");
    assert_eq!(faults(log, vec![first, last]), [Fault::Lost]);
}

#[test]
fn a_stream_that_is_not_the_log_is_found() {
    let mut log = Log::default();
    let first = ask(&mut log);
    log.end("one", "retries_exhausted");
    let mut sight = Sight::new();
    sight.events = log.0[1..].to_vec();
    sight.events[1]["stop_reason"] = json!("another");
    let evidence = Evidence {
        number: 1,
        session: String::new(),
        word: String::new(),
        asked: vec![first],
        log: log.0,
        sight,
        journalled: Vec::new(),
        trouble: Vec::new(),
    };
    let found = judge(&evidence, Excuses::default()).violations;
    let found: Vec<(Fault, &[i64])> =
        found.iter().map(|violation| (violation.fault, violation.events.as_slice())).collect();
    assert_eq!(found, [(Fault::Wrong, [3].as_slice()), (Fault::Lost, [1].as_slice())]);
}
