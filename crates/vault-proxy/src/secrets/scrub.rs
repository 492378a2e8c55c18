//! Answers: values that come back are replaced, in headers and bodies, compressed or not.

use std::io;
use std::sync::Arc;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Body as _, Frame};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::misuse::Misuse;
use super::search::{Found, Search};
use super::stream::{Replace, replaced};
use crate::refusal::Refusal;
use crate::rules::{Body, BoxError};

const PIECE_BYTES: usize = 64 << 10;

/// Replaces what `search` finds by `replacements[tag]`.
pub fn response(
    response: Response<Body>,
    search: &Arc<Search>,
    replacements: &Arc<Vec<Vec<u8>>>,
) -> Response<Body> {
    let placeholders = Placeholders { search: search.clone(), replacements: replacements.clone() };
    let (mut head, body) = response.into_parts();
    head.headers = placeholders.trailers(std::mem::take(&mut head.headers));
    if body.is_end_stream() {
        return Response::from_parts(head, body);
    }
    let Some(plain) = decoded(&head.headers, body) else { return unknown_encoding() };
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, ACCEPT_RANGES] {
        head.headers.remove(name);
    }
    let body = replaced(plain, search.clone(), placeholders, false);
    Response::from_parts(head, body)
}

pub struct Placeholders {
    pub search: Arc<Search>,
    pub replacements: Arc<Vec<Vec<u8>>>,
}

impl Placeholders {
    fn of(&self, tag: usize) -> &[u8] {
        self.replacements.get(tag).map_or(b"[redacted]", Vec::as_slice)
    }

    /// `None` when there is nothing to replace.
    fn in_header(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let text = value.as_bytes();
        let (mut replaced, mut done) = (Vec::new(), 0);
        while let Some(found) = self.search.find(text, done) {
            replaced.extend_from_slice(text.get(done..found.start)?);
            replaced.extend_from_slice(self.of(found.tag));
            done = found.end;
        }
        replaced.extend_from_slice(text.get(done..)?);
        let replaced = (done > 0).then(|| HeaderValue::from_bytes(&replaced))?;
        Some(replaced.unwrap_or(HeaderValue::from_static("[redacted]")))
    }
}

impl Replace for Placeholders {
    fn replacement(&self, found: Found) -> Result<&[u8], Misuse> {
        Ok(self.of(found.tag))
    }

    fn trailers(&self, mut trailers: HeaderMap) -> HeaderMap {
        for value in trailers.values_mut() {
            if let Some(replaced) = self.in_header(value) {
                *value = replaced;
            }
        }
        trailers
    }
}

/// The body without its compression. `None` for one that is not known here.
fn decoded(headers: &HeaderMap, body: Body) -> Option<Body> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase())
        .flat_map(|value| value.split(',').map(|it| it.trim().to_owned()).collect::<Vec<_>>())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect::<Vec<_>>();
    let Some(coding) = codings.pop() else { return Some(body) };
    if !codings.is_empty() {
        return None;
    }
    let pieces =
        BodyStream::new(body).try_filter_map(|frame| async move { Ok(frame.into_data().ok()) });
    let reader = StreamReader::new(Box::pin(pieces.map_err(io::Error::other)));
    match coding.as_str() {
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            Some(body_of(decoder))
        }
        "deflate" => Some(body_of(ZlibDecoder::new(reader))),
        "br" => Some(body_of(BrotliDecoder::new(reader))),
        "zstd" => Some(body_of(ZstdDecoder::new(reader))),
        _ => None,
    }
}

/// Reads no more than is asked for, so that what unpacks to very much stays in its packed form until then.
fn body_of(reader: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    let frames = pieces.map_ok(|piece: Bytes| Frame::data(piece)).map_err(BoxError::from);
    StreamBody::new(frames).boxed_unsync()
}

fn unknown_encoding() -> Response<Body> {
    let message = "the answer is encoded in a way in which it cannot be searched for the secret that was put into the request; \
                   ask for gzip, deflate, br, zstd or identity";
    Refusal::new(StatusCode::BAD_GATEWAY, "unknown_encoding", message).into_response()
}
