//! Which requests vault-proxy passes on to the model gateway, by method and path.

use http::{Method, Uri};
use reqwest::Url;
use vault_proxy::model::policy::{Purpose, permit};

use crate::Target;

pub const TARGET: Target = Target {
    name: "model_requests",
    check,
    words: &[
        "POST ",
        "GET ",
        "CONNECT ",
        "/v1/messages",
        "/v1/models",
        "/v1/chat/completions",
        "/v1beta/models/",
        ":generateContent",
        "/..",
        "/./",
        "//",
        "%2f",
        "%2e",
        "%252e",
        "%00",
        "%zz",
        "?",
        "#",
        ";",
        "\\",
        "http://",
        "@",
    ],
};

/// A method, a space, and what stands where the path of a request does. Whatever is permitted must be the same call to every reader.
fn check(input: &[u8]) {
    let Some(space) = input.iter().position(|byte| *byte == b' ') else { return };
    let (method, rest) = input.split_at(space);
    let (Ok(method), Ok(uri)) =
        (Method::from_bytes(method), Uri::try_from(rest.get(1..).unwrap_or_default()))
    else {
        return;
    };
    let Ok(purpose) = permit(&method, &uri) else { return };
    let wanted = match purpose {
        Purpose::ListModels => Method::GET,
        Purpose::CallModel => Method::POST,
    };
    assert_eq!(method, wanted);
    assert_eq!((uri.scheme(), uri.authority()), (None, None), "it leads elsewhere");
    // What the client that passes it on makes of it, which walks `..` and takes `\` for `/`.
    let Ok(url) = Url::parse(&format!("http://gateway{}", uri.path())) else {
        panic!("{uri} cannot be passed on")
    };
    assert_eq!(url.host_str(), Some("gateway"));
    assert_eq!((url.query(), url.fragment()), (None, None));
    // Encoded slashes may stand in the name of a model, and LiteLLM reads them as slashes.
    let path = url.path().replace("%2F", "/").replace("%2f", "/");
    let path = path.to_ascii_lowercase();
    assert!(!path.contains("/../") && !path.contains("/./"), "{url}");
    let walked = url.path().split('/').count();
    assert_eq!(walked, uri.path().split('/').count(), "{url} was walked differently from {uri}");
}
