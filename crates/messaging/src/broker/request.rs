//! Request and reply: a command whose outcome the sender waits for.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::failure::{PublishError, RequestError};
use super::outgoing::{Delivered, Outgoing, ReplyTo};
use super::{ATTEMPT, Broker};
use crate::topology::Route;

impl Broker {
    /// Sends a command and waits for its answer.
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
        match published
            .await
            .unwrap_or_else(|_| Err(PublishError::because("no confirm in time")))?
        {
            Delivered::Unroutable => Err(RequestError::Unroutable),
            Delivered::Routed => match tokio::time::timeout_at(deadline, answer.receive()).await {
                Ok(Some(body)) => Ok(body),
                Ok(None) | Err(_) => Err(RequestError::TimedOut),
            },
        }
    }
}
