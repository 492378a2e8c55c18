//! Publishing: confirmed, mandatory, or transient.

use lapin::Confirmation;
use lapin::options::BasicPublishOptions;

use super::failure::PublishError;
use super::outgoing::{Delivered, Outgoing};
use super::{ATTEMPT, Broker};
use crate::broker::connection::LiveConnection;

impl Broker {
    /// Publishes a message and waits until the broker has taken responsibility for it, at most [three seconds](ATTEMPT).
    ///
    /// Any number may be on their way at once.
    pub async fn publish(&self, message: Outgoing) -> Result<Delivered, PublishError> {
        let attempt = async {
            let live = self.live().await.map_err(|failure| PublishError::from_broker(&failure))?;
            live.publish(&message).await
        };
        tokio::time::timeout(ATTEMPT, attempt)
            .await
            .unwrap_or_else(|_elapsed| Err(PublishError::because("no confirm in time")))
    }

    /// Sends a message that may be lost, without waiting for the broker: previews.
    ///
    /// Fails only when there is no connection at the moment.
    pub async fn publish_transient(&self, message: Outgoing) -> Result<(), PublishError> {
        let live = self
            .shared
            .state
            .borrow()
            .live()
            .ok_or_else(|| PublishError::because("there is no connection"))?;
        live.publish_unconfirmed(&message).await
    }
}

impl LiveConnection {
    pub(crate) async fn publish(&self, message: &Outgoing) -> Result<Delivered, PublishError> {
        if message.mandatory {
            return self.publish_mandatory(message).await;
        }
        let channel =
            self.confirmed().await.map_err(|failure| PublishError::from_broker(&failure))?;
        let confirmation = publish_on(&channel, message).await?;
        delivered(confirmation)
    }

    async fn publish_mandatory(&self, message: &Outgoing) -> Result<Delivered, PublishError> {
        let lane = self.lane().await.map_err(|failure| PublishError::from_broker(&failure))?;
        let confirmation = publish_on(&lane.channel, message).await?;
        lane.give_back();
        delivered(confirmation)
    }

    pub(crate) async fn publish_unconfirmed(&self, message: &Outgoing) -> Result<(), PublishError> {
        let channel =
            self.unconfirmed().await.map_err(|failure| PublishError::from_broker(&failure))?;
        publish_on(&channel, message).await?;
        Ok(())
    }
}

async fn publish_on(
    channel: &lapin::Channel,
    message: &Outgoing,
) -> Result<Confirmation, PublishError> {
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let sent = channel
        .basic_publish(
            message.exchange.as_ref().into(),
            message.routing_key.as_ref().into(),
            options,
            &message.body,
            message.properties(),
        )
        .await
        .map_err(|failure| PublishError::from_client(&failure))?;
    sent.await.map_err(|failure| PublishError::from_client(&failure))
}

fn delivered(confirmation: Confirmation) -> Result<Delivered, PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(Delivered::Routed),
        Confirmation::Ack(Some(_returned)) => Ok(Delivered::Unroutable),
        Confirmation::Nack(_) => Err(PublishError::because("the queue refused it")),
        Confirmation::NotRequested => Err(PublishError::because("the channel does not confirm")),
    }
}
