//! Request bodies: read up to a limit, then parsed once into the type that the handler wants.

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use platform_core::failure::FailureKind;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Most bytes of an ordinary body.
const ORDINARY: usize = 1024 * 1024;
/// Most bytes of a body with events: they may carry images and documents.
pub const WITH_EVENTS: usize = 64 * 1024 * 1024;

/// A JSON body of ordinary size. The content type does not matter.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A JSON body that may carry events.
#[derive(Debug)]
pub struct JsonWithEvents<T>(pub T);

/// A JSON body of ordinary size, or none: then the default.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

type Pending<T> = LocalBoxFuture<'static, Result<T, Problem>>;

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pending<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(payload.take(), declared_length(request), ORDINARY);
        Box::pin(async move { parse(&body.await?).map(Self) })
    }
}

impl<T: DeserializeOwned> FromRequest for JsonWithEvents<T> {
    type Error = Problem;
    type Future = Pending<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(payload.take(), declared_length(request), WITH_EVENTS);
        Box::pin(async move { parse(&body.await?).map(Self) })
    }
}

impl<T: DeserializeOwned + Default> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = Pending<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(payload.take(), declared_length(request), ORDINARY);
        Box::pin(async move {
            let body = body.await?;
            Ok(Self(if body.is_empty() { T::default() } else { parse(&body)? }))
        })
    }
}

/// How many bytes the request says its body has.
pub fn declared_length(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body, and gives up as soon as it is known to be too large.
pub async fn read(
    mut payload: Payload,
    declared: Option<usize>,
    limit: usize,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let message = format!("the body is larger than {} MiB", limit >> 20);
        Problem::new(FailureKind::TooLarge, message)
    };
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|failure| {
            Problem::invalid(format!("the body could not be read: {failure}")).caused_by(failure)
        })?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Parses a body; a fault is answered with its place.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::invalid("a JSON body is needed, and none was sent"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|fault| {
        let place = fault.path().to_string();
        let fault = fault.into_inner();
        if fault.is_syntax() || fault.is_eof() {
            return Problem::invalid(format!("the body is not valid JSON: {fault}"));
        }
        let reason = without_value(&without_position(&fault));
        if place == "." {
            Problem::invalid(reason)
        } else {
            Problem::invalid(format!("{place}: {reason}"))
        }
    })?;
    json.end().map_err(|fault| Problem::invalid(format!("the body is not valid JSON: {fault}")))?;
    Ok(parsed)
}

/// The reason alone: line and column help nobody whose JSON was made by a program.
fn without_position(fault: &serde_json::Error) -> String {
    let text = fault.to_string();
    let suffix = format!(" at line {} column {}", fault.line(), fault.column());
    text.strip_suffix(&suffix).unwrap_or(&text).to_owned()
}

/// What was sent is not repeated: it may be a secret, and errors end up in logs.
fn without_value(reason: &str) -> String {
    for beginning in ["invalid type: ", "invalid value: ", "unknown variant "] {
        let Some(rest) = reason.strip_prefix(beginning) else { continue };
        let Some((sent, expected)) = rest.rsplit_once(", expected ") else { break };
        let kind = sent.split(['`', '"']).next().unwrap_or_default().trim_end();
        let space = if kind.is_empty() { "" } else { " " };
        return format!(
            "{}{space}{kind}, expected {expected}",
            beginning.trim_end_matches([':', ' '])
        );
    }
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use platform_core::agent::AgentDraft;

    use super::*;

    fn fault(body: &str) -> String {
        parse::<AgentDraft>(body.as_bytes()).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        let wrong = fault(r#"{"name":1,"model":"m"}"#);
        assert_eq!(wrong, "name: invalid type integer, expected a string");
        assert!(fault(r#"{"name":"n","model":"m","colour":1}"#).contains("unknown field `colour`"));
        let tools = r#"{"name":"n","model":"m","tools":[{"type":"x"}]}"#;
        assert!(fault(tools).starts_with("tools[0]"), "{}", fault(tools));
    }

    #[test]
    fn what_was_sent_is_not_repeated() {
        use platform_core::credential::CredentialDraft;

        for auth in [
            r#""s3same, expected `x`""#,
            r#"["s3same"]"#,
            r#"{"type":"s3same"}"#,
            r#"{"type":"static_bearer","token":["s3same"],"mcp_server_url":"x"}"#,
            r#"{"type":"static_bearer","token":{"s":"s3same"},"mcp_server_url":"x"}"#,
            r#"{"type":"mcp_oauth","access_token":"s3same","mcp_server_url":"x","expires_at":"s3same"}"#,
        ] {
            let body = format!(r#"{{"auth":{auth}}}"#);
            let fault = parse::<CredentialDraft>(body.as_bytes()).unwrap_err();
            assert!(!fault.message().contains("s3same"), "{}", fault.message());
        }
        let fault = fault(r#"{"name":"n","model":"m","environment_variables":{"PIN":4711}}"#);
        assert_eq!(
            fault,
            "environment_variables.PIN: invalid type integer, expected a string or the full form"
        );
    }

    #[test]
    fn what_is_not_json_is_said_to_be_none() {
        assert!(fault("{").starts_with("the body is not valid JSON"));
        assert!(fault("").starts_with("a JSON body is needed"));
        assert!(fault(r#"{"name":"n","model":"m"} x"#).starts_with("the body is not valid JSON"));
    }
}
