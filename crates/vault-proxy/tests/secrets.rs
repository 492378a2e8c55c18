//! Secrets go into requests where they belong and nowhere else, and what comes back of them is taken out in whatever form it comes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame};
use platform_core::credential::InjectionLocation;
use platform_core::network::Host;
use platform_sealing::HoneyValue;
use proptest::prelude::*;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use vault_proxy::rules::{Body, BoxError, Injected, Injection, Misuse, Secrets};
use vault_proxy::secrets::{
    BearerToken, Hosts, McpUrl, NamedSecret, SecretUse, SecretValue, SecretsParts,
};

const PLACEHOLDER: &str = "ghp_Pl4ceh0lderPl4ceh0lderPl4ceh0lder1234";
const VALUE: &str = "ghp_R3al/Value+with=\"quotes\"&more";
const EVERYWHERE: InjectionLocation =
    InjectionLocation { header: true, body: true, query: true, basic: true };

fn use_of(value: &str, host: &str, location: InjectionLocation) -> SecretUse {
    let hosts = Hosts::Only(vec![host.parse().unwrap()]);
    SecretUse { value: value.into(), hosts, location }
}

fn named(uses: Vec<SecretUse>) -> NamedSecret {
    NamedSecret { name: "A_TOKEN".to_owned(), placeholders: vec![PLACEHOLDER.to_owned()], uses }
}

fn secrets_of(named: NamedSecret) -> Secrets {
    let honey =
        vec![HoneyValue { name: "backup_token", value: "bkp_N0b0dyMayUseThis123".to_owned() }];
    Secrets::new(SecretsParts { named: vec![named], bearers: Vec::new(), honey })
}

fn secrets(location: InjectionLocation) -> Secrets {
    secrets_of(named(vec![use_of(VALUE, "api.example.com", location)]))
}

fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn inject_at(secrets: &Secrets, host: &str, head: &mut Parts) -> Result<Injected, Misuse> {
    let host: Host = host.parse().unwrap();
    let target = Injection { host: &host, port: 443, is_encrypted: true, is_internal: false };
    secrets.inject(&target, head)
}

fn inject(secrets: &Secrets, head: &mut Parts) -> Result<Injected, Misuse> {
    inject_at(secrets, "api.example.com", head)
}

