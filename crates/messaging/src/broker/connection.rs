//! One live connection and the channels on it. Never repaired: when it is lost, the supervisor makes a new one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot};
use uuid::Uuid;

use super::failure::BrokerError;

/// How many mandatory messages may be on their way at once.
const LANES: usize = 16;

pub(crate) struct LiveConnection {
    /// Counts the connections of this process: 1, 2, 3 …
    pub(crate) generation: u64,
    pub(crate) reply_queue: String,
    connection: Connection,
    confirmed: AsyncMutex<Option<Channel>>,
    unconfirmed: AsyncMutex<Option<Channel>>,
    lanes: Mutex<Vec<Channel>>,
    lane_permits: Semaphore,
    /// Who waits for which answer. `None` once the connection is lost, when no answer can come any more.
    waiting: Mutex<Option<HashMap<String, oneshot::Sender<Vec<u8>>>>>,
}

impl LiveConnection {
    /// Opens the reply queue on a fresh connection. The connection counts as lost when the returned consumer ends.
    pub(crate) async fn open(
        connection: Connection,
        generation: u64,
    ) -> Result<(Self, Consumer), BrokerError> {
        let channel = connection.create_channel().await?;
        let reply_queue = format!("answers.{}", Uuid::new_v4());
        let exclusive = QueueDeclareOptions::exclusive().auto_delete();
        channel
            .queue_declare(reply_queue.as_str().into(), exclusive, FieldTable::default())
            .await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel
            .basic_consume(reply_queue.as_str().into(), "".into(), options, FieldTable::default())
            .await?;
        let live = Self {
            generation,
            reply_queue,
            connection,
            confirmed: AsyncMutex::default(),
            unconfirmed: AsyncMutex::default(),
            lanes: Mutex::default(),
            lane_permits: Semaphore::new(LANES),
            waiting: Mutex::new(Some(HashMap::new())),
        };
        Ok((live, consumer))
    }

    /// A fresh channel.
    pub(crate) async fn channel(&self) -> Result<Channel, BrokerError> {
        Ok(self.connection.create_channel().await?)
    }

    /// The channel that all confirmed, not mandatory messages share.
    pub(crate) async fn confirmed(&self) -> Result<Channel, BrokerError> {
        let mut slot = self.confirmed.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.confirming_channel().await?;
        Ok(slot.insert(channel).clone())
    }

    /// The channel that previews and answers share.
    pub(crate) async fn unconfirmed(&self) -> Result<Channel, BrokerError> {
        let mut slot = self.unconfirmed.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.channel().await?;
        Ok(slot.insert(channel).clone())
    }

    /// A channel for one mandatory message at a time.
    ///
    /// lapin hands a returned message to whichever publish of the channel is acknowledged next, and RabbitMQ may acknowledge an
    /// earlier one in between. With one message per channel at a time, a return can belong to that message only.
    pub(crate) async fn lane(&self) -> Result<Lane<'_>, BrokerError> {
        let permit = self.lane_permits.acquire().await.map_err(|_closed| BrokerError::closed())?;
        let idle = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let channel = match idle.filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.confirming_channel().await?,
        };
        Ok(Lane { live: self, channel, _permit: permit })
    }

    async fn confirming_channel(&self) -> Result<Channel, BrokerError> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// The answer to `correlation_id` will come out of the returned receiver, which fails when the connection is lost.
    pub(crate) fn expect_answer(&self, correlation_id: &str) -> AwaitedAnswer<'_> {
        let (sender, receiver) = oneshot::channel();
        if let Some(waiting) = self.lock_waiting().as_mut() {
            waiting.insert(correlation_id.to_owned(), sender);
        }
        AwaitedAnswer { live: self, correlation_id: correlation_id.to_owned(), receiver }
    }

    /// Hands answers to whoever waits for them, until the connection is lost.
    pub(crate) async fn deliver_answers(&self, mut answers: Consumer) -> Option<lapin::Error> {
        while let Some(answer) = answers.next().await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(failure) => return Some(failure),
            };
            let Some(correlation_id) = answer.properties.correlation_id() else { continue };
            let waiting =
                self.lock_waiting().as_mut().and_then(|all| all.remove(correlation_id.as_str()));
            if let Some(waiting) = waiting {
                let _asker_gave_up = waiting.send(answer.data);
            }
        }
        None
    }

    /// Tells everybody who waits for an answer that none will come.
    pub(crate) fn give_up_answers(&self) {
        self.lock_waiting().take();
    }

    pub(crate) async fn close(&self) -> Result<(), lapin::Error> {
        self.connection.close(200, "closing".into()).await
    }

    fn lock_waiting(
        &self,
    ) -> std::sync::MutexGuard<'_, Option<HashMap<String, oneshot::Sender<Vec<u8>>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel for one mandatory message. Dropped without [`Lane::give_back`], the channel is closed, for its state is not known.
pub(crate) struct Lane<'live> {
    live: &'live LiveConnection,
    pub(crate) channel: Channel,
    _permit: tokio::sync::SemaphorePermit<'live>,
}

impl Lane<'_> {
    pub(crate) fn give_back(self) {
        self.live.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(self.channel.clone());
    }
}

/// An answer that is waited for; forgotten when dropped.
pub(crate) struct AwaitedAnswer<'live> {
    live: &'live LiveConnection,
    correlation_id: String,
    receiver: oneshot::Receiver<Vec<u8>>,
}

impl AwaitedAnswer<'_> {
    /// `None` when the connection was lost.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for AwaitedAnswer<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.live.lock_waiting().as_mut() {
            waiting.remove(&self.correlation_id);
        }
    }
}
