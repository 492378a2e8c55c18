//! Everything that a replica does in the background, from its start to its end.

use std::sync::Arc;

use platform_messaging::topology::Queue;
use tokio::net::UnixListener;

use crate::admission::keeper;
use crate::link::listener;
use crate::service::Service;
use crate::{commands, disk_limit, recovery};

const PREFETCH: u16 = 64;
const CONCURRENCY: usize = 32;

/// Starts all of it. `listener` is where sandboxes dial this replica.
pub fn spawn_all(service: &Arc<Service>, listener: UnixListener) {
    let tasks = service.tasks();
    tasks.spawn("link commands", consume_link_commands(service.clone()));
    tasks.spawn("links", listener::listen(service.clone(), listener));
    tasks.spawn("recovery", recovery::keep(service.clone()));
    tasks.spawn("admission", keeper::keep(service.clone()));
    tasks.spawn("disk limits", disk_limit::keep(service.clone()));
    tasks.spawn("sandbox commands", consume_commands(service.clone()));
}

async fn consume_commands(service: Arc<Service>) {
    let (broker, shutdown) = (service.broker().clone(), service.shutdown().clone());
    let handler = move |message| {
        let service = service.clone();
        async move { commands::carry_out(&service, &message).await }
    };
    broker.consume(Queue::SANDBOX_COMMANDS, PREFETCH, CONCURRENCY, shutdown, handler).await;
}

async fn consume_link_commands(service: Arc<Service>) {
    let (queue, shutdown) = (service.link_queue().clone(), service.shutdown().clone());
    let handler = move |message| {
        let service = service.clone();
        async move { commands::carry_out_on_link(&service, &message).await }
    };
    queue.consume(PREFETCH, CONCURRENCY, shutdown, handler).await;
}
