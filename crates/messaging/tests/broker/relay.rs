//! A network that can be cut: what stands between a client and the broker in these tests.

use std::sync::Mutex;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Forwards a local port to the broker, until it is cut.
pub struct Relay {
    port: u16,
    broker: String,
    forwarding: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    /// `broker` is host and port.
    pub async fn to(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Self { port, broker: broker.to_owned(), forwarding: Mutex::default() };
        relay.forward(listener);
        relay
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and refuses new ones.
    pub async fn cut(&self) {
        let forwarding = self.forwarding.lock().unwrap().take().unwrap();
        forwarding.abort();
        forwarding.await.unwrap_err();
    }

    pub async fn restore(&self) {
        self.forward(TcpListener::bind(("127.0.0.1", self.port)).await.unwrap());
    }

    fn forward(&self, listener: TcpListener) {
        let broker = self.broker.clone();
        let forwarding = tokio::spawn(async move {
            // Aborting this task drops the set, and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let broker = broker.clone();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(broker).await.unwrap();
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        *self.forwarding.lock().unwrap() = Some(forwarding);
    }
}
