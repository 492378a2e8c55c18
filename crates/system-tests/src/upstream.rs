//! An HTTPS server of the tests' own, somewhere outside of every sandbox, and the authority that vouches for it.

mod authority;
mod site;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub use authority::{Authority, client_trusting};
pub use site::{Arrived, Site};

/// A body that may be a stream.
pub type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// What a server does with a request.
pub type Answer =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// The value that a request has to carry in `Authorization`, as `Bearer`, to be taken for an authorized one.
pub const SECRET: &str = "real-7d0c1f6be29a4c05";

/// As much as is read at once: TLS by itself asks for little.
const READ_BYTES: usize = 128 << 10;
const CHUNK: &[u8] = &[b'x'; 64 * 1024];

/// A server that runs until it is dropped. Its certificate is for `localhost` and whatever names it was started for.
pub struct Upstream {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Upstream {
    pub async fn start(
        authority: &Authority,
        names: &[&str],
        answer: Answer,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(names)?));
        let serving = AbortOnDropHandle::new(tokio::spawn(serve(listener, acceptor, answer)));
        Ok(Self { address, _serving: serving })
    }

    /// It answers `GET /bytes/<n>` with that many bytes, and whatever else with the number of bytes that came. The header `x-authorized`
    /// tells whether the request carried [`SECRET`].
    pub async fn of_bytes(authority: &Authority, names: &[&str]) -> anyhow::Result<Self> {
        Self::start(authority, names, Arc::new(|request| Box::pin(of_bytes(request)))).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answer: Answer) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        // One that breaks off is the test's business, not the server's.
        connections.spawn(async move { drop(serve_one(stream, acceptor, answer).await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(stream: TcpStream, acceptor: TlsAcceptor, answer: Answer) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(BufReader::with_capacity(READ_BYTES, stream)).await?;
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    Ok(connection.with_upgrades().await?)
}

async fn of_bytes(request: Request<Incoming>) -> Response<Body> {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_authorized = given.and_then(|value| value.strip_prefix("Bearer ")) == Some(SECRET);
    let mut response = Response::new(bytes_for(request).await);
    let told = HeaderValue::from_static(if is_authorized { "true" } else { "false" });
    response.headers_mut().insert("x-authorized", told);
    response
}

async fn bytes_for(request: Request<Incoming>) -> Body {
    let wanted = request.uri().path().strip_prefix("/bytes/").and_then(|n| n.parse().ok());
    if let Some(wanted) = wanted {
        return zeros(wanted);
    }
    match count(request.into_body()).await {
        Ok(came) => text(came.to_string()),
        Err(fault) => text(format!("it broke off: {fault:#}")),
    }
}

/// A body of one piece.
pub fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// So many bytes, piece by piece.
pub fn zeros(bytes: usize) -> Body {
    let pieces = bytes.div_ceil(CHUNK.len());
    let sizes = futures::stream::iter((0..pieces).map(move |piece| {
        let left = bytes - piece * CHUNK.len();
        Ok(Frame::data(Bytes::from_static(CHUNK).slice(..left.min(CHUNK.len()))))
    }));
    StreamBody::new(sizes).boxed_unsync()
}

/// How many bytes a body has.
pub async fn count(body: Incoming) -> anyhow::Result<usize> {
    let mut pieces = body.into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        bytes += piece.context("the body broke off")?.len();
    }
    Ok(bytes)
}
