//! Bodies that do not wait for their end, and protocols that HTTP is left for.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{http1_over, http2_over, tls_to};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;

#[tokio::test]
async fn events_arrive_before_the_answer_ends() {
    let root = Root::create();
    let (events, answer) = mpsc::channel::<Bytes>(1);
    let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
    let server =
        Server::start(Some(root.server(&["api.test"], &["h2", "http/1.1"])), move |_request| {
            let events = ReceiverStream::new(answer.lock().unwrap().take().unwrap());
            Box::pin(async move {
                let frames = events.map(|event| Ok::<_, Infallible>(Frame::data(event)));
                Response::new(StreamBody::new(frames).boxed_unsync())
            })
        })
        .await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&["http/1.1"]), "api.test", stream).await.unwrap();
    let request = Request::get("/").header("host", &host).body(Full::default()).unwrap();
    let response = http1_over(stream).await.send_request(request).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    // Each is asked for before the next exists: whoever buffered would hang here.
    for piece in ["data: one\n\n", "data: two\n\n"] {
        events.send(Bytes::from(piece)).await.unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), piece);
    }
    drop(events);
    assert!(pieces.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways_in_little_memory() {
    const SIZE: usize = 96 * MIB;
    let root = Root::create();
    // Answers with as many bytes as it is sent, after it has been sent them all.
    let server = Server::start(Some(root.server(&["api.test"], &["h2"])), |request| {
        Box::pin(async move {
            let mut size = 0;
            let mut body = request.into_body().into_data_stream();
            while let Some(piece) = body.next().await {
                size += piece.unwrap().len();
            }
            let pieces = futures::stream::iter(
                (0..size / PIECE)
                    .map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; PIECE])))),
            );
            Response::new(StreamBody::new(pieces).boxed_unsync())
        })
    })
    .await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let mut house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&["http/1.1"]), "api.test", stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let before = resident_bytes();
    let pieces = futures::stream::iter(
        (0..SIZE / PIECE).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; PIECE])))),
    );
    let request = Request::post("/").header("host", &host).body(StreamBody::new(pieces)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (mut size, mut most) = (0, resident_bytes());
    let mut body = response.into_body().into_data_stream();
    while let Some(piece) = body.next().await {
        size += piece.unwrap().len();
        most = most.max(resident_bytes());
    }
    assert_eq!(size, SIZE);
    // All three parts of it are in this process, and so are other tests.
    assert!(most.saturating_sub(before) < 80 * MIB, "{} MiB", (most - before) / MIB);
    drop(sender);
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!((decision.bytes_out, decision.bytes_in), (SIZE as u64, SIZE as u64));
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn who_does_not_read_is_not_sent_to() {
    let root = Root::create();
    let server = Server::start(None, |request| {
        Box::pin(async move {
            // Keeps the body unread for as long as the connection lives.
            let _unread = request;
            std::future::pending().await
        })
    })
    .await;
    let house = House::open(&root, Plan::unrestricted().inside("api.test", server.port));
    let target = format!("api.test:{}", server.port);
    let mut stream = house.connect(&target).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {target}\r\nContent-Length: 1000000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0;
    let patience = std::time::Duration::from_millis(500);
    let piece = vec![7; PIECE];
    while let Ok(written) = tokio::time::timeout(patience, stream.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 64 * MIB, "somebody keeps what nobody reads");
    }
}

#[tokio::test]
async fn a_websocket_is_passed_on_with_what_it_says() {
    let root = Root::create();
    let server = |tls| {
        Server::start(tls, |mut request| {
            Box::pin(async move {
                let mut answer = Response::new(text(""));
                if request.headers().get("upgrade").is_none_or(|it| it != "websocket") {
                    return answer;
                }
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
                answer.headers_mut().insert("upgrade", "websocket".parse().unwrap());
                tokio::spawn(async move {
                    let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                    write.shutdown().await.unwrap();
                });
                answer
            })
        })
    };
    let encrypted = server(Some(root.server(&["ws.test"], &["h2", "http/1.1"]))).await;
    let in_clear = server(None).await;
    let plan = Plan::unrestricted().inspecting();
    let plan = plan.inside("ws.test", encrypted.port).inside("ws.test", in_clear.port);
    let house = House::open(&root, plan);
    for (port, is_encrypted) in [(encrypted.port, true), (in_clear.port, false)] {
        let host = format!("ws.test:{port}");
        let stream = house.connect(&host).await;
        let mut sender = if is_encrypted {
            http1_over(tls_to(&house.tls(&["http/1.1"]), "ws.test", stream).await.unwrap()).await
        } else {
            http1_over(stream).await
        };
        let asking = |protocol: &str| {
            let request = Request::get("/").header("host", &host);
            let request = request.header("connection", "Upgrade").header("upgrade", protocol);
            request.body(Full::<Bytes>::default()).unwrap()
        };
        // To another version of HTTP nothing is changed.
        let response = sender.send_request(asking("h2c")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(asking("websocket")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        stream.write_all(b"ping").await.unwrap();
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"ping");
    }
}

#[tokio::test]
async fn many_streams_of_http2_share_a_connection() {
    let root = Root::create();
    let (server, _received) = Server::telling(Some(root.server(&["api.test"], &["h2"]))).await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&["h2"]), "api.test", stream).await.unwrap();
    let sender = http2_over(stream).await;
    let requests = (0..50).map(|number| {
        let mut sender = sender.clone();
        let request = Request::post(format!("https://{host}/{number}"));
        let request = request.body(Full::from(vec![7; PIECE])).unwrap();
        async move { sender.send_request(request).await.unwrap().status() }
    });
    let statuses = futures::future::join_all(requests).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
}

#[tokio::test]
async fn a_tunnel_counts_among_the_connections_that_a_sandbox_may_have() {
    let root = Root::create();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("db.test:{}", listener.local_addr().unwrap().port());
    let plan = Plan::limited(&[&target]);
    let house = House::open(&root, plan.inside("db.test", listener.local_addr().unwrap().port()));
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    let mut tunnels = Vec::new();
    for _ in 0..256 {
        tunnels.push(house.connect(&target).await);
    }
    let mut further = Box::pin(house.connect(&target));
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, further.as_mut()).await.is_err());
    tunnels.pop();
    further.await;
    taking.abort();
}
