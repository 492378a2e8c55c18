//! What goes wrong, as a caller sees it: one closed set of kinds, turned into HTTP here and nowhere else.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::error::PathError;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, ResponseError};
use platform_core::failure::{Failure, FailureKind};
use platform_core::wire::InvalidField;
use platform_messaging::{PublishError, RequestError};
use platform_storage::StorageError;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::error;

/// A sign of the SDK's protocol: whether it may send the same request again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request was not carried out.
#[derive(Debug)]
pub struct Problem {
    kind: FailureKind,
    /// Stable, finer than the kind; `details.error_code` on the wire.
    code: Option<Cow<'static, str>>,
    /// A sentence that a person can act on.
    message: Cow<'static, str>,
    /// Seconds after which the same request may succeed.
    retry_after: Option<u32>,
    /// What really happened; goes to the log, never to the caller.
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Problem {
    pub fn new(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (kind == FailureKind::Unavailable).then_some(5);
        Self { kind, code: None, message: message.into(), retry_after, cause: None }
    }

    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Unauthenticated, message)
    }

    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Conflict, message)
    }

    /// `what` does not exist, or belongs to another team, which is the same to the caller.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::new(FailureKind::NotFound, format!("there is no {what} {id}"))
            .with_code(format!("{what}_not_found"))
    }

    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same request, unchanged, may have another outcome later, so that no answer is kept for it.
    pub fn is_transient(&self) -> bool {
        self.retry_after.is_some()
            || matches!(self.kind, FailureKind::Internal | FailureKind::RateLimited)
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            FailureKind::Invalid => StatusCode::BAD_REQUEST,
            FailureKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            FailureKind::Forbidden => StatusCode::FORBIDDEN,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Conflict => StatusCode::CONFLICT,
            FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The wire format's word for the kind.
    fn wire_type(&self) -> &'static str {
        match self.kind {
            FailureKind::Invalid | FailureKind::TooLarge => "invalid_request_error",
            FailureKind::Unauthenticated => "authentication_error",
            FailureKind::Forbidden => "permission_error",
            FailureKind::NotFound => "not_found_error",
            FailureKind::Conflict => "conflict_error",
            FailureKind::RateLimited => "rate_limit_error",
            FailureKind::Unavailable | FailureKind::Internal => "api_error",
        }
    }

    fn body(&self, form: Form, request_id: &str) -> Value {
        match form {
            Form::Envelope => {
                let mut error = json!({"type": self.wire_type(), "message": self.message});
                if let (Some(code), Some(error)) = (&self.code, error.as_object_mut()) {
                    error.insert("details".to_owned(), json!({"error_code": code}));
                }
                json!({"type": "error", "error": error, "request_id": request_id})
            }
            Form::ProblemDetails => json!({
                "type": self.wire_type(),
                "title": self.status().canonical_reason(),
                "status": self.status().as_u16(),
                "detail": self.message,
                "code": self.code,
                "request_id": request_id,
            }),
        }
    }
}

/// The two shapes of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The Managed Agents wire format: everything under `/v1`.
    Envelope,
    /// RFC 9457: the rest.
    ProblemDetails,
}

impl Form {
    fn of(path: &str) -> Self {
        if path.starts_with("/v1/") { Self::Envelope } else { Self::ProblemDetails }
    }
}

