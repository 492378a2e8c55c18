//! What happens after a link broke: the sandbox has a while to come back, to any replica, before it counts as lost.

use std::sync::Arc;
use std::time::Duration;

use platform_core::id::{CommandId, SandboxId};
use platform_messaging::proto::sandbox::SandboxCommand;
use platform_messaging::topology::{kind, sandbox_link};
use platform_messaging::{Delivered, Outgoing, PublishError, encode};

use crate::ending;
use crate::notes::Loss;
use crate::service::Service;

/// In seconds in which the platform could have taken a link.
const GRACE: u64 = 10;

/// Gives a sandbox without a link its time to come back, in the background.
pub fn spawn(service: &Arc<Service>, sandbox: SandboxId) {
    let service = service.clone();
    service.clone().tasks().spawn("grace of a link", async move {
        let mut waited = 0;
        while waited < GRACE {
            tokio::select! {
                () = service.shutdown().cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if service.links().is_open(sandbox) {
                return;
            }
            // While database or broker are away no link can be checked or bound: that is not the sandbox's fault.
            waited = if can_take_links(&service).await { waited + 1 } else { 0 };
        }
        let elsewhere =
            service.until_done("looking for a link", || is_reachable(&service, sandbox)).await;
        if elsewhere == Some(false) && !service.links().is_open(sandbox) {
            let message = format!("the sandbox's link broke and did not come back in {GRACE} s");
            ending::lose(&service, sandbox, Loss::new("link_lost", message)).await;
        }
    });
}

async fn can_take_links(service: &Service) -> bool {
    service.broker().check().is_ok() && service.database().ping().await.is_ok()
}

/// Whether any replica holds the sandbox's link: a command without an action finds its way to one, or comes back.
pub async fn is_reachable(service: &Service, sandbox: SandboxId) -> Result<bool, PublishError> {
    if service.links().is_open(sandbox) {
        return Ok(true);
    }
    let command_id = CommandId::mint(service.ids()).uuid();
    let probe = SandboxCommand { command_id: command_id.to_string(), ..SandboxCommand::default() };
    let message =
        Outgoing::new(sandbox_link(sandbox), kind::SANDBOX_COMMAND, command_id, encode(&probe));
    Ok(service.broker().publish(message.mandatory().transient()).await? == Delivered::Routed)
}
