//! Connections whose requests are looked into.

use http::{Method, Request, StatusCode, Version};
use http_body_util::Full;
use platform_core::egress::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answered, get, http1_over, http2_over, tls_to, trusting};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

/// A request that names its host, as HTTP/1.1 does.
fn to(host: &str, path: &str) -> Request<Full<bytes::Bytes>> {
    Request::get(path).header("host", host).body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_request_is_seen_passed_on_and_recorded_without_its_query() {
    let root = Root::create();
    let (server, mut received) =
        Server::telling(Some(root.server(&["api.test"], &["http/1.1"]))).await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let mut house = House::open(&root, plan);
    // The host's own certificate is not what the program sees, and the sandbox's authority is not what others trust.
    let stream = house.connect(&host).await;
    assert!(tls_to(&trusting(root.der.clone(), &[]), "api.test", stream).await.is_err());
    assert_eq!(house.decisions.recv().await.unwrap().code.as_deref(), Some("client_tls_failed"));

    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
    let request = Request::post("/a//b;c?secret=1")
        .header("host", &host)
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("proxy-authorization", "Basic eDp5")
        .header("accept", "*/*")
        .body(Full::from("body"))
        .unwrap();
    let mut sender = http1_over(stream).await;
    let answered = Answered::read(sender.send_request(request).await.unwrap()).await;
    assert_eq!(answered.body, "hello");

    let received = received.recv().await.unwrap();
    assert_eq!((received.method, received.uri.as_str()), (Method::POST, "/a//b;c?secret=1"));
    assert_eq!(received.body, "body");
    let mut headers: Vec<String> = received
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    assert_eq!(headers, ["accept: */*", "content-length: 4", &format!("host: {host}")]);

    // The record is told when the answer has been read.
    drop(sender);
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!((decision.verdict, decision.status), (Verdict::Allowed, Some(200)));
    assert_eq!(decision.method.as_deref(), Some("POST"));
    assert_eq!(decision.path.as_deref(), Some("/a//b;c"));
    assert_eq!((decision.bytes_out, decision.bytes_in), (4, 5));
}

#[tokio::test]
async fn each_side_speaks_the_version_of_http_that_it_can() {
    let root = Root::create();
    for (ours, theirs, expected) in [
        ("h2", "h2", Version::HTTP_2),
        ("h2", "http/1.1", Version::HTTP_11),
        ("http/1.1", "h2", Version::HTTP_2),
        ("http/1.1", "http/1.1", Version::HTTP_11),
    ] {
        let tls = root.server(&["api.test"], &[theirs]);
        let server = Server::start(Some(tls), move |request| {
            Box::pin(async move {
                assert_eq!(request.version(), expected);
                let said = format!(
                    "{:?} {}",
                    request.uri().path(),
                    request.headers()["cookie"].to_str().unwrap()
                );
                http::Response::new(text(said))
            })
        })
        .await;
        let host = format!("api.test:{}", server.port);
        let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
        let house = House::open(&root, plan);
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&[ours]), "api.test", stream).await.unwrap();
        let builder = |uri: &str| Request::get(uri).header("cookie", "a=1").header("cookie", "b=2");
        let response = if ours == "h2" {
            let request = builder(&format!("https://{host}/x")).body(Full::default()).unwrap();
            http2_over(stream).await.send_request(request).await.unwrap()
        } else {
            let request = builder("/x").header("host", &host).body(Full::default()).unwrap();
            http1_over(stream).await.send_request(request).await.unwrap()
        };
        let answered = Answered::read(response).await;
        assert_eq!(answered.body, "\"/x\" a=1; b=2", "{ours} to {theirs}");
    }
}

