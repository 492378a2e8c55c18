//! Servers that stand in for the internet.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// The authority that the proxy trusts in a test.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    folder: TempDir,
}

impl Root {
    pub fn create() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), der, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// How a server with these names speaks TLS.
    pub fn server(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;
pub type Answer = Response<AnswerBody>;

pub fn text(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).boxed_unsync()
}

/// A server that answers every request by one function.
pub struct Server {
    pub port: u16,
}

impl Server {
    pub async fn start<F>(tls: Option<TlsAcceptor>, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer) = (tls.clone(), answer.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async { Ok::<_, Infallible>(answer.await) }
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _client_left = match tls {
                        None => {
                            builder
                                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                                .await
                        }
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            builder
                                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                                .await
                        }
                    };
                });
            }
        });
        Self { port }
    }

    /// A server that tells each request it gets, with its body, and answers `hello`.
    pub async fn telling(tls: Option<TlsAcceptor>) -> (Self, mpsc::UnboundedReceiver<Received>) {
        let (told, received) = mpsc::unbounded_channel();
        let server = Self::start(tls, move |request| {
            let told = told.clone();
            Box::pin(async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return Response::new(text("broken off"));
                };
                let body = body.to_bytes();
                let (method, uri, headers) = (head.method, head.uri.to_string(), head.headers);
                let _test_is_over = told.send(Received { method, uri, headers, body });
                Response::new(text("hello"))
            })
        });
        (server.await, received)
    }
}

/// What a server received.
pub struct Received {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}
