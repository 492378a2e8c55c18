//! Makes the connection, notices its loss, makes it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Consumer};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::connection::LiveConnection;
use super::declaration;
use super::failure::{BrokerError, describe};

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A broker that starts accepts connections before it can serve them.
const OPENING: Duration = Duration::from_secs(10);
const CLOSING: Duration = Duration::from_secs(2);
/// A broker that hangs is noticed after two of these.
const HEARTBEAT_SECONDS: u16 = 10;

/// Where the connection stands.
#[derive(Clone)]
pub(crate) enum State {
    Connecting,
    Live(Arc<LiveConnection>),
    Lost { reason: String },
}

impl State {
    pub(crate) fn live(&self) -> Option<Arc<LiveConnection>> {
        match self {
            Self::Live(live) => Some(live.clone()),
            Self::Connecting | Self::Lost { .. } => None,
        }
    }
}

pub(crate) struct Supervisor {
    address: AMQPUri,
    name: String,
    wants_topology: Arc<AtomicBool>,
    closing: CancellationToken,
}

impl Supervisor {
    pub(crate) fn new(
        url: &SecretString,
        name: &str,
        wants_topology: Arc<AtomicBool>,
        closing: CancellationToken,
    ) -> Result<Self, BrokerError> {
        let mut address = url
            .expose_secret()
            .parse::<AMQPUri>()
            .map_err(|reason| BrokerError::InvalidUrl { reason })?;
        address.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self { address, name: name.to_owned(), wants_topology, closing })
    }

    /// Starts the task that owns the connection. It ends, and closes the receiver, only when it is told to close.
    pub(crate) fn start(self) -> watch::Receiver<State> {
        let (sender, receiver) = watch::channel(State::Connecting);
        let span = info_span!("broker", broker.name = self.name);
        tokio::spawn(self.run(sender).instrument(span));
        receiver
    }

    async fn run(self, sender: watch::Sender<State>) {
        let closing = self.closing.clone();
        let mut generation = 0;
        let mut pause = SHORTEST_PAUSE;
        while !closing.is_cancelled() {
            generation += 1;
            let opened = tokio::select! {
                () = closing.cancelled() => break,
                opened = tokio::time::timeout(OPENING, self.open(generation)) => opened,
            };
            let reason = match opened {
                Ok(Ok((live, answers))) => {
                    info!(broker.generation = generation, "connected to the broker");
                    pause = SHORTEST_PAUSE;
                    self.hold(Arc::new(live), answers, &sender).await
                }
                Ok(Err(reason)) => reason,
                Err(_elapsed) => format!("no connection within {} s", OPENING.as_secs()),
            };
            if closing.is_cancelled() {
                break;
            }
            let is_news = !matches!(*sender.borrow(), State::Lost { .. });
            if is_news {
                warn!(reason, "no connection to the broker; trying again until there is one");
            } else {
                debug!(reason, "still no connection to the broker");
            }
            sender.send_replace(State::Lost { reason });
            tokio::select! {
                () = closing.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        sender.send_replace(State::Lost { reason: "the connection was closed".to_owned() });
    }

    async fn open(&self, generation: u64) -> Result<(LiveConnection, Consumer), String> {
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let connection = Connection::connect_uri(self.address.clone(), properties)
            .await
            .map_err(|failure| describe(&failure))?;
        self.prepare(connection, generation).await.map_err(|failure| describe(&failure))
    }

    async fn prepare(
        &self,
        connection: Connection,
        generation: u64,
    ) -> Result<(LiveConnection, Consumer), BrokerError> {
        let (live, answers) = LiveConnection::open(connection, generation).await?;
        if self.wants_topology.load(Ordering::Acquire) {
            declaration::declare(&live.channel().await?).await?;
        }
        Ok((live, answers))
    }

    /// Keeps one connection for as long as it lives, and answers why it does not any more.
    async fn hold(
        &self,
        live: Arc<LiveConnection>,
        answers: Consumer,
        sender: &watch::Sender<State>,
    ) -> String {
        sender.send_replace(State::Live(live.clone()));
        let reason = tokio::select! {
            () = self.closing.cancelled() => "the connection was closed".to_owned(),
            failure = live.deliver_answers(answers) => failure
                .map_or_else(|| "the reply queue was deleted".to_owned(), |failure| describe(&failure)),
        };
        live.give_up_answers();
        if let Ok(Err(failure)) = tokio::time::timeout(CLOSING, live.close()).await {
            debug!(reason = describe(&failure), "the connection could not be closed in order");
        }
        reason
    }
}
