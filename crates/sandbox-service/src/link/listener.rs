//! Accepts the connections of sandboxes.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::connection::{self, Entrance, Stream};
use crate::service::Service;

/// After a failure to accept, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts links until the service ends; then takes the socket away, so that sandboxes dial another replica.
pub async fn listen(service: Arc<Service>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            () = service.shutdown().cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                serve(&service, stream, Entrance::OfMachine);
            }
            Err(error) => {
                tracing::warn!(%error, "a link could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    service.replica().withdraw();
}

/// As [`listen`], for pods.
pub async fn listen_to_pods(service: Arc<Service>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = service.shutdown().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Frames are small, and somebody waits for each.
                let _as_good_as_it_gets = stream.set_nodelay(true);
                serve(&service, stream, Entrance::OfPods);
            }
            Err(error) => {
                tracing::warn!(%error, "a link could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn serve(service: &Arc<Service>, stream: impl Stream, entrance: Entrance) {
    service.tasks().spawn("link", connection::serve(service.clone(), stream, entrance));
}
