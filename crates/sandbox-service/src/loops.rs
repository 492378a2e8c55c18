//! Everything that a replica does in the background, from its start to its end.

use std::sync::Arc;

use platform_messaging::topology::Queue;
use tokio::net::{TcpListener, UnixListener};

use crate::admission::keeper;
use crate::link::{greeting, listener};
use crate::service::Service;
use crate::session_locks::CHECK_PERIOD;
use crate::{commands, disk_limit, leftovers, recovery, warm_pool};

const PREFETCH: u16 = 64;
const CONCURRENCY: usize = 32;

/// Starts all of it. `listener` is where sandboxes of this machine dial this replica, `of_pods` where those of a cluster do.
pub fn spawn_all(service: &Arc<Service>, listener: UnixListener, of_pods: Option<TcpListener>) {
    if let Some(of_pods) = of_pods {
        service.tasks().spawn("links of pods", listener::listen_to_pods(service.clone(), of_pods));
    }
    let tasks = service.tasks();
    tasks.spawn("link commands", consume_link_commands(service.clone()));
    tasks.spawn("missed link commands", ask_for_missed_commands(service.clone()));
    tasks.spawn("session locks", check_session_locks(service.clone()));
    tasks.spawn("links", listener::listen(service.clone(), listener));
    tasks.spawn("recovery", recovery::keep(service.clone()));
    tasks.spawn("warm pools", warm_pool::keep(service.clone()));
    tasks.spawn("admission", keeper::keep(service.clone()));
    tasks.spawn("leftovers", leftovers::keep(service.clone()));
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

/// What was on its way to a queue that vanished is lost. Whoever sent it sends it again when he hears that the sandbox is ready.
async fn ask_for_missed_commands(service: Arc<Service>) {
    let mut attachments = service.link_queue().interruptions();
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            changed = attachments.changed() => if changed.is_err() { return },
        }
        if *attachments.borrow_and_update() > 1 {
            for sandbox in service.links().all() {
                greeting::report_ready_again(&service, sandbox).await;
            }
        }
    }
}

async fn check_session_locks(service: Arc<Service>) {
    loop {
        tokio::select! {
            () = service.shutdown().cancelled() => return,
            () = tokio::time::sleep(CHECK_PERIOD) => service.session_locks().check().await,
        }
    }
}
