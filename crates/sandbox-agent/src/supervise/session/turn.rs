//! One turn: the prompt goes in, and whatever happens, exactly one end comes out.

use std::time::Duration;

use platform_core::id::EventId;
use platform_core::journal::Entry;
use platform_core::session::{EventBody, ModelUsage};
use platform_core::turn::StopReason;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Session, Supervision, prompt};
use crate::supervise::acp::{Message, RpcError, ToolCall};
use crate::supervise::command::{Command, TurnOrder};
use crate::supervise::failure::Failure;
use crate::supervise::harness::Harness;
use crate::supervise::link::Link;
use crate::supervise::room::{Ended, RoomError};
use crate::supervise::translate::{Produced, Translation};

/// How long a harness may take to stop when it is told to; after that it is killed.
const CANCEL_WITHIN: Duration = Duration::from_millis(1500);

/// How a turn ended.
struct End {
    reason: StopReason,
    /// For ends that are errors.
    message: Option<String>,
    usage: ModelUsage,
    /// What is left of the harness.
    harness: Remains,
}

enum Remains {
    Usable,
    /// It does not do what it should, and must be killed.
    Stuck,
    Gone,
}

impl Supervision {
    pub(super) async fn turn(
        &mut self,
        session: &mut Session,
        order: TurnOrder,
    ) -> Result<(), Failure> {
        let Some(mut harness) = session.harness.take() else { return Ok(()) };
        let turn = order.turn_id;
        let blocks = session.prompt_for(&order, harness.takes_images);
        // On disk before the harness has it: the next sandbox must know that this prompt may have been carried out.
        session.journal.append_durably(&Entry::TurnStarted { turn_id: turn }).await?;
        let start = EventBody::SpanModelRequestStart {};
        let span = session.event(&*self.ids, Some(turn), start).await?;

        let ids = self.ids.clone();
        let mut translation = Translation::new(turn, &*ids);
        let end = self.converse(session, &mut harness, &order, blocks, &mut translation).await?;
        let why = format!("the turn ended before this call did: {}", end.reason);
        tell(session, &self.link, translation.close(&why)).await?;
        self.end_turn(session, &order, span, &end).await?;

        match end.harness {
            Remains::Usable => session.harness = Some(harness),
            Remains::Stuck => {
                harness.kill(&self.room).await?;
                session.restart(&self.room, &self.places).await?;
            }
            Remains::Gone => {
                // What it started may have outlived it.
                self.room.signal_everything(nix::sys::signal::Signal::SIGKILL).await?;
                session.restart(&self.room, &self.places).await?;
            }
        }
        Ok(())
    }

