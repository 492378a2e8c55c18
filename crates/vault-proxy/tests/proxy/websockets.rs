//! WebSockets of hosts at which a credential may be used, with a real server and a real client.

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use platform_core::egress::AlarmKind;
use platform_sealing::HoneyValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::{client, server};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server as handshake;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use vault_proxy::rules::Secrets;
use vault_proxy::secrets::{Hosts, NamedSecret, SecretUse, SecretsParts};

use crate::client::{http1_over, tls_to};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

const PLACEHOLDER: &str = "lap_0123456789abcdefghijklmnop";
const VALUE: &str = "the-real-value";
const HONEY: &str = "bkp_nobody-has-a-use-for-this";

fn secrets(host: &str) -> Secrets {
    let hosts = Hosts::Only(vec![host.parse().unwrap()]);
    let location = platform_core::credential::InjectionLocation::default();
    let named = NamedSecret {
        name: "API_TOKEN".to_owned(),
        placeholders: vec![PLACEHOLDER.to_owned()],
        uses: vec![SecretUse { value: VALUE.into(), hosts, location }],
    };
    let honey = vec![HoneyValue { name: "backup_token", value: HONEY.to_owned() }];
    Secrets::new(SecretsParts { named: vec![named], honey, ..SecretsParts::default() })
}

type Host = WebSocketStream<server::TlsStream<TcpStream>>;
type Program = WebSocketStream<client::TlsStream<UnixStream>>;

/// A program's WebSocket through a house, the host's end of it, and with which headers it was asked for.
struct Connected {
    house: House,
    program: Program,
    host: Host,
    asked: HeaderMap,
}

