//! A message on its way out.

use std::borrow::Cow;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use uuid::Uuid;

use crate::topology::{Route, kind};

pub(crate) const TRACEPARENT: &str = "traceparent";
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub exchange: Cow<'static, str>,
    pub routing_key: Cow<'static, str>,
    /// What the message is; see [`kind`](crate::topology::kind).
    pub kind: Cow<'static, str>,
    /// The same for every repetition of one message: the command's id, for a command.
    pub message_id: Uuid,
    /// Whether it matters that no queue takes the message; then it is reported as [`Delivered::Unroutable`].
    pub mandatory: bool,
    /// Whether the message survives a restart of the broker, where its queue does.
    pub persistent: bool,
    pub body: Vec<u8>,
    pub reply: Option<ReplyTo>,
    /// The W3C trace context that the message belongs to.
    pub traceparent: Option<String>,
}

/// Where the answer goes, and what it is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    pub queue: String,
    pub correlation_id: String,
}

/// What became of a confirmed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    Routed,
    /// Only for mandatory messages: no queue was bound, and the message is gone.
    Unroutable,
}

impl Outgoing {
    /// A persistent message that nobody needs to receive.
    pub fn new(route: Route, kind: &'static str, message_id: Uuid, body: Vec<u8>) -> Self {
        Self {
            exchange: route.exchange.into(),
            routing_key: route.routing_key,
            kind: kind.into(),
            message_id,
            mandatory: false,
            persistent: true,
            body,
            reply: None,
            traceparent: None,
        }
    }

    #[must_use]
    pub fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    #[must_use]
    pub fn transient(mut self) -> Self {
        self.persistent = false;
        self
    }

    #[must_use]
    pub fn traceparent(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }

    /// The answer to a message that asked for one. It goes straight to the asker's queue, and is lost if that is gone.
    pub(crate) fn answer(reply: ReplyTo, body: Vec<u8>) -> Self {
        Self {
            exchange: "".into(),
            routing_key: reply.queue.into(),
            kind: kind::ANSWER.into(),
            message_id: Uuid::nil(),
            mandatory: false,
            persistent: false,
            body,
            reply: Some(ReplyTo { queue: String::new(), correlation_id: reply.correlation_id }),
            traceparent: None,
        }
    }

    pub(crate) fn properties(&self) -> BasicProperties {
        let mut properties = BasicProperties::default()
            .with_type(short(&self.kind))
            .with_message_id(short(&self.message_id.to_string()))
            .with_delivery_mode(if self.persistent { PERSISTENT } else { TRANSIENT });
        if let Some(reply) = &self.reply {
            properties = properties.with_correlation_id(short(&reply.correlation_id));
            if !reply.queue.is_empty() {
                properties = properties.with_reply_to(short(&reply.queue));
            }
        }
        if let Some(traceparent) = &self.traceparent {
            let mut headers = FieldTable::default();
            let value = AMQPValue::LongString(traceparent.as_str().into());
            headers.insert(TRACEPARENT.into(), value);
            properties = properties.with_headers(headers);
        }
        properties
    }
}

fn short(text: &str) -> ShortString {
    text.into()
}