/// Gives a failed answer its body. Answers that are fine, or have their body already, pass through.
pub fn render(response: ServiceResponse<BoxBody>, request_id: &str) -> ServiceResponse<BoxBody> {
    let Some(failure) = response.response().error() else { return response };
    let path = response.request().path();
    let form = Form::of(path);
    let own = failure.as_error::<Problem>();
    let foreign = if own.is_none() { Some(describe(failure, path)) } else { None };
    let Some(problem) = own.or(foreign.as_ref()) else { return response };
    if matches!(problem.kind, FailureKind::Internal | FailureKind::Unavailable) {
        let cause = problem.cause.as_deref().map(with_sources);
        error!(request.id = request_id, cause, "{}", problem.message);
    }
    let mut answer = HttpResponse::build(problem.status());
    if let Some(seconds) = problem.retry_after {
        answer.insert_header((header::RETRY_AFTER, seconds));
    } else if problem.kind == FailureKind::Conflict {
        answer.insert_header((SHOULD_RETRY, "false"));
    }
    if problem.kind == FailureKind::Unauthenticated {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    let content_type = match form {
        Form::Envelope => "application/json",
        Form::ProblemDetails => "application/problem+json",
    };
    let body = problem.body(form, request_id).to_string();
    let answer = answer.content_type(content_type).body(body);
    response.into_response(answer)
}

/// A failure of actix's own.
fn describe(failure: &actix_web::Error, path: &str) -> Problem {
    if failure.as_error::<PathError>().is_some() {
        return Problem::new(FailureKind::NotFound, format!("{path} names nothing: {failure}"));
    }
    let kind = match failure.as_response_error().status_code().as_u16() {
        401 => FailureKind::Unauthenticated,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        413 => FailureKind::TooLarge,
        400..=499 => FailureKind::Invalid,
        _ => FailureKind::Internal,
    };
    Problem::new(kind, failure.to_string())
}

fn with_sources(failure: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut line = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl StdError for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }
}

impl From<InvalidField> for Problem {
    fn from(fault: InvalidField) -> Self {
        let problem = Self::invalid(fault.to_string());
        if fault.field.starts_with("metadata") {
            return problem.with_code("invalid_metadata");
        }
        if fault.field == "config.type" {
            return problem.with_code("invalid_config_type_change");
        }
        problem
    }
}

impl From<StorageError> for Problem {
    fn from(failure: StorageError) -> Self {
        let kind = failure.kind();
        let message: Cow<'static, str> = match kind {
            FailureKind::Unavailable => "the database cannot be reached, try again".into(),
            FailureKind::Internal => "the platform failed; its log says why".into(),
            FailureKind::Invalid
            | FailureKind::Unauthenticated
            | FailureKind::Forbidden
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::TooLarge
            | FailureKind::RateLimited => failure.to_string().into(),
        };
        Self::new(kind, message).caused_by(failure)
    }
}

impl From<RequestError> for Problem {
    fn from(failure: RequestError) -> Self {
        let message = "the platform cannot take commands now, try again";
        Self::new(FailureKind::Unavailable, message).caused_by(failure)
    }
}

impl From<PublishError> for Problem {
    fn from(failure: PublishError) -> Self {
        RequestError::from(failure).into()
    }
}

/// The error envelope of everything under `/v1`, for the OpenAPI document.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ErrorEnvelope {
    /// Always `error`.
    pub r#type: String,
    pub error: ErrorDescription,
    pub request_id: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ErrorDescription {
    pub r#type: String,
    pub message: String,
    pub details: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_envelope_under_v1_and_problem_details_elsewhere() {
        let problem = Problem::not_found("session", "sesn_1");
        assert_eq!(
            problem.body(Form::of("/v1/sessions/sesn_1"), "req_1"),
            json!({
                "type": "error",
                "error": {
                    "type": "not_found_error",
                    "message": "there is no session sesn_1",
                    "details": {"error_code": "session_not_found"},
                },
                "request_id": "req_1",
            })
        );
        assert_eq!(
            problem.body(Form::of("/api/sessions/sesn_1"), "req_1"),
            json!({
                "type": "not_found_error",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no session sesn_1",
                "code": "session_not_found",
                "request_id": "req_1",
            })
        );
    }

    #[test]
    fn only_what_may_succeed_later_is_transient() {
        assert!(Problem::new(FailureKind::Unavailable, "x").is_transient());
        assert!(Problem::conflict("x").retry_after(1).is_transient());
        assert!(!Problem::conflict("x").is_transient());
        assert!(!Problem::invalid("x").is_transient());
    }
}
