//! Which requests may leave a sandbox: calls of models, and the list of models.

use http::{Method, Uri};

/// What a permitted request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reads which models there are. A sandbox that waits for its session may do that.
    ListModels,
    /// Spends money on somebody's account, so it must be known whose.
    CallModel,
}

/// Why a request may not leave, as a sentence for whoever reads the agent's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("this sandbox can reach the model gateway only, so it cannot connect to other hosts")]
    OtherHost,
    #[error("the path is not written in its plain form, so it was not passed on")]
    OddPath,
    #[error("{0} {1} is not a model call; only model calls leave this sandbox")]
    NotAModelCall(Method, String),
}

const CALLS: [&str; 4] =
    ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"];
const GEMINI_MODELS: &str = "/v1beta/models/";

/// Decides by method and path alone, after undoing what could make two readers see two different paths.
pub fn permit(method: &Method, uri: &Uri) -> Result<Purpose, Forbidden> {
    if method == Method::CONNECT || uri.authority().is_some() {
        return Err(Forbidden::OtherHost);
    }
    let path = plain_path(uri.path()).ok_or(Forbidden::OddPath)?;
    if method == Method::GET && path == "/v1/models" {
        return Ok(Purpose::ListModels);
    }
    let is_call = CALLS.contains(&path.as_str()) || is_gemini_call(&path);
    if method == Method::POST && is_call {
        return Ok(Purpose::CallModel);
    }
    Err(Forbidden::NotAModelCall(method.clone(), path.chars().take(200).collect()))
}

/// `/v1beta/models/<model>:<verb>`; a model's name may contain slashes.
fn is_gemini_call(path: &str) -> bool {
    let Some((model, verb)) = path.strip_prefix(GEMINI_MODELS).and_then(|m| m.rsplit_once(':'))
    else {
        return false;
    };
    !model.is_empty() && !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// The path decoded once. `None` when another reader might decode it further or walk it differently.
fn plain_path(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let decoded = String::from_utf8(bytes).ok()?;
    let is_odd = |c: char| c.is_control() || matches!(c, '%' | '\\' | ';' | '?' | '#');
    let mut segments = decoded.strip_prefix('/')?.split('/');
    let is_plain =
        !decoded.contains(is_odd) && segments.all(|segment| !matches!(segment, "" | "." | ".."));
    is_plain.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(method: &str, uri: &str) -> Result<Purpose, Forbidden> {
        permit(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn model_calls_leave() {
        for path in [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/messages?beta=true",
            "/v1/messages/count_tokens",
            "/v1beta/models/gemini-pro:generateContent",
            "/v1beta/models/google%2Fgemini:streamGenerateContent?alt=sse",
        ] {
            assert_eq!(decide("POST", path), Ok(Purpose::CallModel), "{path}");
        }
        assert_eq!(decide("GET", "/v1/models"), Ok(Purpose::ListModels));
    }

    #[test]
    fn everything_else_stays() {
        for (method, path) in [
            ("GET", "/key/list"),
            ("POST", "/v1/models"),
            ("DELETE", "/v1/messages"),
            ("POST", "/v1/embeddings"),
            ("POST", "/v1/messages/batches"),
            ("POST", "/v1beta/models/gemini-pro"),
        ] {
            assert!(
                matches!(decide(method, path), Err(Forbidden::NotAModelCall(..))),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn a_path_that_two_readers_may_see_differently_stays() {
        for path in [
            "/v1/messages/../../key/list",
            "/v1beta/models/x/%2e%2e/%2e%2e/key:list",
            "/v1//messages",
            "/v1/messages%252f..",
            "/v1/messages;a=b",
            "/v1/messages%3Fx",
            "/v1/messages%0d%0a",
            "/v1beta/models/a%zz:verb",
        ] {
            assert_eq!(decide("POST", path), Err(Forbidden::OddPath), "{path}");
        }
    }

    #[test]
    fn no_other_host_is_reached() {
        assert_eq!(decide("CONNECT", "example.com:443"), Err(Forbidden::OtherHost));
        assert_eq!(decide("POST", "http://169.254.169.254/v1/messages"), Err(Forbidden::OtherHost));
    }
}