fn body_of(pieces: Vec<Vec<u8>>) -> Body {
    let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

async fn text_of(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_placeholder_in_a_header_becomes_the_value_at_its_own_host_alone() {
    let secrets = secrets(InjectionLocation::default());
    let authorization = format!("Bearer {PLACEHOLDER}");
    let mut own = head("/", &[("authorization", &authorization), ("x-api-key", PLACEHOLDER)]);
    inject(&secrets, &mut own).unwrap();
    assert_eq!(own.headers["authorization"], format!("Bearer {VALUE}"));
    assert_eq!(own.headers["x-api-key"], VALUE);
    assert!(own.headers["authorization"].is_sensitive());

    let mut other = head("/", &[("authorization", &authorization)]);
    let misuse = inject_at(&secrets, "evil.example.com", &mut other).unwrap_err();
    assert_eq!(misuse.code(), "placeholder_misused");
    assert_eq!(misuse.alarm().unwrap().host.as_deref(), Some("evil.example.com"));
    assert_eq!(other.headers["authorization"], authorization);
}

#[tokio::test]
async fn git_s_basic_authorization_is_decoded_and_encoded_again() {
    let secrets = secrets(InjectionLocation::default());
    let login = STANDARD.encode(format!("x-access-token:{PLACEHOLDER}"));
    let mut head = head("/", &[("authorization", &format!("Basic {login}"))]);
    inject(&secrets, &mut head).unwrap();
    let sent = STANDARD.encode(format!("x-access-token:{VALUE}"));
    assert_eq!(head.headers["authorization"], format!("Basic {sent}"));
}

#[tokio::test]
async fn each_place_has_to_be_allowed_by_the_credential() {
    let nowhere = InjectionLocation { header: false, body: false, query: false, basic: false };
    let login = STANDARD.encode(format!("x:{PLACEHOLDER}"));
    let in_header = || head("/", &[("x-key", PLACEHOLDER)]);
    let in_basic = || head("/", &[("authorization", &format!("Basic {login}"))]);
    let in_query = || head(&format!("/?key={PLACEHOLDER}"), &[]);
    let in_path = || head(&format!("/{PLACEHOLDER}/x"), &[]);
    let header = InjectionLocation { header: true, ..nowhere };
    let basic = InjectionLocation { basic: true, ..nowhere };
    let query = InjectionLocation { query: true, ..nowhere };
    for (mut head, allowed) in [(in_header(), header), (in_basic(), basic), (in_query(), query)] {
        assert!(inject(&secrets(allowed), &mut head.clone()).is_ok(), "{allowed:?}");
        assert!(inject(&secrets(nowhere), &mut head).is_err(), "{allowed:?}");
    }
    assert!(inject(&secrets(EVERYWHERE), &mut in_path()).is_err());
}

#[tokio::test]
async fn a_value_in_the_query_is_percent_encoded() {
    let mut head = head(&format!("/v1/x?key={PLACEHOLDER}&a=b"), &[]);
    inject(&secrets(EVERYWHERE), &mut head).unwrap();
    let expected = "/v1/x?key=ghp_R3al%2FValue%2Bwith%3D%22quotes%22%26more&a=b";
    assert_eq!(head.uri, expected);
}

#[tokio::test]
async fn nothing_goes_out_in_clear_but_to_a_host_of_the_team_s_own() {
    let host: Host = "api.example.com".parse().unwrap();
    let secrets = secrets(InjectionLocation::default());
    let plain = Injection { host: &host, port: 80, is_encrypted: false, is_internal: false };
    let mut sent = head("/", &[("x-key", PLACEHOLDER)]);
    assert_eq!(secrets.inject(&plain, &mut sent).unwrap_err().code(), "placeholder_misused");
    let internal = Injection { is_internal: true, ..plain };
    secrets.inject(&internal, &mut sent).unwrap();
    assert_eq!(sent.headers["x-key"], VALUE);
}

#[tokio::test]
async fn of_two_credentials_for_one_host_none_is_used() {
    let location = InjectionLocation::default();
    let one = use_of(VALUE, "api.example.com", location);
    let other = use_of("another-value", "*.example.com", location);
    let twice = secrets_of(named(vec![one.clone(), other.clone()]));
    let misuse = inject(&twice, &mut head("/", &[("x-key", PLACEHOLDER)])).unwrap_err();
    assert_eq!((misuse.code(), misuse.alarm()), ("ambiguous_credential", None));

    let apart = secrets_of(named(vec![one, use_of("another-value", "b.example.org", location)]));
    let mut sent = head("/", &[("x-key", PLACEHOLDER)]);
    inject_at(&apart, "b.example.org", &mut sent).unwrap();
    assert_eq!(sent.headers["x-key"], "another-value");
}

#[tokio::test]
async fn a_planted_value_is_seen_in_whatever_disguise() {
    let value = "bkp_N0b0dyMayUseThis123";
    let hexadecimal = "626b705f4e30623064794d617955736554686973313233";
    let percent = value.replace('0', "%30");
    let secrets = secrets(EVERYWHERE);
    for (uri, header) in [
        (format!("/{value}"), ""),
        (format!("/?x={value}"), ""),
        (format!("/?x={percent}"), ""),
        (format!("/{hexadecimal}"), ""),
        ("/".to_owned(), value),
        ("/".to_owned(), &*STANDARD.encode(format!("ab{value}c"))),
        ("/".to_owned(), &*format!("Basic {}", STANDARD.encode(format!("u:{value}")))),
    ] {
        let mut head = head(&uri, &[("authorization", header)]);
        let seen = inject(&secrets, &mut head);
        assert!(matches!(seen, Err(Misuse::HoneyValue { .. })), "{uri} {header} {seen:?}");
    }
    let mut plain = head("/", &[("content-type", "text/plain")]);
    let injected = inject(&secrets, &mut plain).unwrap();
    let pieces = value.as_bytes().chunks(3).map(<[u8]>::to_vec).collect();
    let error = injected.request_body(&mut plain, body_of(pieces)).collect().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Misuse::HoneyValue { .. })), "{error}");
}

