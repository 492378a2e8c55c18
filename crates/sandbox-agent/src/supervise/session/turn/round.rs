//! One prompt of a turn, from the moment the harness has it until it ends or is ended.

use std::time::Duration;

use platform_core::id::EventId;
use platform_core::journal::Entry;
use platform_core::turn::StopReason;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::asks::{self, Asks};
use super::customs::Customs;
use super::end::{End, Remains};
use super::{Session, Supervision, tell};
use crate::supervise::acp::{Message, ToolCall};
use crate::supervise::command::{Answered, Command, TurnOrder};
use crate::supervise::failure::Failure;
use crate::supervise::harness::Harness;
use crate::supervise::room::{Ended, RoomError};
use crate::supervise::tools::CustomCall;
use crate::supervise::translate::{Translation, Verdict};

/// How long a harness may take to stop when it is told to; after that it is killed.
const CANCEL_WITHIN: Duration = Duration::from_millis(1500);

/// How long after a call, or the request for leave to make it, the harness may tell of it.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// How often the text that is being written is shown as a whole: a replica that holds the link may die with a part in its hands, and a
/// gateway may begin to listen in the middle.
const REPEATED_EVERY: Duration = Duration::from_millis(500);
/// Every so manieth time also if it has not grown.
const REPEATED_ANYWAY: u64 = 10;

pub(super) struct Round<'turn, 'translation> {
    supervision: &'turn mut Supervision,
    session: &'turn Session,
    harness: &'turn mut Harness,
    order: &'turn TurnOrder,
    translation: &'turn mut Translation<'translation>,
    /// The id of the request that holds the prompt.
    prompted: u64,
    asks: Asks,
    customs: Customs,
    /// Calls of the client's tools that the harness has not told of yet. They come another way than what it said before them.
    early: Vec<(CustomCall, Instant)>,
    last_heard: Instant,
    cancelled_at: Option<Instant>,
    repeat_at: Instant,
    repeats: u64,
}

impl<'turn, 'translation> Round<'turn, 'translation> {
    /// Hands the prompt to the harness.
    pub(super) async fn begin(
        supervision: &'turn mut Supervision,
        session: &'turn Session,
        harness: &'turn mut Harness,
        order: &'turn TurnOrder,
        translation: &'turn mut Translation<'translation>,
        blocks: Vec<Value>,
    ) -> Result<Self, Failure> {
        let parameters = json!({"sessionId": session.name, "prompt": blocks});
        let prompted = harness.connection.request("session/prompt", parameters).await?;
        Ok(Self {
            supervision,
            session,
            harness,
            order,
            translation,
            prompted,
            asks: Asks::default(),
            customs: Customs::default(),
            early: Vec::new(),
            last_heard: Instant::now(),
            cancelled_at: None,
            repeat_at: Instant::now() + REPEATED_EVERY,
            repeats: 0,
        })
    }

    /// Follows what the harness does until it ends, or is ended.
    pub(super) async fn follow(mut self) -> Result<End, Failure> {
        let end = self.until_its_end().await?;
        for call in self.customs.abandon() {
            self.give_up(call).await?;
        }
        Ok(end)
    }

