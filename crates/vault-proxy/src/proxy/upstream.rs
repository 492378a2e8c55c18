//! Requests to other hosts: connections that are kept for one sandbox alone, each to an address that was checked.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::Executor;
use hyper_util::client::legacy;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use platform_core::network::{Host, InvalidHost};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::outside::{Outside, Tls};
use super::reach::ReachError;
use super::read_ahead::ReadAhead;
use super::underway::Background;
use crate::rules::Body;

/// Connections of one sandbox to other hosts, those that wait for their next request too.
const MOST_CONNECTIONS: usize = 512;
const IDLE_CONNECTIONS: usize = 16;
/// How long a connection waits for another one to end.
const PLACE_WITHIN: Duration = Duration::from_secs(10);
const IDLE_FOR: Duration = Duration::from_mins(1);
/// Some answers are computed for minutes before they begin.
const ANSWERED_WITHIN: Duration = Duration::from_mins(10);
const BUFFER_BYTES: usize = 256 << 10;
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const MOST_HEADERS: usize = 256;
const MOST_HEADER_BYTES: u32 = 128 << 10;
const PING_PERIOD: Duration = Duration::from_secs(30);

/// Sends requests for one sandbox.
pub struct Upstream {
    outside: Arc<Outside>,
    /// For connections that change to another protocol, which only HTTP/1.1 has.
    tls_http1: Tls,
    background: Background,
    places: Arc<Semaphore>,
    public: Client<Connector, Body>,
    internal: Client<Connector, Body>,
}

/// A request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the request was broken off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer came in time")]
    TimedOut,
}

impl Upstream {
    /// Connections end with `background`.
    pub fn new(outside: Arc<Outside>, background: Background) -> Self {
        let tls = outside.tls(&["h2", "http/1.1"]);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let client = |may_be_internal| {
            let (outside, tls, places) = (outside.clone(), tls.clone(), places.clone());
            let connector = Connector { outside, tls, places, may_be_internal };
            client(connector, background.clone())
        };
        let (public, internal) = (client(false), client(true));
        let tls_http1 = outside.tls(&["http/1.1"]);
        Self { outside, tls_http1, background, places, public, internal }
    }

    /// Sends a request with an absolute `http` or `https` address. Dropping the answer's body ends it.
    pub async fn send(
        &self,
        request: Request<Body>,
        may_be_internal: bool,
    ) -> Result<Response<Incoming>, SendError> {
        let client = if may_be_internal { &self.internal } else { &self.public };
        match timeout(ANSWERED_WITHIN, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(SendError::Broken(error.into())),
            Err(_elapsed) => Err(SendError::TimedOut),
        }
    }

    /// Sends a request that asks for another protocol, on a connection of its own. It has a relative address and a `Host`.
    pub async fn send_upgrade(
        &self,
        (host, port): (&Host, u16),
        is_encrypted: bool,
        may_be_internal: bool,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, SendError> {
        let broken = |error: ReachError| SendError::Broken(error.into());
        let tls = is_encrypted.then_some(&self.tls_http1);
        let connecting = connect(&self.outside, &self.places, (host, port), may_be_internal, tls);
        let stream = connecting.await.map_err(broken)?;
        let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(stream).await;
        let (mut sender, connection) =
            handshake.map_err(|error| SendError::Broken(error.into()))?;
        self.background.execute(connection.with_upgrades());
        match timeout(ANSWERED_WITHIN, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(SendError::Broken(error.into())),
            Err(_elapsed) => Err(SendError::TimedOut),
        }
    }
}

fn client(connector: Connector, background: Background) -> Client<Connector, Body> {
    let mut builder: legacy::Builder = Client::builder(background);
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(BUFFER_BYTES)
        .http1_max_headers(MOST_HEADERS)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_send_buf_size(BUFFER_BYTES)
        .http2_max_header_list_size(MOST_HEADER_BYTES)
        .http2_keep_alive_interval(PING_PERIOD);
    builder.build(connector)
}

/// Makes connections for a client.
#[derive(Clone)]
struct Connector {
    outside: Arc<Outside>,
    tls: Tls,
    places: Arc<Semaphore>,
    may_be_internal: bool,
}

/// A connection cannot be begun.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("the address names no host")]
    Host(#[from] InvalidHost),
    #[error("the host is not reached")]
    Reach(#[from] ReachError),
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { outside, tls, places, may_be_internal } = self.clone();
        Box::pin(async move {
            let is_encrypted = uri.scheme_str() == Some("https");
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            let default_port = if is_encrypted { 443 } else { 80 };
            let (host, port) = Host::parse_with_port(authority, default_port)?;
            let tls = is_encrypted.then_some(&tls);
            Ok(connect(&outside, &places, (&host, port), may_be_internal, tls).await?)
        })
    }
}

async fn connect(
    outside: &Outside,
    places: &Arc<Semaphore>,
    (host, port): (&Host, u16),
    may_be_internal: bool,
    tls: Option<&Tls>,
) -> Result<Stream, ReachError> {
    let Ok(Ok(place)) = timeout(PLACE_WITHIN, places.clone().acquire_owned()).await else {
        return Err(ReachError::TooMany { most: MOST_CONNECTIONS });
    };
    let stream = outside.dial(host, port, may_be_internal).await?;
    let either = match tls {
        Some(tls) => {
            let stream = tls.connect(host, port, stream).await?;
            Either::Tls(Box::new(TokioIo::new(stream)))
        }
        None => Either::Plain(TokioIo::new(stream)),
    };
    Ok(Stream { either, _place: place })
}

/// A connection to a host, and its place among those of the sandbox.
struct Stream {
    either: Either,
    _place: OwnedSemaphorePermit,
}

enum Either {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<ReadAhead<TcpStream>>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let is_http2 = match &self.either {
            Either::Plain(_) => false,
            Either::Tls(stream) => stream.inner().get_ref().1.alpn_protocol() == Some(b"h2"),
        };
        if is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().either {
            Either::Plain(stream) => read(stream, context, buffer),
            Either::Tls(stream) => read(stream.as_mut(), context, buffer),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().either {
            Either::Plain(stream) => Pin::new(stream.inner_mut()).poll_write(context, bytes),
            Either::Tls(stream) => Pin::new(stream.inner_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().either {
            Either::Plain(stream) => Pin::new(stream.inner_mut()).poll_flush(context),
            Either::Tls(stream) => Pin::new(stream.inner_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().either {
            Either::Plain(stream) => Pin::new(stream.inner_mut()).poll_shutdown(context),
            Either::Tls(stream) => Pin::new(stream.inner_mut()).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.either {
            Either::Plain(stream) => stream.inner().is_write_vectored(),
            Either::Tls(stream) => stream.inner().is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().either {
            Either::Plain(stream) => {
                Pin::new(stream.inner_mut()).poll_write_vectored(context, buffers)
            }
            Either::Tls(stream) => {
                Pin::new(stream.inner_mut()).poll_write_vectored(context, buffers)
            }
        }
    }
}

fn read<S: AsyncRead + Unpin>(
    stream: &mut TokioIo<S>,
    context: &mut Context<'_>,
    buffer: hyper::rt::ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    hyper::rt::Read::poll_read(Pin::new(stream), context, buffer)
}