#[tokio::test]
async fn a_body_is_replaced_as_its_kind_wants_it_and_only_where_it_may_be() {
    for (kind, expected) in [
        ("application/json; charset=utf-8", VALUE.replace('"', "\\\"")),
        (
            "application/x-www-form-urlencoded",
            "ghp_R3al%2FValue%2Bwith%3D%22quotes%22%26more".to_owned(),
        ),
        ("text/plain", VALUE.to_owned()),
    ] {
        let secrets = secrets(EVERYWHERE);
        let mut head = head("/", &[("content-type", kind), ("content-length", "999")]);
        let injected = inject(&secrets, &mut head).unwrap();
        let text = format!("before {PLACEHOLDER} after");
        let pieces = text.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
        let body = injected.request_body(&mut head, body_of(pieces));
        assert_eq!(text_of(body).await, format!("before {expected} after"));
        assert!(!head.headers.contains_key("content-length"));
    }
}

#[tokio::test]
async fn a_placeholder_in_a_body_where_it_may_not_be_breaks_the_request_off() {
    let secrets = secrets(InjectionLocation::default());
    let mut head = head("/", &[("content-length", "100")]);
    let injected = inject(&secrets, &mut head).unwrap();
    let (one, other) = PLACEHOLDER.split_at(10);
    let pieces = vec![format!("text {one}").into_bytes(), other.as_bytes().to_vec()];
    let mut body = injected.request_body(&mut head, body_of(pieces));
    assert!(head.headers.contains_key("content-length"));
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "text ");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<Misuse>() && !error.to_string().contains(PLACEHOLDER), "{error}");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_body_that_is_only_searched_keeps_its_length() {
    let secrets = secrets(InjectionLocation::default());
    let mut head = head("/", &[]);
    let injected = inject(&secrets, &mut head).unwrap();
    let body = Full::new(Bytes::from_static(b"hello")).map_err(BoxError::from).boxed_unsync();
    let body = injected.request_body(&mut head, body);
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(text_of(body).await, "hello");
}

fn bearer(url: &str, token: &str) -> (BearerToken, Arc<AtomicBool>) {
    let was_refused = Arc::new(AtomicBool::new(false));
    let url = McpUrl::parse(url).unwrap();
    (BearerToken { url, token: token.into(), was_refused: was_refused.clone() }, was_refused)
}

#[tokio::test]
async fn an_mcp_server_s_token_is_added_to_its_own_requests_alone() {
    let (outer, _) = bearer("https://mcp.example.com/mcp", "outer-token-1");
    let (inner, was_refused) = bearer("https://mcp.example.com/mcp/inner", "inner-token-1");
    let bearers = vec![outer, inner];
    let secrets = Secrets::new(SecretsParts { bearers, ..SecretsParts::default() });
    let sent = |path: &str| {
        let mut head = head(path, &[("authorization", "Bearer of-the-sandbox")]);
        let injected = inject_at(&secrets, "mcp.example.com", &mut head).unwrap();
        (head.headers["authorization"].clone(), injected)
    };
    assert_eq!(sent("/mcp").0, "Bearer outer-token-1");
    assert_eq!(sent("/mcpx").0, "Bearer of-the-sandbox");
    assert_eq!(sent("/mcp/%2e%2e/x").0, "Bearer of-the-sandbox");
    let (value, injected) = sent("/mcp/inner/x");
    assert_eq!(value, "Bearer inner-token-1");

    let mut refused = Response::new(body_of(vec![b"no inner-token-1".to_vec()]));
    *refused.status_mut() = StatusCode::UNAUTHORIZED;
    let answer = injected.response(refused);
    assert_eq!(text_of(answer.into_body()).await, "no [redacted: token]");
    assert!(was_refused.load(Ordering::Relaxed));
}

#[tokio::test]
async fn two_tokens_for_one_mcp_server_are_refused() {
    let bearers = ["one-token-1", "two-token-2"];
    let bearers = bearers.map(|token| bearer("https://mcp.example.com/mcp", token).0).to_vec();
    let secrets = Secrets::new(SecretsParts { bearers, ..SecretsParts::default() });
    let refused = inject_at(&secrets, "mcp.example.com", &mut head("/mcp", &[])).unwrap_err();
    assert_eq!(refused.code(), "ambiguous_credential");
}