#[tokio::test]
async fn a_rule_about_requests_holds_for_each_of_them() {
    let root = Root::create();
    let (server, mut received) = Server::telling(Some(root.server(&["api.test"], &["h2"]))).await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::limited(&[]).rule(&host, &["GET"], &["/repos/*"]);
    let house = House::open(&root, plan.inside("api.test", server.port));
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&["http/1.1"]), "api.test", stream).await.unwrap();
    let mut sender = http1_over(stream).await;
    for (method, path, code) in [
        ("GET", "/repos/a?x=1", None),
        ("POST", "/repos/a", Some("request_not_allowed")),
        ("GET", "/user", Some("request_not_allowed")),
        ("GET", "/repos/../user", Some("odd_path")),
        ("GET", "/repos/%2e%2e/user", Some("odd_path")),
        ("GET", "/repos/..%2fuser", Some("odd_path")),
        ("GET", "/repos//x", Some("odd_path")),
        ("GET", "/repos/a", None),
    ] {
        let mut request = to(&host, path);
        *request.method_mut() = method.parse().unwrap();
        request.headers_mut().insert("x-http-method-override", "DELETE".parse().unwrap());
        let answered = Answered::read(sender.send_request(request).await.unwrap()).await;
        if let Some(code) = code {
            assert_eq!(answered.code(), code, "{method} {path}");
            continue;
        }
        assert_eq!(answered.body, "hello", "{method} {path}");
        let received = received.recv().await.unwrap();
        assert!(!received.headers.contains_key("x-http-method-override"));
    }
    assert!(received.try_recv().is_err());
    // The host cannot be reached past the rule by another protocol.
    let mut stream = house.connect(&host).await;
    stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn requests_of_one_connection_go_to_its_host_alone() {
    let root = Root::create();
    let (server, mut received) = Server::telling(Some(root.server(&["api.test"], &[]))).await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let house = House::open(&root, plan.inside("other.test", server.port));
    for other in ["other.test", "api.test", "api.test:1", "169.254.169.254"] {
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
        let response = http1_over(stream).await.send_request(to(other, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{other}");
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&["h2"]), "api.test", stream).await.unwrap();
        let request = get(&format!("https://{other}/"));
        let response = http2_over(stream).await.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{other}");
    }
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_host_that_cannot_prove_who_it_is_is_not_called() {
    let (root, stranger) = (Root::create(), Root::create());
    for tls in [stranger.server(&["api.test"], &[]), root.server(&["other.test"], &[])] {
        let (server, mut received) = Server::telling(Some(tls)).await;
        let host = format!("api.test:{}", server.port);
        let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
        let house = House::open(&root, plan);
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&[]), "api.test", stream).await.unwrap();
        let response = http1_over(stream).await.send_request(to(&host, "/")).await.unwrap();
        let answered = Answered::read(response).await;
        assert_eq!(
            (answered.status.as_u16(), answered.code().as_str()),
            (502, "certificate_not_valid")
        );
        assert!(received.try_recv().is_err());
    }
}

#[tokio::test]
async fn two_framings_of_one_request_never_reach_the_host() {
    let root = Root::create();
    let (server, mut received) = Server::telling(None).await;
    let host = format!("api.test:{}", server.port);
    let house = House::open(&root, Plan::unrestricted().inside("api.test", server.port));
    let head = format!("POST /first HTTP/1.1\r\nHost: {host}\r\n");
    for lines in [
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3, 4\r\n\r\nabcd",
        "Content-Length: +3\r\n\r\nabc",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "X-Folded: a\r\n b\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut stream = house.connect(&host).await;
        stream.write_all(format!("{head}{lines}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lines:?}: {answer}");
    }
    assert!(received.try_recv().is_err());
    // Both at once: the chunks count (RFC 9112, 6.3), and the host is told of one length only.
    let mut stream = house.connect(&host).await;
    let lines = "Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    stream.write_all(format!("{head}{lines}").as_bytes()).await.unwrap();
    let received = received.recv().await.unwrap();
    assert_eq!(received.body, "abc");
    let lengths =
        ["content-length", "transfer-encoding"].map(|it| received.headers.contains_key(it));
    assert_eq!(lengths, [false, true]);
}
