//! A virtual host, the network to it, and a service that is connected through it.

use std::time::Duration;

use platform_messaging::topology::{SESSION_COMMANDS, kind};
use platform_messaging::{Broker, Incoming, Outgoing, Verdict};
use test_support::TestBroker;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::relay::Relay;

/// Longer than anything here takes, so that a hang is a failure and not a silence.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Scene {
    pub broker: Broker,
    pub network: Relay,
    pub shutdown: CancellationToken,
    /// The virtual host goes with the scene.
    _virtual_host: TestBroker,
}

impl Scene {
    pub async fn set() -> Self {
        let virtual_host = TestBroker::create().await.unwrap();
        let (before, address) = virtual_host.url().split_once('@').unwrap();
        let (host_and_port, path) = address.split_once('/').unwrap();
        let network = Relay::to(host_and_port).await;
        let url = format!("{before}@127.0.0.1:{}/{path}", network.port());
        let broker = Broker::connect(&url.into(), "test").await.unwrap();
        broker.declare_topology().await.unwrap();
        Self { broker, network, shutdown: CancellationToken::new(), _virtual_host: virtual_host }
    }

    /// Loses the connection and gets it back.
    pub async fn interrupt(&self) {
        self.network.cut().await;
        self.until(|broker| !broker.is_connected()).await;
        self.network.restore().await;
        self.until(Broker::is_connected).await;
    }

    /// Waits for a state of the connection that comes without an event of its own.
    pub async fn until(&self, reached: impl Fn(&Broker) -> bool) {
        let wait = async {
            while !reached(&self.broker) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A command to session-service with a word as its body.
pub fn command(word: &str) -> Outgoing {
    let body = word.as_bytes().to_vec();
    Outgoing::new(SESSION_COMMANDS, kind::SESSION_COMMAND, Uuid::now_v7(), body)
}

pub fn word(incoming: &Incoming) -> String {
    String::from_utf8(incoming.body.to_vec()).unwrap()
}

/// A handler that answers every message with `verdict`, and what it received.
pub fn recorder(
    verdict: impl Fn(&Incoming) -> Verdict + Clone + Send + Sync + 'static,
) -> (
    impl Fn(Incoming) -> std::future::Ready<Verdict> + Send + Sync + 'static,
    mpsc::UnboundedReceiver<Incoming>,
) {
    let (sender, received) = mpsc::unbounded_channel();
    let handler = move |incoming: Incoming| {
        let verdict = verdict(&incoming);
        // A test that has seen enough does not listen any more.
        drop(sender.send(incoming));
        std::future::ready(verdict)
    };
    (handler, received)
}

pub async fn next<T>(received: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap()
}
