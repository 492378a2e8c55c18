//! `supervise` in a pod: who it is comes with a welcome, and with it the way out.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Hello, Ping, WayOut, Welcome};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::platform::{Link, PATIENCE, SESSION, Volume, Wire, told};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";

/// Both containers of a pod, and the two addresses that they can reach.
struct Pod<'volume> {
    volume: &'volume Volume,
    platform: TcpListener,
    proxy: TcpListener,
    supervise: Child,
    init: Child,
}

impl<'volume> Pod<'volume> {
    async fn start(volume: &'volume Volume) -> Self {
        let platform = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        fs::write(volume.path("token"), "of the pod\n").unwrap();
        fs::write(volume.path("trust.crt"), "theirs\n").unwrap();
        let supervise = supervise(volume, &platform);
        let mut init = command(volume, "init");
        let init = init.kill_on_drop(true).spawn().unwrap();
        Self { volume, platform, proxy, supervise, init }
    }

    async fn accept(&self) -> (Link, Hello) {
        let accepted = async {
            let (stream, _) = self.platform.accept().await.unwrap();
            let stream: Box<dyn Wire> = Box::new(stream);
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        Link::greeted(timeout(PATIENCE, accepted).await.unwrap()).await
    }

    fn welcome(&self, sandbox: &str, ticket: u8) -> Body {
        let way_out = WayOut {
            address: self.proxy.local_addr().unwrap().to_string(),
            ticket: vec![ticket; 32],
            ca_certificate_pem: CERTIFICATE.to_owned(),
        };
        let (sandbox_id, way_out) = (sandbox.to_owned(), Some(way_out));
        Body::Welcome(Welcome { superseded: false, sandbox_id, way_out })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume.path(name)
    }

    /// A connection from the harness's room.
    async fn dial_out(&self) -> UnixStream {
        let dialled = async {
            loop {
                match UnixStream::connect(self.path("proxy.sock")).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, dialled).await.unwrap()
    }

    /// Reads what a connection shows at vault-proxy before anything of the room's comes.
    async fn at_the_proxy(&self) -> (TcpStream, Vec<u8>) {
        let (mut stream, _) = timeout(PATIENCE, self.proxy.accept()).await.unwrap().unwrap();
        let mut shown = vec![0; 36];
        timeout(PATIENCE, stream.read_exact(&mut shown)).await.unwrap().unwrap();
        (stream, shown)
    }

    fn trusted(&self) -> String {
        fs::read_to_string(self.path("trust.crt")).unwrap()
    }

    async fn is_linked(&self) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-agent"));
        command.args(["is-linked", "--log-level", "off"]);
        command.arg("--linked-file").arg(self.path("linked"));
        command.status().await.unwrap().success()
    }
}

fn command(volume: &Volume, role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-agent"));
    command.args([role, "--log-level", "warn"]);
    for (name, file) in [("--home", "home"), ("--workspace", "workspace"), ("--room", "room.sock")]
    {
        command.arg(name).arg(volume.path(file));
    }
    command
}

fn supervise(volume: &Volume, platform: &TcpListener) -> Child {
    let mut command = command(volume, "supervise");
    for (name, file) in [
        ("--pod-token", "token"),
        ("--journal", "journal"),
        ("--harness", "harness"),
        ("--egress-socket", "proxy.sock"),
        ("--trust", "trust.crt"),
        ("--linked-file", "linked"),
    ] {
        command.arg(name).arg(volume.path(file));
    }
    let address = platform.local_addr().unwrap();
    command.arg("--link").arg(format!("ws://{address}"));
    command.kill_on_drop(true).spawn().unwrap()
}

/// Waits until a file is there, or is not.
async fn until(path: &Path, is_there: bool) {
    let waited = async {
        while path.exists() != is_there {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap();
}

fn preamble(ticket: u8) -> Vec<u8> {
    [&b"LAP1"[..], &[ticket; 32]].concat()
}

#[tokio::test]
async fn a_pod_says_by_its_token_who_it_is_and_waits_until_it_is_somebody_s() {
    let volume = Volume::new();
    let pod = Pod::start(&volume).await;
    let (mut link, hello) = pod.accept().await;
    assert_eq!(
        (hello.pod_token.as_str(), hello.sandbox_id.as_str(), hello.token.as_str()),
        ("of the pod", "", "")
    );
    // Parked: it is alive and nobody's.
    link.send(Body::Ping(Ping { nonce: 7 })).await;
    assert!(matches!(link.next().await, Body::Pong(pong) if pong.nonce == 7));
    assert!(pod.is_linked().await);
    fs::write(pod.path("token"), "its successor").unwrap();
    drop(link);
    until(&pod.path("linked"), false).await;
    assert!(!pod.is_linked().await);

    let (mut link, hello) = pod.accept().await;
    assert_eq!(hello.pod_token, "its successor");
    link.send(Body::Ping(Ping { nonce: 8 })).await;
    assert!(matches!(link.next().await, Body::Pong(pong) if pong.nonce == 8));
    link.send(pod.welcome("first", 1)).await;
    link.hydrate(1, json!({})).await;
    // What the harness reads when it starts is there before it does.
    link.until_opened().await;
    assert_eq!(pod.trusted(), format!("theirs\n{CERTIFICATE}"));
    link.start_turn(1, 1, "say hello").await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(told(&entries).contains(&"message hello".to_owned()), "{:?}", told(&entries));
}

#[tokio::test]
async fn the_room_s_connections_show_the_ticket_and_then_go_both_ways() {
    let volume = Volume::new();
    let pod = Pod::start(&volume).await;
    // Before it is known where it leads.
    let mut first = pod.dial_out().await;
    first.write_all(b"question").await.unwrap();
    let mode = fs::metadata(pod.path("proxy.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 1)).await;
    let (mut served, shown) = pod.at_the_proxy().await;
    assert_eq!(shown, preamble(1));
    first.shutdown().await.unwrap();
    let mut question = Vec::new();
    served.read_to_end(&mut question).await.unwrap();
    served.write_all(b"answer").await.unwrap();
    drop(served);
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).await.unwrap();
    assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));

    // A link that comes back may bring another ticket; what the room trusts has no doubles.
    drop(link);
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 2)).await;
    link.send(Body::Ping(Ping { nonce: 1 })).await;
    assert!(matches!(link.next().await, Body::Pong(_)));
    let _second = pod.dial_out().await;
    assert_eq!(pod.at_the_proxy().await.1, preamble(2));
    assert_eq!(pod.trusted(), format!("theirs\n{CERTIFICATE}"));
}

