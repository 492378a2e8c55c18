//! Request and reply: a command whose outcome the sender waits for.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

use super::failure::{PublishError, RequestError, describe};
use super::outgoing::{Delivered, Outgoing, ReplyTo};
use super::{ATTEMPT, Broker};
use crate::topology::Route;

/// A command without an answer is sent once more after so long, then after twice as long, and so on: its consumer may be frozen, and
/// would keep it from all others.
const REPEATED_AFTER: Duration = Duration::from_secs(3);

impl Broker {
    /// Sends a command and waits for its answer. While none comes the command is repeated: whoever takes it a second time answers as the
    /// first time.
    ///
    /// Answers [`RequestError::TimedOut`] only when the broker has the command: it will be carried out, and asking again with
    /// the same `command_id` brings the same answer.
    pub async fn request(
        &self,
        route: Route,
        kind: &'static str,
        command_id: Uuid,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        self.request_message(Outgoing::new(route, kind, command_id, body), timeout).await
    }

    /// As [`Broker::request`], for a message with a trace context.
    pub async fn request_message(
        &self,
        message: Outgoing,
        timeout: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let deadline = Instant::now() + timeout;
        let sending = Instant::now() + ATTEMPT.min(timeout);

        let live = tokio::time::timeout_at(sending, self.live())
            .await
            .map_err(|_elapsed| PublishError::because("no connection in time"))?
            .map_err(|failure| PublishError::from_broker(&failure))?;

        // Not the message's id: that is the same when one process asks twice, and each asker waits for an answer of its own.
        let correlation_id = Uuid::new_v4().to_string();
        let mut answer = live.expect_answer(&correlation_id);
        let reply = ReplyTo { queue: live.reply_queue.clone(), correlation_id };
        let message = Outgoing { reply: Some(reply), ..message.mandatory() };

        let published = tokio::time::timeout_at(sending, live.publish(&message));
        let published = published.await;
        match published.unwrap_or_else(|_| Err(PublishError::because("no confirm in time")))? {
            Delivered::Unroutable => return Err(RequestError::Unroutable),
            Delivered::Routed => {}
        }
        let mut pause = REPEATED_AFTER;
        loop {
            let repeat_at = Instant::now() + pause;
            match tokio::time::timeout_at(repeat_at.min(deadline), answer.receive()).await {
                Ok(Some(body)) => return Ok(body),
                Ok(None) => return Err(RequestError::TimedOut),
                Err(_elapsed) if repeat_at >= deadline => return Err(RequestError::TimedOut),
                Err(_elapsed) => {}
            }
            // The broker has it already: should this one not get there, nothing is lost.
            if let Err(failure) = live.publish_unconfirmed(&message).await {
                debug!(reason = describe(&failure), "a command was not repeated");
            }
            pause *= 2;
        }
    }
}
