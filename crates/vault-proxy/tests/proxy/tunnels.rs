//! Connections that are carried untouched.

use http::StatusCode;
use platform_core::egress::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::{Answered, get, http1_over, tls_to, trusting};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server};

#[tokio::test]
async fn tls_that_nobody_has_to_look_into_is_the_host_s_own() {
    let root = Root::create();
    let (server, mut received) = Server::telling(Some(root.server(&["api.test"], &[]))).await;
    let mut house = House::open(&root, Plan::unrestricted().inside("api.test", server.port));

    let stream = house.connect(&format!("api.test:{}", server.port)).await;
    // Trusts the host's authority alone: whoever stood in between would be found out.
    let stream = tls_to(&trusting(root.der.clone(), &[]), "api.test", stream).await.unwrap();
    let mut request = get("/a?b=c");
    request.headers_mut().insert("host", "whatever.test".parse().unwrap());
    let response = http1_over(stream).await.send_request(request).await.unwrap();
    assert_eq!(Answered::read(response).await.body, "hello");
    assert_eq!(received.recv().await.unwrap().headers["host"], "whatever.test");

    let decision = house.decisions.recv().await.unwrap();
    assert_eq!(
        (decision.verdict, decision.rule.as_str()),
        (Verdict::Allowed, "networking: unrestricted")
    );
    assert_eq!((decision.host.as_str(), decision.port), ("api.test", server.port));
    assert!(decision.bytes_out > 200 && decision.bytes_in > 500, "{decision:?}");
    assert_eq!((decision.method, decision.path, decision.status), (None, None, None));
}

#[tokio::test]
async fn a_host_that_speaks_first_is_heard_and_each_side_may_end_its_half() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        stream.write_all(format!("you said {said}").as_bytes()).await.unwrap();
    });
    let root = Root::create();
    let plan = Plan::limited(&[&format!("mail.test:{port}")]).inside("mail.test", port);
    let house = House::open(&root, plan);
    let mut stream = house.connect(&format!("mail.test:{port}")).await;
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    stream.write_all(b"QUIT").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "you said QUIT");
}

#[tokio::test]
async fn tls_for_another_name_than_the_connection_s_is_refused_inside() {
    let root = Root::create();
    let (server, mut received) =
        Server::telling(Some(root.server(&["front.test", "hidden.test"], &[]))).await;
    let plan = Plan::limited(&[&format!("front.test:{}", server.port)]);
    let mut house = House::open(&root, plan.inside("front.test", server.port));

    let stream = house.connect(&format!("front.test:{}", server.port)).await;
    let stream = tls_to(&house.tls(&[]), "hidden.test", stream).await.unwrap();
    let mut sender = http1_over(stream).await;
    let answered = Answered::read(sender.send_request(get("/")).await.unwrap()).await;
    assert_eq!(answered.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(answered.code(), "sni_mismatch");
    assert!(received.try_recv().is_err());
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!(
        (decision.verdict, decision.code.as_deref()),
        (Verdict::Denied, Some("sni_mismatch"))
    );
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_told_in_the_answer_to_the_connect() {
    let root = Root::create();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut house = House::open(&root, Plan::unrestricted().inside("gone.test", port));
    let refused = house.refused_connect(&format!("gone.test:{port}")).await;
    assert_eq!(refused, (502, "host_unreachable".to_owned()));
    assert_eq!(house.decisions.recv().await.unwrap().verdict, Verdict::Failed);
    let refused = house.refused_connect("unknown.test:443").await;
    assert_eq!(refused, (502, "name_not_resolved".to_owned()));
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    let root = Root::create();
    let (server, mut received) = Server::telling(None).await;
    // The second answer would lead to another server, if anybody asked again.
    let target = format!("moving.test:{}", server.port);
    let plan = Plan::unrestricted().inside("moving.test", server.port);
    let plan = plan.name("moving.test", &[&["127.0.0.1"], &["127.99.99.99"]]);
    let house = House::open(&root, plan);
    let mut sender = http1_over(house.dial().await).await;
    let response = sender.send_request(get(&format!("http://{target}/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(received.recv().await.is_some());
}

#[tokio::test]
async fn much_passes_both_ways_at_once_as_it_is() {
    const SIZE: usize = 24 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let root = Root::create();
    let mut house = House::open(&root, Plan::unrestricted().inside("echo.test", port));
    let stream = house.connect(&format!("echo.test:{port}")).await;
    let (mut read, mut write) = stream.into_split();
    // A period that divides no buffer's length.
    let sent: Vec<u8> = (0..251_u8).cycle().take(SIZE).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut heard = Vec::with_capacity(SIZE);
    read.read_to_end(&mut heard).await.unwrap();
    writing.await.unwrap();
    assert!(heard == expected, "{} bytes came back", heard.len());
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!((decision.bytes_out, decision.bytes_in), (SIZE as u64, SIZE as u64));
}
