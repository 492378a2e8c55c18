//! The answers that the proxy gives by itself, in the shape that model clients understand.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use platform_core::network::Denied;
use serde_json::json;

use crate::rules::Body;

/// The reason in short, for programs that show the head of a refused CONNECT and not its body.
const REFUSAL: HeaderName = HeaderName::from_static("x-lap-refusal");

/// An answer of the proxy's own: a sentence for a person, and a stable code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// What would allow it.
    pub remedy: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), remedy: None }
    }

    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub fn into_response(self) -> Response<Body> {
        let short = HeaderValue::from_str(&format!("{}: {}", self.code, self.message));
        let message = match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        };
        let mut error = json!({
            "message": message,
            "type": "egress_error",
            "param": null,
            "code": self.code,
        });
        if let (Some(remedy), Some(error)) = (self.remedy, error.as_object_mut()) {
            error.insert("reason".to_owned(), self.message.into());
            error.insert("remedy".to_owned(), remedy.into());
        }
        let text = Bytes::from(json!({ "error": error }).to_string());
        let body = Full::new(text).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(short) = short {
            response.headers_mut().insert(REFUSAL, short);
        }
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied.code, denied.reason).with_remedy(denied.remedy)
    }
}
