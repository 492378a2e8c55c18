//! Declares the topology on a channel. Repeatable: what is there already stays as it is.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::failure::BrokerError;
use crate::topology::{self, COMMAND_QUEUES, DEAD, DELIVERY_LIMIT, Queue};

pub(crate) async fn declare(channel: &Channel) -> Result<(), BrokerError> {
    declare_exchange(channel, DEAD, ExchangeKind::Fanout).await?;
    declare_queue(channel, Queue::DEAD_LETTERS, quorum()).await?;
    bind(channel, Queue::DEAD_LETTERS.name(), DEAD, "").await?;

    for (queue, route) in COMMAND_QUEUES {
        declare_exchange(channel, route.exchange, ExchangeKind::Direct).await?;
        declare_queue(channel, queue, command_queue()).await?;
        bind(channel, queue.name(), route.exchange, &route.routing_key).await?;
    }

    declare_exchange(channel, topology::SANDBOX_LINKS, ExchangeKind::Direct).await?;
    declare_exchange(channel, topology::EVENTS, ExchangeKind::Topic).await?;
    declare_exchange(channel, topology::PREVIEWS, ExchangeKind::Topic).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

fn command_queue() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEAD.into()));
    arguments
}

async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    Ok(channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await?)
}

async fn declare_queue(
    channel: &Channel,
    queue: Queue,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    channel.queue_declare(queue.name().into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok(())
}

pub(crate) async fn bind(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    routing_key: &str,
) -> Result<(), BrokerError> {
    let options = QueueBindOptions::default();
    let arguments = FieldTable::default();
    Ok(channel
        .queue_bind(queue.into(), exchange.into(), routing_key.into(), options, arguments)
        .await?)
}
