//! A collector of traces that keeps the bytes of whatever it is sent.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Runs until it is dropped.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: watch::Receiver<Vec<u8>>,
    _serving: AbortOnDropHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (keep, kept) = watch::channel(Vec::new());
        let keep = Arc::new(keep);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, keep.clone()));
            }
        });
        Ok(Self { address, kept, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that came, as text, once it holds each of these.
    pub(crate) async fn kept_with(&self, wanted: &[&str]) -> anyhow::Result<String> {
        let mut kept = self.kept.clone();
        let finders: Vec<_> = wanted.iter().map(memchr::memmem::Finder::new).collect();
        let has_all = |kept: &Vec<u8>| finders.iter().all(|finder| finder.find(kept).is_some());
        let came = tokio::time::timeout(Duration::from_mins(1), kept.wait_for(has_all)).await;
        let kept = came.with_context(|| format!("no traces of all of {wanted:?} came"))??;
        Ok(String::from_utf8_lossy(&kept).into_owned())
    }
}

async fn serve(stream: TcpStream, keep: Arc<watch::Sender<Vec<u8>>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let keep = keep.clone();
        async move {
            if let Ok(body) = request.into_body().collect().await {
                keep.send_modify(|kept| kept.extend_from_slice(&body.to_bytes()));
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    // A connection that breaks off is opened again by whoever has more to send.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
