//! Replaces what a search finds in a stream, wherever the stream is cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use super::misuse::Misuse;
use super::search::{Found, Search};
use crate::rules::{Body, BoxError};

/// What is put in the place of something found: bytes, or an end of the stream.
pub trait Replace: Send + 'static {
    fn replacement(&self, found: Found) -> Result<&[u8], Misuse>;
    /// Replaces in the headers that may follow a body.
    fn trailers(&self, trailers: HeaderMap) -> HeaderMap {
        trailers
    }
}

/// A text on its way through, piece by piece.
pub struct Replacer<R> {
    search: Arc<Search>,
    replace: R,
    /// What may be the beginning of something searched for.
    held: BytesMut,
}

impl<R: Replace> Replacer<R> {
    pub fn new(search: Arc<Search>, replace: R) -> Self {
        Self { search, replace, held: BytesMut::new() }
    }

    /// The next piece, as far as it is decided.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, Misuse> {
        let text = if self.held.is_empty() {
            piece
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(&piece);
            text.freeze()
        };
        let undecided = self.search.undecided_from(&text);
        self.replace_until(&text, undecided)
    }

    /// The rest.
    pub fn finish(&mut self) -> Result<Bytes, Misuse> {
        let text = std::mem::take(&mut self.held).freeze();
        let end = text.len();
        self.replace_until(&text, end)
    }

    fn replace_until(&mut self, text: &Bytes, undecided: usize) -> Result<Bytes, Misuse> {
        let mut replaced = BytesMut::new();
        let mut done = 0;
        while let Some(found) = self.search.find(text, done).filter(|found| found.start < undecided)
        {
            replaced.extend_from_slice(&text.slice(done..found.start));
            replaced.extend_from_slice(self.replace.replacement(found)?);
            done = found.end;
        }
        let undecided = undecided.max(done);
        self.held = BytesMut::from(text.slice(undecided..));
        if done == 0 {
            return Ok(text.slice(..undecided));
        }
        replaced.extend_from_slice(&text.slice(done..undecided));
        Ok(replaced.freeze())
    }
}

/// A body with its pieces replaced.
struct Replaced<R> {
    inner: Body,
    replacer: Replacer<R>,
    /// What the body ends with, once all of it was read.
    trailers: Option<HeaderMap>,
    has_ended: bool,
    keeps_length: bool,
}

/// Passes a body through a search. `keeps_length` says that nothing is ever replaced by something of another length.
pub fn replaced(
    inner: Body,
    search: Arc<Search>,
    replace: impl Replace + Unpin,
    keeps_length: bool,
) -> Body {
    let replacer = Replacer::new(search, replace);
    Replaced { inner, replacer, trailers: None, has_ended: false, keeps_length }.boxed_unsync()
}

impl<R: Replace + Unpin> hyper::body::Body for Replaced<R> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if this.has_ended {
                return Poll::Ready(
                    this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
                );
            }
            let data = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.replacer.push(data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        this.trailers = trailers.map(|it| this.replacer.replace.trailers(it));
                        this.has_ended = true;
                        this.replacer.finish()
                    }
                },
                Some(Err(error)) => {
                    this.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.has_ended = true;
                    this.replacer.finish()
                }
            };
            match data {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(misuse) => {
                    (this.has_ended, this.trailers) = (true, None);
                    return Poll::Ready(Some(Err(misuse.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let nothing_held = self.replacer.held.is_empty() && self.trailers.is_none();
        nothing_held && (self.has_ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = u64::try_from(self.replacer.held.len()).unwrap_or(u64::MAX);
        match self.inner.size_hint().exact() {
            Some(rest) if self.keeps_length => SizeHint::with_exact(rest.saturating_add(held)),
            Some(_) | None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    struct Numbered(Vec<Vec<u8>>);

    impl Replace for Numbered {
        fn replacement(&self, found: Found) -> Result<&[u8], Misuse> {
            Ok(&self.0[found.tag])
        }
    }

    fn pass(needles: &[String], pieces: &[&[u8]]) -> Vec<u8> {
        let tagged = needles.iter().enumerate();
        let search =
            Search::new(tagged.map(|(tag, text)| (Zeroizing::new(text.as_bytes().to_vec()), tag)));
        let names = (0..needles.len()).map(|tag| format!("<{tag}>").into_bytes()).collect();
        let mut replacer = Replacer::new(Arc::new(search), Numbered(names));
        let mut passed = Vec::new();
        for piece in pieces {
            passed.extend_from_slice(&replacer.push(Bytes::copy_from_slice(piece)).unwrap());
        }
        passed.extend_from_slice(&replacer.finish().unwrap());
        passed
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_the_same_comes_out(
            needles in prop::collection::vec("[ab\n]{4,7}", 1..5),
            text in "[ab\n]{0,60}",
            cuts in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let whole = pass(&needles, &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().rev() {
                let (before, piece) = rest.split_at((*cut).min(rest.len()));
                pieces.insert(0, piece);
                rest = before;
            }
            pieces.insert(0, rest);
            prop_assert_eq!(pass(&needles, &pieces), whole);
        }
    }

    #[test]
    fn a_value_cut_anywhere_is_replaced() {
        let text = b"x=secret-value;y=1";
        for cut in 0..text.len() {
            let (one, other) = text.split_at(cut);
            assert_eq!(pass(&["secret-value".to_owned()], &[one, other]), b"x=<0>;y=1", "{cut}");
        }
    }
}