    async fn until_its_end(&mut self) -> Result<End, Failure> {
        loop {
            let silent_at = self.silent_at();
            let stuck_at = self.cancelled_at.map(|cancelled| cancelled + CANCEL_WITHIN);
            let asked = self.asks.unsettled().into_iter().map(|(_, since)| since);
            let called = self.early.iter().map(|(_, since)| *since);
            let late_at = asked.chain(called).min().map(|since| since + TOLD_WITHIN);
            let never = self.last_heard;
            tokio::select! {
                command = self.supervision.commands.recv() => match command {
                    Some(command) => self.take_command(command).await?,
                    // The link has ended for good, and with it soon this task.
                    None => std::future::pending().await,
                },
                message = self.harness.connection.next() => {
                    self.last_heard = Instant::now();
                    if let Some(end) = self.take_message(message).await? {
                        return Ok(end);
                    }
                }
                call = self.supervision.tools.next() => self.take_call(call).await?,
                call = self.customs.given_up() => {
                    self.last_heard = Instant::now();
                    self.give_up(call).await?;
                }
                () = sleep_until(self.repeat_at) => self.repeat_text(),
                () = sleep_until(late_at.unwrap_or(never)), if late_at.is_some() => {
                    self.settle().await?;
                }
                () = sleep_until(stuck_at.unwrap_or(never)), if stuck_at.is_some() => {
                    let message = "the harness did not stop and was killed".to_owned();
                    return Ok(End::broken(StopReason::Interrupted, message, Remains::Stuck));
                }
                () = sleep_until(silent_at.unwrap_or(never)), if silent_at.is_some() => {
                    let seconds = self.order.silence.unwrap_or_default().as_secs();
                    let message = format!("the harness said nothing for {seconds} s and was killed");
                    return Ok(End::broken(StopReason::TimedOut, message, Remains::Stuck));
                }
            }
        }
    }

    fn repeat_text(&mut self) {
        self.repeats += 1;
        let anyway = self.repeats.is_multiple_of(REPEATED_ANYWAY);
        if let Some(preview) = self.translation.repeat_text(anyway) {
            self.supervision.link.preview(preview);
        }
        self.repeat_at = Instant::now() + REPEATED_EVERY;
    }

    /// When the harness will have been silent for too long. While a call waits for somebody it has nothing to say.
    fn silent_at(&self) -> Option<Instant> {
        let waits = !self.asks.is_empty() || !self.customs.is_empty();
        let silence = self.order.silence.filter(|_| !waits);
        silence.map(|silence| self.last_heard + silence)
    }