fn injected() -> Injected {
    let mut head = head("/", &[("x-key", PLACEHOLDER)]);
    inject(&secrets(InjectionLocation::default()), &mut head).unwrap()
}

#[tokio::test]
async fn whole_and_searchable_answers_are_asked_for() {
    let mut sent = head(
        "/",
        &[
            ("x-key", PLACEHOLDER),
            ("accept-encoding", "lzma, gzip;q=0.5, br"),
            ("range", "bytes=0-3"),
        ],
    );
    inject(&secrets(InjectionLocation::default()), &mut sent).unwrap();
    assert_eq!(sent.headers["accept-encoding"], "gzip;q=0.5, br");
    assert!(!sent.headers.contains_key("range"));

    let mut answer = Response::new(body_of(vec![b"???".to_vec()]));
    answer.headers_mut().insert("content-encoding", HeaderValue::from_static("lzma"));
    assert_eq!(injected().response(answer).status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn an_answer_of_a_host_that_no_secret_concerns_passes_untouched() {
    let mut head = head("/", &[]);
    let secrets = secrets(InjectionLocation::default());
    let injected = inject_at(&secrets, "other.example.com", &mut head).unwrap();
    let mut answer = Response::new(body_of(vec![VALUE.as_bytes().to_vec()]));
    answer.headers_mut().insert("content-length", HeaderValue::from_static("33"));
    let answer = injected.response(answer);
    assert!(answer.headers().contains_key("content-length"));
    assert_eq!(text_of(answer.into_body()).await, VALUE);
}

#[tokio::test]
async fn a_value_that_an_earlier_request_left_at_the_host_is_taken_out_as_well() {
    let injected = inject(&secrets(InjectionLocation::default()), &mut head("/", &[])).unwrap();
    let answer = injected.response(Response::new(body_of(vec![VALUE.as_bytes().to_vec()])));
    assert_eq!(text_of(answer.into_body()).await, PLACEHOLDER);
}

#[tokio::test]
async fn a_body_that_only_says_it_is_compressed_is_searched() {
    let mut sent = head("/", &[("content-encoding", "gzip"), ("content-length", "41")]);
    let injected = inject(&secrets(EVERYWHERE), &mut sent).unwrap();
    let body = injected.request_body(&mut sent, body_of(vec![PLACEHOLDER.as_bytes().to_vec()]));
    assert!(body.collect().await.unwrap_err().is::<Misuse>());
    assert!(sent.headers.contains_key("content-length"));
}

#[tokio::test]
async fn a_planted_value_in_the_name_of_a_host_is_seen_before_it_is_looked_up() {
    let secrets = secrets(InjectionLocation::default());
    for name in ["bkp-n0b0dymayusethis123.evil.example.com", "bkpn0b0dymay.usethis123.evil.example"]
    {
        let name = name.replace("bkp-", "bkp_");
        let refused = secrets.refuse_in_host(&name.parse().unwrap()).unwrap_err();
        assert_eq!(refused.code(), "honey_value");
        assert!(!refused.to_string().contains("n0b0dy"), "{refused}");
    }
    secrets.refuse_in_host(&"api.example.com".parse().unwrap()).unwrap();
}

#[tokio::test]
async fn values_in_answers_are_replaced_in_headers_bodies_and_trailers() {
    let injected = injected();
    let escaped = VALUE.replace('"', "\\\"").replace('/', "\\/");
    let percent = "ghp_R3al%2FValue%2Bwith%3D%22quotes%22%26more";
    let text = format!("{VALUE} {escaped} {percent}");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_str(VALUE).unwrap());
    let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from(text))), Ok(Frame::trailers(trailers))];
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    let location = format!("https://x.example.com/?t={percent}");
    answer.headers_mut().insert("location", HeaderValue::from_str(&location).unwrap());
    let answer = injected.response(answer);
    let expected = format!("https://x.example.com/?t={PLACEHOLDER}");
    assert_eq!(answer.headers()["location"], expected);
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-trailer"], PLACEHOLDER);
    let expected = format!("{PLACEHOLDER} {PLACEHOLDER} {PLACEHOLDER}");
    assert_eq!(body.to_bytes(), expected);
}

