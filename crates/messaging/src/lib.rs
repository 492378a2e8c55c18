//! What travels between the services and how: the protobuf messages, their frames, and RabbitMQ.

mod envelope;
pub mod framing;
pub mod proto;

#[cfg(feature = "broker")]
mod broker;
#[cfg(feature = "broker")]
pub mod topology;

pub use envelope::{DecodeError, decode, encode};

#[cfg(feature = "broker")]
pub use broker::{
    Broker,
    consumer::{Consumption, Incoming, Verdict},
    failure::{BrokerError, PublishError, RequestError},
    outgoing::{Delivered, Outgoing, ReplyTo},
    own_queue::OwnQueue,
};
