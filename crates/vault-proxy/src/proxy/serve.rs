//! Speaks HTTP with a program in the sandbox, on a connection that leads to one host.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::asked::Place;
use super::{Seat, Way, exchange};
use crate::refusal::Refusal;

/// How long a program may be silent between requests, and within the head of one.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
const MOST_HEADERS: usize = 100;
const MOST_HEADER_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 256 << 10;
const MOST_STREAMS: u32 = 100;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const FRAME_BYTES: u32 = 64 << 10;

/// How each request on a connection is answered.
#[derive(Debug, Clone)]
pub enum Served {
    /// By the host that the connection leads to.
    PassedOn(Place),
    /// Always alike.
    Refused(Refusal),
}

/// How HTTP/1.1 is spoken with programs in a sandbox.
pub fn http1_settings() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_header_size(MOST_HEADER_BYTES)
        .max_buf_size(BUFFER_BYTES);
    builder
}

/// Answers requests until the connection ends; once the door is retired, those under way and no further one.
pub async fn serve<S>(way: &Arc<Way>, stream: S, is_http2: bool, served: Served, seat: Option<Seat>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let underway = way.underway.clone();
    let service = service_fn(move |mut request| {
        if let Some(seat) = &seat {
            seat.note_on(&mut request);
        }
        let (way, served) = (way.clone(), served.clone());
        async move {
            let response = match served {
                Served::PassedOn(place) => exchange::answer(&way, &place, request).await,
                Served::Refused(refusal) => refusal.into_response(),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        let connection = http2_settings(&underway).serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = underway.retired() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let connection = http1_settings().serve_connection(stream, service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = underway.retired() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn Error, "a connection broke off");
    }
}

fn http2_settings(underway: &super::Underway) -> http2::Builder<super::Underway> {
    let mut builder = http2::Builder::new(underway.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(MOST_HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(BUFFER_BYTES);
    builder
}