#[tokio::test]
async fn a_connection_waits_while_the_proxy_is_being_restarted() {
    let volume = Volume::new();
    let mut pod = Pod::start(&volume).await;
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 1)).await;
    link.send(Body::Ping(Ping { nonce: 1 })).await;
    assert!(matches!(link.next().await, Body::Pong(_)));
    let address = pod.proxy.local_addr().unwrap();
    pod.proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it is away");
    let mut stream = pod.dial_out().await;
    stream.write_all(b"question").await.unwrap();
    let still_open = timeout(Duration::from_millis(100), stream.read_u8()).await;
    assert!(still_open.is_err(), "{still_open:?}");
    pod.proxy = TcpListener::bind(address).await.unwrap();
    assert_eq!(pod.at_the_proxy().await.1, preamble(1));
}

#[tokio::test]
async fn a_container_that_starts_again_in_its_pod_finds_everything_anew() {
    let volume = Volume::new();
    let mut pod = Pod::start(&volume).await;
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 1)).await;
    link.hydrate(1, json!({})).await;
    link.until_opened().await;
    pod.volume.took(&link);
    pod.supervise.kill().await.unwrap();
    // As the kubelet does: the other container ends with its room, and both begin again.
    timeout(PATIENCE, pod.init.wait()).await.unwrap().unwrap();
    assert!(pod.is_linked().await, "what was killed cannot clear up");
    pod.supervise = supervise(&volume, &pod.platform);
    until(&pod.path("linked"), false).await;
    pod.init = command(&volume, "init").kill_on_drop(true).spawn().unwrap();
    let (mut link, hello) = pod.accept().await;
    assert_eq!((hello.pod_token.as_str(), hello.session_id.as_str()), ("of the pod", ""));
    link.send(pod.welcome("second", 2)).await;
    link.hydrate(2, pod.volume.replaced(&json!({"has_unfinished_turn": false}))).await;
    link.until_ready().await;
    assert_eq!(pod.trusted(), format!("theirs\n{CERTIFICATE}"));
    let _stream = pod.dial_out().await;
    assert_eq!(pod.at_the_proxy().await.1, preamble(2));
}

