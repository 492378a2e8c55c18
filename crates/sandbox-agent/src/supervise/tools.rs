//! The client's own tools, as a server of the Model Context Protocol that the harness reaches through its room. It offers what the
//! agent's definition names and nothing else; a call waits here until the client has carried it out, for however long that takes.

mod server;

use platform_core::session::ContentBlock;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::server::Server;
use super::policy::Policy;
use super::room::Room;

/// Calls that may wait to be taken up.
const WAITING: usize = 32;

/// A call that the harness makes of one of the client's tools.
#[derive(Debug)]
pub(super) struct CustomCall {
    /// As the client defined it.
    pub(super) name: String,
    pub(super) input: Map<String, Value>,
    /// Dropping it tells the harness that there will be no result. It is closed when the harness gives the call up.
    pub(super) answer: oneshot::Sender<CustomResult>,
}

#[derive(Debug)]
pub(super) struct CustomResult {
    pub(super) content: Vec<ContentBlock>,
    pub(super) is_error: bool,
}

/// The near side of the server, which ends with it.
pub(super) struct Tools {
    offered: watch::Sender<Vec<Value>>,
    calls: mpsc::Receiver<CustomCall>,
    server: JoinHandle<()>,
}

impl Tools {
    pub(super) fn serve(room: &Room) -> Self {
        let (offered, seen) = watch::channel(Vec::new());
        let (sender, calls) = mpsc::channel(WAITING);
        let server = tokio::spawn(Server::new(room.clone(), seen, sender).run());
        Self { offered, calls, server }
    }

    /// Offers the tools of the session's agent.
    pub(super) fn offer(&self, policy: &Policy) {
        let offered = policy.custom_tools().map(
            |(name, description, schema)| json!({"name": name, "description": description, "inputSchema": schema}),
        );
        self.offered.send_replace(offered.collect());
    }

    /// The next call. May be dropped at any await point without losing anything.
    pub(super) async fn next(&mut self) -> CustomCall {
        match self.calls.recv().await {
            Some(call) => call,
            // The server ends only with this.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        self.server.abort();
    }
}