async fn connect() -> Connected {
    let root = Root::create();
    let tls = root.server(&["ws.test"], &["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = format!("ws.test:{port}");
    let plan = Plan::unrestricted().inside("ws.test", port).secrets(secrets(&host));
    let house = House::open(&root, plan);
    let accepting = tokio::spawn(accept(listener, tls));
    let stream = house.connect(&host).await;
    let stream = tls_to(&house.tls(&["http/1.1"]), "ws.test", stream).await.unwrap();
    let mut request = format!("wss://{host}/").into_client_request().unwrap();
    let bearer = format!("Bearer {PLACEHOLDER}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let extensions = "permessage-deflate; client_max_window_bits".parse().unwrap();
    request.headers_mut().insert("sec-websocket-extensions", extensions);
    let (program, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let (host, asked) = accepting.await.unwrap();
    Connected { house, program, host, asked }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor) -> (Host, HeaderMap) {
    let (stream, _) = listener.accept().await.unwrap();
    let stream = tls.accept(stream).await.unwrap();
    let (told, mut asked) = mpsc::unbounded_channel();
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let look = move |request: &handshake::Request, response: handshake::Response| {
        told.send(request.headers().clone()).unwrap();
        Ok(response)
    };
    let host = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
    (host, asked.recv().await.unwrap())
}

fn part(text: &'static str, opcode: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(text, OpCode::Data(opcode), is_final))
}

#[tokio::test]
async fn a_websocket_s_messages_have_placeholders_in_the_place_of_values() {
    let Connected { mut program, mut host, asked, house: _house } = connect().await;
    assert_eq!(asked["authorization"], format!("Bearer {VALUE}"));
    assert!(!asked.contains_key("sec-websocket-extensions"), "compressed messages hide values");

    host.send(Message::text(format!("you are {VALUE}."))).await.unwrap();
    let said = program.next().await.unwrap().unwrap();
    assert_eq!(said, Message::text(format!("you are {PLACEHOLDER}.")));

    // In parts, with another frame in their midst.
    host.send(part("the-re", Data::Text, false)).await.unwrap();
    host.send(Message::Ping(VALUE.into())).await.unwrap();
    host.send(part("al-val", Data::Continue, false)).await.unwrap();
    host.send(part("ue!", Data::Continue, true)).await.unwrap();
    assert_eq!(program.next().await.unwrap().unwrap(), Message::Ping(PLACEHOLDER.into()));
    let said = program.next().await.unwrap().unwrap();
    assert_eq!(said, Message::text(format!("{PLACEHOLDER}!")));
    assert_eq!(host.next().await.unwrap().unwrap(), Message::Pong(PLACEHOLDER.into()));

    // Longer than what is held of it, with the value where it is cut.
    for before in [65_536 - 7, 131_072 - 1, 200_000] {
        let long = |value: &str| [&vec![b'x'; before], value.as_bytes(), &[b'y'; 9000]].concat();
        host.send(Message::binary(long(VALUE))).await.unwrap();
        assert!(program.next().await.unwrap().unwrap() == Message::binary(long(PLACEHOLDER)));
    }

    // The other way nothing changes.
    let message = Message::text("x".repeat(200_000));
    program.send(message.clone()).await.unwrap();
    assert!(host.next().await.unwrap().unwrap() == message);

    let reason = |text: &'static str| CloseFrame {
        code: CloseCode::Policy,
        reason: Utf8Bytes::from_static(text),
    };
    host.close(Some(reason(VALUE))).await.unwrap();
    let said = program.next().await.unwrap().unwrap();
    assert_eq!(said, Message::Close(Some(reason(PLACEHOLDER))));
}

#[tokio::test]
async fn what_must_not_leave_ends_a_websocket() {
    for (parts, kind, code) in [
        (&["token ", PLACEHOLDER][..], AlarmKind::PlaceholderMisused, "placeholder_misused"),
        (&["bkp_nobody-", "has-a-use-", "for-this"], AlarmKind::HoneyValueSeen, "honey_value"),
    ] {
        let Connected { mut program, mut host, mut house, asked: _ } = connect().await;
        program.send(Message::text("harmless")).await.unwrap();
        assert_eq!(host.next().await.unwrap().unwrap(), Message::text("harmless"));
        for (index, text) in parts.iter().enumerate() {
            let opcode = if index == 0 { Data::Text } else { Data::Continue };
            let is_final = index + 1 == parts.len();
            // The last one may find the connection ended.
            let _sent = program.send(part(text, opcode, is_final)).await;
        }
        assert!(matches!(host.next().await, None | Some(Err(_))));
        assert!(matches!(program.next().await, None | Some(Err(_))));
        assert_eq!(house.alarms.recv().await.unwrap().kind, kind);
        let decision = house.decisions.recv().await.unwrap();
        assert_eq!((decision.code.as_deref(), decision.status), (Some(code), Some(101)));
    }
}

#[tokio::test]
async fn what_only_says_that_it_is_a_websocket_is_not_passed_on() {
    let root = Root::create();
    let tls = root.server(&["ws.test"], &["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tls.accept(stream).await.unwrap();
        let head = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(format!("{head}{VALUE}").as_bytes()).await.unwrap();
        // Holds it open until the other side ends it.
        stream.read_to_end(&mut Vec::new()).await.unwrap_or(0);
    });
    let host = format!("ws.test:{port}");
    let plan = Plan::unrestricted().inside("ws.test", port).secrets(secrets(&host));
    let house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let mut stream = tls_to(&house.tls(&["http/1.1"]), "ws.test", stream).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let _ended_or_cut = stream.read_to_end(&mut heard).await;
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 101 ") && heard.ends_with("\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn where_values_may_come_back_no_other_protocol_is_changed_to() {
    let root = Root::create();
    let server = Server::start(Some(root.server(&["ws.test"], &["http/1.1"])), |request| {
        Box::pin(async move {
            let is_asked = request.headers().contains_key("upgrade");
            let mut answer = http::Response::new(text(""));
            if is_asked {
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
                answer.headers_mut().insert("upgrade", request.headers()["upgrade"].clone());
            }
            answer
        })
    })
    .await;
    let host = format!("ws.test:{}", server.port);
    for (secrets, status) in
        [(secrets(&host), StatusCode::OK), (secrets("other.test"), StatusCode::SWITCHING_PROTOCOLS)]
    {
        let plan = Plan::unrestricted().inside("ws.test", server.port).inspecting();
        let house = House::open(&root, plan.secrets(secrets));
        let stream = house.connect(&host).await;
        let stream = tls_to(&house.tls(&["http/1.1"]), "ws.test", stream).await.unwrap();
        let request = Request::get("/").header("host", &host).header("connection", "upgrade");
        let request = request.header("upgrade", "SPDY/3.1").body(Full::<bytes::Bytes>::default());
        let mut sender = http1_over(stream).await;
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        drop(response.into_body().collect());
    }
}
