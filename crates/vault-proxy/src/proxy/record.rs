//! What was decided, told once it is over: to the witness, and in a line of the log.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::StatusCode;
use platform_core::clock::{Clock, IdSource};
use platform_core::egress::{EgressDecision, Verdict};
use platform_core::id::{EgressDecisionId, SandboxId};
use platform_core::network::Host;
use platform_storage::sandbox::SandboxIdentity;

use super::counted::Count;
use crate::refusal::Refusal;
use crate::rules::{BoxError, Misuse, Witness};

/// Longer paths are cut.
const LONGEST_PATH: usize = 1024;

/// Tells what happens at one door.
pub struct Recorder {
    sandbox: SandboxId,
    witness: Arc<dyn Witness>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Recorder {
    pub fn new(
        sandbox: SandboxId,
        witness: Arc<dyn Witness>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self { sandbox, witness, clock, ids }
    }

    /// Begins one decision's record. It is told when it is dropped.
    pub fn begin(self: &Arc<Self>, identity: SandboxIdentity, host: &Host, port: u16) -> Record {
        let decision = EgressDecision {
            id: EgressDecisionId::from_uuid(self.ids.uuid()),
            team_id: identity.team_id,
            session_id: identity.session_id,
            sandbox_id: self.sandbox,
            at: self.clock.now(),
            verdict: Verdict::Allowed,
            rule: String::new(),
            code: None,
            host: host.to_string(),
            port,
            method: None,
            path: None,
            status: None,
            bytes_out: 0,
            bytes_in: 0,
        };
        let (recorder, begun) = (self.clone(), Instant::now());
        let (sent, received) = (Count::default(), Count::default());
        let caught = Arc::default();
        Record { recorder, identity, decision, sent, received, caught, begun, is_told: true }
    }

    /// For what cannot be recorded, because it is not known whose it is.
    pub fn log_refusal(&self, refusal: &Refusal) {
        tracing::info!(sandbox.id = %self.sandbox, refused = refusal.code, "egress");
    }

    /// Tells whoever has to know that something was tried that must never happen.
    pub fn raise_alarm(&self, identity: &SandboxIdentity, misuse: &Misuse) {
        if let Some(alarm) = misuse.alarm() {
            tracing::warn!(
                sandbox.id = %self.sandbox,
                session.id = %identity.session_id,
                alarm = misuse.code(),
                "a value was sent where it does not belong"
            );
            self.witness.alarm(identity, self.sandbox, alarm);
        }
    }
}

/// One decision while it is carried out.
pub struct Record {
    recorder: Arc<Recorder>,
    identity: SandboxIdentity,
    decision: EgressDecision,
    sent: Count,
    received: Count,
    caught: Arc<OnceLock<Misuse>>,
    begun: Instant,
    is_told: bool,
}

impl Record {
    /// Bytes out of the sandbox.
    pub fn sent(&self) -> Count {
        self.sent.clone()
    }

    /// Bytes into the sandbox.
    pub fn received(&self) -> Count {
        self.received.clone()
    }

    /// Raises the alarm when a body ends in misuse, which may be long after the request was begun.
    pub fn watch_for_misuse(&self) -> impl FnMut(&BoxError) + Send + Unpin + use<> {
        let (recorder, identity) = (self.recorder.clone(), self.identity);
        let caught = self.caught.clone();
        move |error| {
            if let Some(misuse) = error.downcast_ref::<Misuse>() {
                recorder.raise_alarm(&identity, misuse);
                let _first_or_not = caught.set(misuse.clone());
            }
        }
    }

    /// The misuse in which the request's body ended.
    pub fn caught(&self) -> Option<&Misuse> {
        self.caught.get()
    }

    pub fn set_request(&mut self, method: &http::Method, path: &str) {
        self.decision.method = Some(method.as_str().chars().take(40).collect());
        self.decision.path = Some(path.chars().take(LONGEST_PATH).collect());
    }

    /// By which rule it is allowed.
    pub fn set_rule(&mut self, rule: &str) {
        rule.clone_into(&mut self.decision.rule);
    }

    pub fn set_status(&mut self, status: StatusCode) {
        self.decision.status = Some(status.as_u16());
    }

    /// It did not take place.
    pub fn refuse(&mut self, verdict: Verdict, refusal: &Refusal) {
        self.decision.verdict = verdict;
        self.decision.code = Some(refusal.code.to_owned());
        if let (Verdict::Denied, Some(remedy)) = (verdict, &refusal.remedy) {
            remedy.clone_into(&mut self.decision.rule);
        }
    }

    /// There is nothing to tell.
    pub fn forget(mut self) {
        self.is_told = false;
    }

    /// A value was sent where it does not belong.
    pub fn misused(&mut self, misuse: &Misuse) {
        self.decision.verdict = Verdict::Denied;
        self.decision.code = Some(misuse.code().to_owned());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_told {
            return;
        }
        if let Some(misuse) = self.caught.get().cloned() {
            self.misused(&misuse);
        }
        (self.decision.bytes_out, self.decision.bytes_in) = (self.sent.get(), self.received.get());
        let decision = &self.decision;
        tracing::info!(
            sandbox.id = %decision.sandbox_id,
            session.id = %self.identity.session_id,
            egress.host = decision.host,
            egress.port = decision.port,
            egress.verdict = decision.verdict.as_word(),
            http.method = decision.method,
            http.path = decision.path,
            http.status = decision.status,
            bytes_out = decision.bytes_out,
            bytes_in = decision.bytes_in,
            duration_ms = self.begun.elapsed().as_millis(),
            refused = decision.code,
            "egress"
        );
        self.recorder.witness.decided(decision.clone());
    }
}