    /// Prompts the harness and follows it to the end of the turn.
    async fn converse(
        &mut self,
        session: &Session,
        harness: &mut Harness,
        order: &TurnOrder,
        blocks: Vec<Value>,
        translation: &mut Translation<'_>,
    ) -> Result<End, Failure> {
        let parameters = json!({"sessionId": session.name, "prompt": blocks});
        let prompted = harness.connection.request("session/prompt", parameters).await?;
        let mut last_heard = Instant::now();
        let mut cancelled_at: Option<Instant> = None;
        loop {
            let silent_at = order.silence.map(|silence| last_heard + silence);
            let stuck_at = cancelled_at.map(|cancelled| cancelled + CANCEL_WITHIN);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::InterruptTurn(turn)) if turn == order.turn_id => {
                        if cancelled_at.is_none() {
                            cancelled_at = Some(Instant::now());
                            let parameters = json!({"sessionId": session.name});
                            harness.connection.notify("session/cancel", parameters).await?;
                        }
                    }
                    Some(Command::StartTurn(again)) if again.turn_id == order.turn_id => {}
                    Some(Command::Hydrate(again)) => self.hydrated_again(session, &again).await,
                    Some(Command::Prepare(_)) => {}
                    Some(later @ (Command::StartTurn(_) | Command::InterruptTurn(_))) => {
                        self.deferred.push(later);
                    }
                    // The link has ended for good, and with it soon this task.
                    None => std::future::pending().await,
                },
                message = harness.connection.next() => {
                    last_heard = Instant::now();
                    match message {
                        Message::Update(update) => {
                            tell(session, &self.link, translation.update(*update)).await?;
                        }
                        Message::Request { id, method, params } => {
                            self.answer(session, harness, translation, &id, &method, &params).await?;
                        }
                        Message::Response { id, outcome } if id == prompted => {
                            let was_cancelled = cancelled_at.is_some();
                            return Ok(End::of(outcome, was_cancelled, translation.has_answered()));
                        }
                        Message::Response { .. } => {}
                        // Not the harness failed but the sandbox: the next one takes the turn up.
                        Message::Ended(Ended::Room) => return Err(RoomError::Gone.into()),
                        Message::Ended(ended) => {
                            let last_lines = harness.connection.last_lines();
                            let message = format!("the harness ended ({ended}){last_lines}");
                            return Ok(End::broken(StopReason::Error, message, Remains::Gone));
                        }
                        Message::Broken => {
                            let message = "the harness does not speak the protocol".to_owned();
                            return Ok(End::broken(StopReason::Error, message, Remains::Stuck));
                        }
                    }
                },
                () = sleep_until(stuck_at.unwrap_or(last_heard)), if stuck_at.is_some() => {
                    let message = "the harness did not stop and was killed".to_owned();
                    return Ok(End::broken(StopReason::Interrupted, message, Remains::Stuck));
                }
                () = sleep_until(silent_at.unwrap_or(last_heard)), if silent_at.is_some() => {
                    let seconds = order.silence.unwrap_or_default().as_secs();
                    let message = format!("the harness said nothing for {seconds} s and was killed");
                    return Ok(End::broken(StopReason::TimedOut, message, Remains::Stuck));
                }
            }
        }
    }

    /// Answers what the harness asks for. Of everything that a client may offer, only permissions are.
    async fn answer(
        &self,
        session: &Session,
        harness: &Harness,
        translation: &mut Translation<'_>,
        id: &Value,
        method: &str,
        params: &Value,
    ) -> Result<(), Failure> {
        if method != "session/request_permission" {
            harness.connection.refuse(id, method).await?;
            return Ok(());
        }
        let call = params.get("toolCall").cloned().unwrap_or_default();
        if let Ok(call) = serde_json::from_value::<ToolCall>(call) {
            tell(session, &self.link, translation.permission_asked(&call)).await?;
        }
        let outcome = match decide(params) {
            Some(option) => json!({"outcome": "selected", "optionId": option}),
            None => json!({"outcome": "cancelled"}),
        };
        harness.connection.answer(id, &json!({"outcome": outcome})).await?;
        Ok(())
    }

    async fn end_turn(
        &self,
        session: &mut Session,
        order: &TurnOrder,
        span: EventId,
        end: &End,
    ) -> Result<(), Failure> {
        let body = EventBody::SpanModelRequestEnd {
            model_request_start_id: span,
            is_error: end.reason.is_error(),
            model_usage: end.usage,
        };
        session.event(&*self.ids, Some(order.turn_id), body).await?;
        let entry = Entry::TurnEnded {
            turn_id: order.turn_id,
            stop_reason: end.reason,
            message: end.message.clone(),
        };
        session.journal.append(&entry).await?;
        session.ended.insert(order.turn_id);
        Ok(())
    }
}

impl Session {
    /// What the harness gets for this turn. A turn that is taken up again is not started again if the harness has its prompt: what it
    /// did must not be done twice, so in doubt it is told to look and continue.
    fn prompt_for(&mut self, order: &TurnOrder, takes_images: bool) -> Vec<Value> {
        let last = self.last_prompt.take();
        let may_have_started = order.attempt > 1
            && self.started_before.as_ref().is_none_or(|turns| turns.contains(&order.turn_id));
        if may_have_started && last.is_some_and(|last| prompt::is_known(&order.prompt, &last)) {
            return prompt::continuation();
        }
        prompt::compose(&order.prompt, &std::mem::take(&mut self.history), takes_images)
    }
}