#[tokio::test]
async fn a_login_that_comes_back_in_base64_is_not_readable() {
    let login = STANDARD.encode(format!("user:{VALUE}"));
    let answer = Response::new(body_of(vec![format!("{{\"a\":\"Basic {login}\"}}").into_bytes()]));
    let text = text_of(injected().response(answer).into_body()).await;
    assert!(text.contains(PLACEHOLDER), "{text}");
    let middle: String = login.chars().skip(12).take(12).collect();
    assert!(!text.contains(&middle), "{text}");
}

async fn compressed(coding: &str, text: &[u8]) -> Vec<u8> {
    async fn finish(mut encoder: impl AsyncWrite + Unpin, text: &[u8]) {
        encoder.write_all(text).await.unwrap();
        encoder.shutdown().await.unwrap();
    }
    let mut packed = Vec::new();
    match coding {
        "gzip" => finish(GzipEncoder::new(&mut packed), text).await,
        "deflate" => finish(ZlibEncoder::new(&mut packed), text).await,
        "br" => finish(BrotliEncoder::new(&mut packed), text).await,
        "zstd" => finish(ZstdEncoder::new(&mut packed), text).await,
        _ => packed = text.to_vec(),
    }
    packed
}

#[tokio::test]
async fn a_compressed_answer_is_searched_wherever_it_is_cut() {
    let text = format!("{{\"echo\": \"{VALUE}\"}}\n");
    let expected = format!("{{\"echo\": \"{PLACEHOLDER}\"}}\n");
    for coding in ["gzip", "deflate", "br", "zstd", "identity"] {
        let packed = compressed(coding, text.as_bytes()).await;
        for cut in 1..packed.len() {
            let (one, other) = packed.split_at(cut);
            let mut answer = Response::new(body_of(vec![one.to_vec(), other.to_vec()]));
            answer.headers_mut().insert("content-encoding", HeaderValue::from_static(coding));
            answer.headers_mut().insert("content-length", HeaderValue::from(packed.len()));
            let answer = injected().response(answer);
            assert!(!answer.headers().contains_key("content-length"));
            assert!(!answer.headers().contains_key("content-encoding"));
            assert_eq!(text_of(answer.into_body()).await, expected, "{coding} {cut}");
        }
    }
}

#[tokio::test]
async fn a_bomb_is_unpacked_no_further_than_it_is_read() {
    let packed = compressed("br", &vec![b'0'; 8 << 20]).await;
    assert!(packed.len() < 1 << 16, "{}", packed.len());
    let mut answer = Response::new(body_of(vec![packed]));
    answer.headers_mut().insert("content-encoding", HeaderValue::from_static("br"));
    let mut body = injected().response(answer).into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() <= 64 << 10, "{}", first.len());
}

#[tokio::test]
async fn an_event_is_let_through_before_the_next_one_comes() {
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, BoxError>>();
    let body = StreamBody::new(receiver).boxed_unsync();
    let mut body = injected().response(Response::new(body)).into_body();
    for text in ["data: one\n\n", "data: two\n\n"] {
        sender.unbounded_send(Ok(Frame::data(Bytes::from(text)))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
}

#[test]
fn nothing_shows_a_value() {
    let secrets = secrets(EVERYWHERE);
    let mut sent = head("/", &[("x-key", PLACEHOLDER)]);
    let injected = inject(&secrets, &mut sent).unwrap();
    let parts = SecretValue::from(VALUE);
    let shown = format!("{secrets:?} {injected:?} {parts:?} {:?}", sent.headers);
    assert!(!shown.contains("R3al"), "{shown}");
    let error = Misuse::Placeholder { name: "A".to_owned(), host: "b".to_owned() };
    assert!(error.source().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn however_an_answer_is_cut_the_same_comes_out(
        before in "[a-z /\"\\\\]{0,30}",
        after in "[a-z /\"\\\\]{0,30}",
        size in 1_usize..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = format!("{before}{VALUE}{after}");
        let scrubbed = runtime.block_on(async {
            let pieces = text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            text_of(injected().response(Response::new(body_of(pieces))).into_body()).await
        });
        prop_assert_eq!(scrubbed, format!("{before}{PLACEHOLDER}{after}"));
    }
}
