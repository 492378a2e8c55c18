//! Requests of the harness for leave that it has no answer to yet.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::supervise::translate::Verdict;

/// One call may have several.
#[derive(Default)]
pub(super) struct Asks(Vec<Ask>);

pub(super) struct Ask {
    /// Goes back with the answer.
    pub(super) request: Value,
    options: Value,
    /// The harness's own id of the call.
    pub(super) call: String,
    pub(super) since: Instant,
    /// Whether it is known who decides: then somebody is asked.
    is_settled: bool,
}

impl Asks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, request: Value, params: &Value, call: String) {
        let options = params.get("options").cloned().unwrap_or_default();
        self.0.push(Ask { request, options, call, since: Instant::now(), is_settled: false });
    }

    /// The calls that nobody was asked about yet, and since when.
    pub(super) fn unsettled(&self) -> Vec<(String, Instant)> {
        let unsettled = self.0.iter().filter(|ask| !ask.is_settled);
        unsettled.map(|ask| (ask.call.clone(), ask.since)).collect()
    }

    pub(super) fn settle(&mut self, call: &str) {
        for ask in self.0.iter_mut().filter(|ask| ask.call == call) {
            ask.is_settled = true;
        }
    }

    /// Takes out those whose call is meant.
    pub(super) fn take(&mut self, is_meant: impl Fn(&str) -> bool) -> Vec<Ask> {
        self.0.extract_if(.., |ask| is_meant(&ask.call)).collect()
    }
}

impl Ask {
    /// The result of the request. Options are chosen by their kind, for their ids are the harness's own.
    pub(super) fn outcome(&self, verdict: Verdict) -> Value {
        let kinds = match verdict {
            Verdict::Allow => ["allow_once", "allow_always"],
            Verdict::Refuse => ["reject_once", "reject_always"],
            Verdict::Wait | Verdict::Later => return cancelled(),
        };
        let options = self.options.as_array().map(Vec::as_slice).unwrap_or_default();
        let of_kind = |kind: &str| {
            let kind_of =
                |option: &&Value| option.get("kind").and_then(Value::as_str) == Some(kind);
            options.iter().find(kind_of)?.get("optionId")
        };
        match kinds.into_iter().find_map(of_kind) {
            Some(option) => json!({"outcome": {"outcome": "selected", "optionId": option}}),
            None => cancelled(),
        }
    }
}

/// The answer to a request whose call will not be made, because the turn ends.
pub(super) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict, options: &Value) -> Value {
        let mut asks = Asks::default();
        asks.add(json!(1), &json!({"options": options}), "call".to_owned());
        asks.take(|call| call == "call")[0].outcome(verdict)
    }

    #[test]
    fn leave_is_given_or_refused_once_by_the_kind_of_the_option() {
        let options = json!([
            {"optionId": "never", "kind": "reject_always"},
            {"optionId": "no", "kind": "reject_once"},
            {"optionId": "always", "kind": "allow_always"},
            {"optionId": "yes", "kind": "allow_once"},
        ]);
        let chosen = |verdict| outcome(verdict, &options)["outcome"]["optionId"].clone();
        assert_eq!(chosen(Verdict::Allow), "yes");
        assert_eq!(chosen(Verdict::Refuse), "no");
    }

    #[test]
    fn a_harness_that_offers_no_fitting_option_is_told_that_the_call_is_off() {
        let only_no = json!([{"optionId": "no", "kind": "reject_once"}]);
        assert_eq!(outcome(Verdict::Allow, &only_no), cancelled());
        assert_eq!(outcome(Verdict::Refuse, &Value::Null), cancelled());
    }
}
