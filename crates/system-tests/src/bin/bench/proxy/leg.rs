//! One way to a server: none in between, through a sandbox's door, or through a proxy's port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use system_tests::upstream::{Authority, Body, Upstream, client_trusting, count, text, zeros};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use super::processor::processor_time;

/// Beyond this the answer to CONNECT is none.
const LONGEST_HEAD: usize = 4096;
/// As much as is read at once, so that what is measured costs more than measuring it.
const READ_BYTES: usize = 128 << 10;

/// A server, and how it is called.
pub type Named<'a> = (&'a Upstream, &'static str);

pub struct Leg {
    name: &'static str,
    entrance: Entrance,
    /// The server's name, and `name:port`.
    server_name: &'static str,
    target: String,
    tls: TlsConnector,
    authorization: Option<String>,
    /// Whoever carries it.
    process: Option<i32>,
}

pub enum Entrance {
    Server(SocketAddr),
    Door(PathBuf),
    Proxy(SocketAddr),
}

impl Leg {
    pub fn direct(upstream: Named<'_>, authority: &Authority) -> anyhow::Result<Self> {
        let entrance = Entrance::Server(upstream.0.address());
        Self::through("no proxy", entrance, upstream, &authority.own())
    }

    /// `roots` has the authority that vouches for whoever answers at the end of this way.
    pub fn through(
        name: &'static str,
        entrance: Entrance,
        (upstream, server_name): Named<'_>,
        roots: &Path,
    ) -> anyhow::Result<Self> {
        let tls = TlsConnector::from(Arc::new(client_trusting(roots)?));
        let target = format!("{server_name}:{}", upstream.port());
        Ok(Self { name, entrance, server_name, target, tls, authorization: None, process: None })
    }

    /// The same way, on which every request carries this.
    pub fn with_authorization(self, value: String) -> Self {
        Self { authorization: Some(value), ..self }
    }

    /// The same way, through this process.
    pub fn carried_by(self, process: i32) -> Self {
        Self { process: Some(process), ..self }
    }

    /// How much processor time its proxy has used so far; zero without one.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        self.process.map_or(Ok(Duration::ZERO), processor_time)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = match &self.entrance {
            Entrance::Server(address) | Entrance::Proxy(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Either::Left(stream)
            }
            Entrance::Door(path) => Either::Right(UnixStream::connect(path).await?),
        };
        let stream = match self.entrance {
            Entrance::Server(_) => stream,
            Entrance::Door(_) | Entrance::Proxy(_) => self.through_proxy(stream).await?,
        };
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let stream = self.tls.connect(ServerName::try_from(self.server_name)?, stream).await?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(driver.await) }));
        let (target, authorization) = (self.target.clone(), self.authorization.clone());
        Ok(Connection { sender, target, authorization, _driver: driver })
    }

    async fn through_proxy<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
    ) -> anyhow::Result<S> {
        let target = &self.target;
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < LONGEST_HEAD, "{} answers without an end", self.name);
            head.push(stream.read_u8().await.context("no answer to CONNECT")?);
        }
        let status = head.split(|byte| *byte == b' ').nth(1);
        let shown = String::from_utf8_lossy(&head);
        ensure!(status == Some(b"200"), "{} does not connect: {shown}", self.name);
        Ok(stream)
    }
}

/// A connection that is kept open.
pub struct Connection {
    sender: SendRequest<Body>,
    target: String,
    authorization: Option<String>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub async fn download(&mut self, bytes: usize) -> anyhow::Result<()> {
        let response = self.send(Method::GET, &format!("/bytes/{bytes}"), text("")).await?;
        let came = count(response.into_body()).await?;
        ensure!(came == bytes, "{came} of {bytes} bytes came");
        Ok(())
    }

    pub async fn upload(&mut self, bytes: usize) -> anyhow::Result<()> {
        let response = self.send(Method::POST, "/", zeros(bytes)).await?;
        let arrived = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
        ensure!(arrived == bytes.to_string(), "{arrived:?} of {bytes} bytes arrived");
        Ok(())
    }

    /// Whether the server took the request for one with the real value.
    pub async fn is_authorized(&mut self) -> anyhow::Result<bool> {
        let response = self.send(Method::GET, "/bytes/1", text("")).await?;
        let is_authorized =
            response.headers().get("x-authorized").context("another server")? == "true";
        count(response.into_body()).await?;
        Ok(is_authorized)
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.target);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = self.sender.send_request(request.body(body)?).await?;
        ensure!(response.status().is_success(), "answered {}", response.status());
        Ok(response)
    }
}