    async fn take_command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::InterruptTurn(turn) if turn == self.order.turn_id => self.cancel().await,
            Command::Answer(answered) if answered.turn_id == self.order.turn_id => {
                self.take_answer(answered).await
            }
            Command::StartTurn(again) if again.turn_id == self.order.turn_id => Ok(()),
            Command::Hydrate(again) => {
                self.supervision.hydrated_again(self.session, &again).await;
                Ok(())
            }
            Command::Prepare(_) | Command::Answer(_) => Ok(()),
            later @ (Command::StartTurn(_) | Command::InterruptTurn(_)) => {
                self.supervision.deferred.push(later);
                Ok(())
            }
        }
    }

    /// Tells the harness to stop. Whoever is asked about a call is not needed any more.
    async fn cancel(&mut self) -> Result<(), Failure> {
        if self.cancelled_at.is_some() {
            return Ok(());
        }
        self.cancelled_at = Some(Instant::now());
        let parameters = json!({"sessionId": self.session.name});
        self.harness.connection.notify("session/cancel", parameters).await?;
        for ask in self.asks.take(|_| true) {
            self.harness.connection.answer(&ask.request, &asks::cancelled()).await?;
        }
        self.customs.abandon();
        self.early.clear();
        Ok(())
    }

    /// Hands an answer on to the harness. One that comes again finds nothing that waits for it.
    async fn take_answer(&mut self, answered: Answered) -> Result<(), Failure> {
        let Answered { turn_id, call: event_id, answer } = answered;
        if let Some((call, verdict, produced)) = self.translation.answered(event_id, &answer) {
            tell(self.session, &self.supervision.link, produced).await?;
            self.answer(&call, verdict).await?;
        } else if !self.customs.answer(event_id, answer) {
            return Ok(());
        }
        self.session.journal.append(&Entry::ActionResumed { turn_id, event_id }).await?;
        self.last_heard = Instant::now();
        Ok(())
    }

    /// One of the client's tools is called; the client has to carry it out.
    async fn take_call(&mut self, call: CustomCall) -> Result<(), Failure> {
        // Left over from a harness that is gone, or too late.
        if call.answer.is_closed() || self.cancelled_at.is_some() {
            return Ok(());
        }
        self.early.push((call, Instant::now()));
        self.announce_calls().await
    }

    /// Has the client carry out what the harness called and told of.
    async fn announce_calls(&mut self) -> Result<(), Failure> {
        for (call, since) in std::mem::take(&mut self.early) {
            if call.answer.is_closed() {
                continue;
            }
            let is_late = since.elapsed() >= TOLD_WITHIN;
            if !is_late && !self.translation.has_told_of(&call.name, &call.input) {
                self.early.push((call, since));
                continue;
            }
            let (id, produced) = self.translation.custom_called(call.name, call.input);
            self.customs.add(id, call.answer);
            tell(self.session, &self.supervision.link, produced).await?;
        }
        Ok(())
    }

    /// The harness does not wait for the client any more.
    async fn give_up(&mut self, call: EventId) -> Result<(), Failure> {
        let given_up = self.translation.custom_given_up(call);
        tell(self.session, &self.supervision.link, vec![given_up]).await
    }

    /// Takes what the harness says; answers the end if it is one.
    async fn take_message(&mut self, message: Message) -> Result<Option<End>, Failure> {
        match message {
            Message::Update(update) => {
                let produced = self.translation.update(*update);
                tell(self.session, &self.supervision.link, produced).await?;
                self.settle().await?;
            }
            Message::Request { id, method, params } => {
                self.take_request(id, &method, &params).await?;
            }
            Message::Response { id, outcome } if id == self.prompted => {
                let was_cancelled = self.cancelled_at.is_some();
                let has_answered = self.translation.has_answered();
                return Ok(Some(End::of(outcome, was_cancelled, has_answered)));
            }
            Message::Response { .. } => {}
            // Not the harness failed but the sandbox: the next one takes the turn up.
            Message::Ended(Ended::Room) => return Err(RoomError::Gone.into()),
            Message::Ended(ended) => {
                let last_lines = self.harness.connection.last_lines();
                let message = format!("the harness ended ({ended}){last_lines}");
                return Ok(Some(End::broken(StopReason::Error, message, Remains::Gone)));
            }
            Message::Broken => {
                let message = "the harness does not speak the protocol".to_owned();
                return Ok(Some(End::broken(StopReason::Error, message, Remains::Stuck)));
            }
        }
        Ok(None)
    }

    /// Of everything that a harness may ask of a client, only leave to make a call is answered.
    async fn take_request(
        &mut self,
        request: Value,
        method: &str,
        params: &Value,
    ) -> Result<(), Failure> {
        if method != "session/request_permission" {
            self.harness.connection.refuse(&request, method).await?;
            return Ok(());
        }
        let call = params.get("toolCall").cloned().unwrap_or_default();
        let call = serde_json::from_value::<ToolCall>(call).ok();
        let Some(call) = call.filter(|_| self.cancelled_at.is_none()) else {
            self.harness.connection.answer(&request, &asks::cancelled()).await?;
            return Ok(());
        };
        let produced = self.translation.leave_asked(&call);
        tell(self.session, &self.supervision.link, produced).await?;
        self.asks.add(request, params, call.id);
        self.settle().await
    }

    /// Deals with every call that what is known now is enough for.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.announce_calls().await?;
        for (call, since) in self.asks.unsettled() {
            let is_late = since.elapsed() >= TOLD_WITHIN;
            let (verdict, produced) = self.translation.decide(&call, is_late);
            tell(self.session, &self.supervision.link, produced).await?;
            match verdict {
                Verdict::Allow | Verdict::Refuse => self.answer(&call, verdict).await?,
                Verdict::Wait => self.asks.settle(&call),
                Verdict::Later => {}
            }
        }
        // The harness gave these up by itself.
        let translation = &*self.translation;
        for ask in self.asks.take(|call| !translation.is_open(call)) {
            self.harness.connection.answer(&ask.request, &asks::cancelled()).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, call: &str, verdict: Verdict) -> Result<(), Failure> {
        for ask in self.asks.take(|asked| asked == call) {
            self.harness.connection.answer(&ask.request, &ask.outcome(verdict)).await?;
        }
        Ok(())
    }
}