impl End {
    /// Of a harness that answered the prompt.
    fn of(outcome: Result<Value, RpcError>, was_cancelled: bool, has_answered: bool) -> Self {
        let (reason, message, usage) = match outcome {
            // Some answer a cancelled prompt with an error.
            Err(_) if was_cancelled => (StopReason::Interrupted, None, ModelUsage::default()),
            Err(error) => (StopReason::Error, Some(error.message), ModelUsage::default()),
            Ok(result) => {
                let word = result.get("stopReason").and_then(Value::as_str);
                let (reason, message) = stop_reason(word, was_cancelled, has_answered);
                (reason, message.map(str::to_owned), usage_of(&result))
            }
        };
        Self { reason, message, usage, harness: Remains::Usable }
    }

    fn broken(reason: StopReason, message: String, harness: Remains) -> Self {
        Self { reason, message: Some(message), usage: ModelUsage::default(), harness }
    }
}

/// The protocol's reasons in our words. An answer without content is none, and is not taken for one.
fn stop_reason(
    word: Option<&str>,
    was_cancelled: bool,
    has_answered: bool,
) -> (StopReason, Option<&'static str>) {
    match word {
        Some("cancelled") => (StopReason::Interrupted, None),
        _ if was_cancelled => (StopReason::Interrupted, None),
        Some("end_turn") if has_answered => (StopReason::EndTurn, None),
        Some("end_turn") => {
            (StopReason::Error, Some("the agent ended the turn without any answer"))
        }
        Some("max_turn_requests") => {
            (StopReason::MaxTurns, Some("the agent reached its limit of model calls in one turn"))
        }
        Some("max_tokens") => {
            (StopReason::Error, Some("the model reached its limit of output tokens"))
        }
        Some("refusal") => (StopReason::Refusal, None),
        Some(_) | None => {
            (StopReason::Error, Some("the agent ended the turn without a reason that is known"))
        }
    }
}

/// What the harness says about tokens. Some count the whole prompt, some only its last model call: what spending goes by is the
/// gateway's count.
fn usage_of(result: &Value) -> ModelUsage {
    let count = |name| result.pointer(name).and_then(Value::as_u64).unwrap_or_default();
    ModelUsage {
        input_tokens: count("/usage/inputTokens"),
        output_tokens: count("/usage/outputTokens"),
        cache_creation_input_tokens: count("/usage/cachedWriteTokens"),
        cache_read_input_tokens: count("/usage/cachedReadTokens"),
    }
}

/// The one place where a call is allowed or not: the option to choose. Chosen by kind, for the ids of options are the harness's own.
fn decide(params: &Value) -> Option<&Value> {
    let options = params.get("options")?.as_array()?;
    let of_kind = |kind| {
        options.iter().find(|option| option.get("kind").and_then(Value::as_str) == Some(kind))
    };
    of_kind("allow_once").or_else(|| of_kind("allow_always"))?.get("optionId")
}

async fn tell(session: &Session, link: &Link, produced: Vec<Produced>) -> Result<(), Failure> {
    for produced in produced {
        match produced {
            Produced::Preview(preview) => link.preview(preview),
            Produced::Entry(entry) => session.journal.append(&entry).await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_given_once_by_the_kind_of_the_option() {
        let params = json!({"options": [
            {"optionId": "no", "kind": "reject_once"},
            {"optionId": "always", "kind": "allow_always"},
            {"optionId": "yes", "kind": "allow_once"},
        ]});
        assert_eq!(decide(&params), Some(&json!("yes")));
        assert_eq!(decide(&json!({"options": [{"optionId": "no", "kind": "reject_once"}]})), None);
    }

    #[test]
    fn an_answer_without_content_is_an_error_and_not_an_end() {
        assert_eq!(stop_reason(Some("end_turn"), false, true), (StopReason::EndTurn, None));
        assert_eq!(stop_reason(Some("end_turn"), false, false).0, StopReason::Error);
        assert_eq!(stop_reason(None, false, true).0, StopReason::Error);
        assert_eq!(stop_reason(None, true, false).0, StopReason::Interrupted);
    }

    #[test]
    fn an_error_is_told_in_the_harness_s_own_words() {
        let error = RpcError { code: -32603, message: "Internal error: bad run key".to_owned() };
        let end = End::of(Err(error), false, false);
        assert_eq!(end.reason, StopReason::Error);
        assert_eq!(end.message.as_deref(), Some("Internal error: bad run key"));
    }
}
