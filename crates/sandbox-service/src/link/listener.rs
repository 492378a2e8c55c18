//! Accepts the connections of sandboxes.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::connection;
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
                service.tasks().spawn("link", connection::serve(service.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "a link could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    service.replica().withdraw();
}
