//! The body of a request: placeholders are replaced where a credential allows it, and end the request elsewhere.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use hyper::body::Body as _;
use zeroize::Zeroizing;

use super::forms;
use super::inject::{Injected, Place};
use super::misuse::Misuse;
use super::search::Found;
use super::stream::{Replace, replaced};
use crate::rules::Body;

pub fn replace(injected: &Injected, head: &mut Parts, body: Body) -> Body {
    if injected.outgoing().is_empty() || body.is_end_stream() {
        return body;
    }
    let is_compressed = is_compressed(head);
    let may_change = injected.may_touch_body() && !is_compressed;
    let encode = encoding_of(head);
    // Nothing is put into what is compressed, and in what only says so nothing is found in clear.
    let place = if is_compressed { Place::Path } else { Place::Body };
    let of_tag = |tag| injected.value_for(tag, place).map(|value| encode(value.expose()));
    let values: Vec<Result<Zeroizing<Vec<u8>>, Misuse>> =
        (0..injected.placeholders()).map(of_tag).collect();
    // Some servers read no body that comes in chunks, so its length is told where it stays the same.
    let is_as_long = |(tag, value): (usize, &Result<Zeroizing<Vec<u8>>, Misuse>)| {
        value.as_ref().map_or(true, |value| injected.is_as_long_as_placeholder(tag, value))
    };
    let keeps_length = !may_change || values.iter().enumerate().all(is_as_long);
    if !keeps_length {
        head.headers.remove(CONTENT_LENGTH);
    }
    let search = injected.outgoing().clone();
    let others = injected.clone();
    replaced(body, search, Values { values, others }, keeps_length)
}

struct Values {
    /// What stands in the place of each placeholder.
    values: Vec<Result<Zeroizing<Vec<u8>>, Misuse>>,
    others: Injected,
}

impl Replace for Values {
    fn replacement(&self, found: Found) -> Result<&[u8], Misuse> {
        match self.values.get(found.tag) {
            Some(Ok(value)) => Ok(value),
            Some(Err(misuse)) => Err(misuse.clone()),
            None => Err(self.others.misuse_of(found.tag)),
        }
    }
}

fn is_compressed(head: &Parts) -> bool {
    head.headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity")
}

fn encoding_of(head: &Parts) -> fn(&[u8]) -> Zeroizing<Vec<u8>> {
    let declared = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        forms::json_escaped
    } else if kind == "application/x-www-form-urlencoded" {
        forms::percent_encoded
    } else {
        |value| Zeroizing::new(value.to_vec())
    }
}
