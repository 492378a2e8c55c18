//! Which sandbox a pod is that dials. One that nobody has claimed yet is kept on the line, in silence, until somebody has.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use platform_core::id::{SandboxId, SessionId, TeamId};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Hello, Ping};
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use super::connection::{LOST_AFTER, PING_PERIOD, Socket, write};
use crate::backend::kubernetes::{Pods, Standing};
use crate::service::Service;

/// A standing is looked at anew after this time even if nothing was heard.
const LOOK_PERIOD: Duration = Duration::from_mins(1);

/// Whose pod it is, by what the cluster says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub sandbox: SandboxId,
    pub team: TeamId,
    pub session: SessionId,
}

/// Waits until the pod is somebody's. `None`: it is not one of ours, or it hung up.
pub async fn find(service: &Arc<Service>, hello: &Hello, socket: &mut Socket) -> Option<Caller> {
    let pods = service.backend().pods()?;
    let caller = tokio::select! {
        () = service.shutdown().cancelled() => None,
        caller = find_among(pods, hello, socket) => caller,
    };
    if caller.is_none() {
        let _gone = socket.close(None).await;
    }
    caller
}

async fn find_among(pods: &Pods, hello: &Hello, socket: &mut Socket) -> Option<Caller> {
    let pod = match pods.who(&hello.pod_token).await {
        Ok(pod) => pod,
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, "a pod's link was refused");
            return None;
        }
    };
    let mut changes = pods.follow(&pod);
    loop {
        match pods.standing(&pod).await {
            Ok(Standing::Run { sandbox, team, session }) => {
                return Some(Caller { sandbox, team, session });
            }
            Ok(Standing::Waiting) => {}
            Err(error) => {
                tracing::warn!(
                    pod.namespace = pod.namespace,
                    pod.name = pod.name,
                    error = &error as &dyn Error,
                    "a pod's link was refused"
                );
                return None;
            }
        }
        tracing::debug!(pod.name = pod.name, "a pod waits on its link");
        if !is_kept(socket, &mut changes).await {
            return None;
        }
    }
}

/// Keeps the link until something changed; `false` when it broke.
async fn is_kept(socket: &mut Socket, changes: &mut watch::Receiver<()>) -> bool {
    let mut pings = interval(PING_PERIOD);
    let mut last_sign = Instant::now();
    let mut nonce = 0;
    let look_again = tokio::time::sleep(LOOK_PERIOD);
    tokio::pin!(look_again);
    loop {
        tokio::select! {
            () = &mut look_again => return true,
            told = changes.changed() => return told.is_ok(),
            packet = socket.next() => {
                if !matches!(packet, Some(Ok(_))) {
                    return false;
                }
                last_sign = Instant::now();
            }
            _ = pings.tick() => {
                nonce += 1;
                let is_silent = last_sign.elapsed() > LOST_AFTER;
                if is_silent || write(socket, Body::Ping(Ping { nonce })).await.is_err() {
                    return false;
                }
            }
        }
    }
}