#[tokio::test]
async fn a_pod_that_has_become_another_sandbox_ends_what_it_began_with() {
    let volume = Volume::new();
    let mut pod = Pod::start(&volume).await;
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 1)).await;
    drop(link);
    // Nothing was begun yet, so it may become another one.
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("second", 2)).await;
    link.hydrate(1, json!({})).await;
    link.until_opened().await;
    drop(link);
    let (mut link, hello) = pod.accept().await;
    assert_eq!(hello.session_id, SESSION.to_string());
    link.send(pod.welcome("second", 2)).await;
    link.send(Body::Ping(Ping { nonce: 1 })).await;
    while !matches!(link.next().await, Body::Pong(_)) {}
    drop(link);
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("third", 3)).await;
    let ended = timeout(PATIENCE, pod.supervise.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}

fn terminate(container: &Child) {
    let pid = i32::try_from(container.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}

/// Both containers of a pod are asked at once, and whichever hears it first: the harness must not look as if it had broken down.
#[tokio::test]
async fn the_room_of_a_pod_that_is_being_ended_waits_for_the_other_container() {
    let volume = Volume::new();
    let mut pod = Pod::start(&volume).await;
    let (mut link, _) = pod.accept().await;
    link.send(pod.welcome("first", 1)).await;
    link.hydrate(1, json!({})).await;
    link.until_opened().await;
    terminate(&pod.init);
    link.start_turn(1, 1, "say hello").await;
    let (entries, _) = link.until_turn_ends().await;
    assert!(told(&entries).contains(&"message hello".to_owned()), "{:?}", told(&entries));
    terminate(&pod.supervise);
    let ends = async { tokio::join!(pod.supervise.wait(), pod.init.wait()) };
    let (supervise, init) = timeout(PATIENCE, ends).await.unwrap();
    assert!(supervise.unwrap().success() && init.unwrap().success());
}

#[tokio::test]
async fn a_way_out_that_cannot_be_made_is_a_failure_and_not_a_pod_without_one() {
    let volume = Volume::new();
    let pod = Pod::start(&volume).await;
    let (mut link, _) = pod.accept().await;
    fs::remove_file(pod.path("trust.crt")).unwrap();
    fs::create_dir(pod.path("trust.crt")).unwrap();
    link.send(pod.welcome("first", 1)).await;
    let Body::Failed(failed) = link.next().await else { panic!("it goes on") };
    assert_eq!(failed.reason, "start_failed");
    let expected = format!(
        "there is no way out: a certificate cannot be added to {}",
        pod.path("trust.crt").display()
    );
    assert!(failed.message.starts_with(&expected), "{}", failed.message);
}

#[tokio::test]
async fn the_room_s_socket_is_for_the_group_that_both_containers_have_in_common() {
    let volume = Volume::new();
    let platform = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut token = fs::File::create(volume.path("token")).unwrap();
    token.write_all(b"of the pod").unwrap();
    let _supervise = supervise(&volume, &platform);
    let path = volume.path("room.sock");
    let shared = async {
        loop {
            let mode = fs::metadata(&path).map(|socket| socket.permissions().mode() & 0o777);
            if mode.is_ok_and(|mode| mode == 0o660) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, shared).await.unwrap();
}
