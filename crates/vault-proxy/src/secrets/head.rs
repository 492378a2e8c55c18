//! The head of a request: headers, Basic authorization, and the query.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, IF_RANGE, RANGE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};
use zeroize::Zeroizing;

use super::binding::SecretValue;
use super::forms;
use super::inject::{Injected, Place};
use super::misuse::Misuse;

/// The encodings of answers that are undone to search them.
pub const ENCODINGS: [&str; 6] = ["gzip", "x-gzip", "deflate", "br", "zstd", "identity"];

/// Replaces what may be replaced; tells whether something was.
pub fn replace(injected: &Injected, head: &mut Parts) -> Result<bool, Misuse> {
    if injected.outgoing().is_empty() {
        return Ok(false);
    }
    let mut is_touched = replace_in_uri(injected, &mut head.uri)?;
    for (name, value) in &mut head.headers {
        let login = (name == AUTHORIZATION).then(|| basic_login(value)).flatten();
        let replaced = match login {
            Some(login) => {
                in_text(injected, &login, Place::Basic, as_it_is)?.map(|(login, tag)| {
                    (
                        Zeroizing::new(format!("Basic {}", STANDARD.encode(&*login)).into_bytes()),
                        tag,
                    )
                })
            }
            None => in_text(injected, value.as_bytes(), Place::Header, as_it_is)?,
        };
        if let Some((text, tag)) = replaced {
            let fitting = HeaderValue::from_bytes(&text);
            *value = fitting.map_err(|_not_a_header| injected.unfit(tag))?;
            value.set_sensitive(true);
            is_touched = true;
        }
    }
    Ok(is_touched)
}

/// What can be searched is asked for: known encodings, and whole answers, because a value could be read in parts of its own.
pub fn ask_for_what_can_be_searched(headers: &mut HeaderMap) {
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
    if !headers.contains_key(ACCEPT_ENCODING) {
        return;
    }
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let known = accepted.flat_map(|value| value.split(',')).map(str::trim).filter(|coding| {
        let name = coding.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        ENCODINGS.contains(&name.as_str())
    });
    let known = known.collect::<Vec<_>>().join(", ");
    let value = HeaderValue::from_str(&known).ok().filter(|value| !value.is_empty());
    headers.insert(ACCEPT_ENCODING, value.unwrap_or(HeaderValue::from_static("identity")));
}

fn replace_in_uri(injected: &Injected, uri: &mut Uri) -> Result<bool, Misuse> {
    let Some(path_and_query) = uri.path_and_query() else { return Ok(false) };
    refuse_disguised(injected, path_and_query.as_str())?;
    in_text(injected, path_and_query.path().as_bytes(), Place::Path, as_it_is)?;
    let Some(query) = path_and_query.query() else { return Ok(false) };
    let Some((query, tag)) =
        in_text(injected, query.as_bytes(), Place::Query, forms::percent_encoded)?
    else {
        return Ok(false);
    };
    let text = Zeroizing::new([path_and_query.path().as_bytes(), b"?", &query].concat());
    let path_and_query = PathAndQuery::try_from(text.as_slice());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.map_err(|_not_a_query| injected.unfit(tag))?);
    *uri = Uri::from_parts(parts).map_err(|_no_uri| injected.unfit(tag))?;
    Ok(true)
}

/// A planted value is one in whatever spelling.
fn refuse_disguised(injected: &Injected, text: &str) -> Result<(), Misuse> {
    if !text.contains('%') {
        return Ok(());
    }
    let plain = percent_decoded(text);
    let mut from = 0;
    while let Some(found) = injected.outgoing().find(&plain, from) {
        if found.tag >= injected.placeholders() {
            injected.value_for(found.tag, Place::Path)?;
        }
        from = found.end;
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            Some(_) | None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

fn as_it_is(value: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.to_vec())
}

/// A text with values in it, and the last one's tag.
type Filled = (Zeroizing<Vec<u8>>, usize);

/// `None` when the text held nothing that is searched for.
fn in_text(
    injected: &Injected,
    text: &[u8],
    place: Place,
    encode: fn(&[u8]) -> Zeroizing<Vec<u8>>,
) -> Result<Option<Filled>, Misuse> {
    let mut replaced = Zeroizing::new(Vec::new());
    let (mut done, mut last) = (0, None);
    while let Some(found) = injected.outgoing().find(text, done) {
        let value = injected.value_for(found.tag, place).map(SecretValue::expose)?;
        replaced.extend_from_slice(text.get(done..found.start).unwrap_or_default());
        replaced.extend_from_slice(&encode(value));
        (done, last) = (found.end, Some(found.tag));
    }
    replaced.extend_from_slice(text.get(done..).unwrap_or_default());
    Ok(last.map(|tag| (replaced, tag)))
}

/// `name:password` of a Basic authorization.
fn basic_login(value: &HeaderValue) -> Option<Zeroizing<Vec<u8>>> {
    let text = value.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let encoded = is_basic.then(|| encoded.trim().trim_end_matches('='))?;
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(encoded).ok()?;
    Some(Zeroizing::new(decoded))
}
