//! A program in the sandbox.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::House;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answered {
    pub async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body }
    }

    pub fn error(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["error"].clone()
    }

    pub fn code(&self) -> String {
        self.error()["code"].as_str().unwrap().to_owned()
    }
}

/// A head as it came, and the connection behind it.
pub struct Opened {
    pub status: u16,
    pub head: String,
    pub stream: UnixStream,
}

impl House {
    /// Sends `CONNECT` with these further lines.
    pub async fn connect_with(&self, target: &str, lines: &str) -> Opened {
        let mut stream = self.dial().await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Opened { status, head, stream }
    }

    /// A tunnel that the proxy opened.
    pub async fn connect(&self, target: &str) -> UnixStream {
        let opened = self.connect_with(target, "").await;
        assert_eq!(opened.status, 200, "{}", opened.head);
        opened.stream
    }

    /// A tunnel for a program that knows no proxy.
    pub async fn connect_transparently(&self, target: &str) -> UnixStream {
        let opened = self.connect_with(target, "X-Lap-Path: transparent\r\n").await;
        assert_eq!(opened.status, 200, "{}", opened.head);
        opened.stream
    }

    /// The code with which a tunnel is refused.
    pub async fn refused_connect(&self, target: &str) -> (u16, String) {
        let mut opened = self.connect_with(target, "").await;
        let mut body = String::new();
        let length = header(&opened.head, "content-length").unwrap().parse().unwrap();
        opened.stream.take(length).read_to_string(&mut body).await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        opened.head.clear();
        (opened.status, body["error"]["code"].as_str().unwrap().to_owned())
    }

    /// Sends one request with an absolute address.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answered {
        let mut sender = http1_over(self.dial().await).await;
        Answered::read(sender.send_request(request).await.unwrap()).await
    }

    /// How a program that trusts the sandbox's certificate speaks TLS.
    pub fn tls(&self, protocols: &[&str]) -> TlsConnector {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        trusting(certificate, protocols)
    }
}

pub fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// Reads byte by byte, so that nothing behind the head is taken.
pub async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub fn trusting(certificate: CertificateDer<'static>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub async fn tls_to(
    tls: &TlsConnector,
    name: &str,
    stream: UnixStream,
) -> std::io::Result<TlsStream<UnixStream>> {
    tls.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

pub async fn http1_over<S>(stream: S) -> http1::SendRequest<Full<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub async fn http2_over<S>(stream: S) -> http2::SendRequest<Full<Bytes>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}
