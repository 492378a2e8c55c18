//! Ways out over TCP, each found by a ticket.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use platform_core::clock::Clock;
use platform_core::id::SandboxId;
use platform_core::sandbox::SandboxState;
use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{CloseEgress, OpenEgress};
use platform_runtime::clock::SystemClock;
use platform_runtime::lifecycle::Shutdown;
use platform_storage::sandbox as rows;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use vault_proxy::commands::Desk;
use vault_proxy::gate::Gate;

use crate::house::{House, Plan, ask, desk_of};

const REQUEST: &[u8] = b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n";
/// Long enough for a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A replica of the proxy with a gate.
struct Replica {
    desk: Desk,
    gate: Gate,
    shutdown: Shutdown,
    keeping: JoinHandle<()>,
}

impl Replica {
    fn start(house: &House) -> Self {
        Self::with(house, |gate| gate)
    }

    fn with(house: &House, change: impl FnOnce(Gate) -> Gate) -> Self {
        let shutdown = Shutdown::new();
        let desk = desk_of(&house.database, &shutdown);
        let address = "127.0.0.1:0".parse().unwrap();
        let gate = Gate::listen(address, desk.doors.clone(), house.database.clone()).unwrap();
        let gate = change(gate);
        let keeping = tokio::spawn(gate.clone().keep(shutdown.token()));
        Self { desk, gate, shutdown, keeping }
    }

    async fn dial(&self, first: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.gate.address().unwrap()).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    }

    async fn show(&self, ticket: [u8; 32]) -> TcpStream {
        self.dial(&[&b"LAP1"[..], &ticket].concat()).await
    }
}

async fn house() -> House {
    House::build(async |_| Plan::default()).await
}

async fn give_ticket(house: &House, sandbox: SandboxId, ticket: [u8; 32]) {
    let mut connection = house.database.connection().await.unwrap();
    let hash = digest(&SHA256, &ticket);
    rows::set_egress_ticket_hash(&mut connection, sandbox, hash.as_ref()).await.unwrap();
}

/// Says what the door answers to a request that no sandbox is allowed.
async fn refusal(stream: &mut TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body.pointer("/error/code").unwrap().as_str().unwrap().to_owned()
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

/// Whether the connection is over without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut said = [0; 1];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut said)).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_ticket_leads_to_the_way_out_of_its_own_sandbox() {
    let house = house().await;
    let stranger = house.add_unclaimed().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    give_ticket(&house, stranger, [2; 32]).await;
    let replica = Replica::start(&house);
    // Two of each, so that a door that is open already is found again.
    for _ in 0..2 {
        let mut own = replica.show([1; 32]).await;
        assert_eq!(refusal(&mut own).await, "metadata_address");
        let mut other = replica.show([2; 32]).await;
        assert_eq!(refusal(&mut other).await, "no_session");
    }
    assert_eq!(replica.desk.doors.behind_the_gate().len(), 2);
    // A new ticket takes the place of the old one.
    give_ticket(&house, house.sandbox, [3; 32]).await;
    assert!(is_closed(&mut replica.show([1; 32]).await).await);
    assert_eq!(refusal(&mut replica.show([3; 32]).await).await, "metadata_address");
}

#[tokio::test]
async fn what_shows_no_valid_ticket_is_closed_without_a_word() {
    let house = house().await;
    let over = house.add_unclaimed().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    give_ticket(&house, over, [2; 32]).await;
    let mut connection = house.database.connection().await.unwrap();
    let from = [SandboxState::Warm];
    let now = SystemClock.now();
    let to = SandboxState::Stopping;
    rows::transition(&mut connection, over, &from, to, now).await.unwrap().unwrap();
    drop(connection);
    let replica = Replica::start(&house);
    let greeted = |ticket: &[u8]| [&b"LAP1"[..], ticket].concat();
    for (first, why) in [
        (greeted(&[9; 32]), "nobody's"),
        (greeted(&[2; 32]), "of a sandbox that is being ended"),
        (greeted(&[0; 32]), "nothing"),
        (vec![0xff; 36], "garbage"),
        ([&b"LAP2"[..], &[1; 32]].concat(), "another greeting"),
        (REQUEST.to_vec(), "a request"),
    ] {
        let mut stream = replica.dial(&first).await;
        assert!(is_closed(&mut stream).await, "{why}");
    }
    let mut half = replica.dial(&greeted(&[1; 10])).await;
    half.shutdown().await.unwrap();
    assert!(is_closed(&mut half).await);
    assert_eq!(replica.desk.doors.behind_the_gate(), []);
}

#[tokio::test]
async fn who_is_silent_holds_no_place_for_long() {
    let house = house().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    let replica = Replica::with(&house, |gate| gate.with_patience(Duration::from_millis(50)));
    for first in [&b""[..], b"LA", b"LAP1", b"LAP1and a part"] {
        assert!(is_closed(&mut replica.dial(first).await).await);
    }
    assert_eq!(refusal(&mut replica.show([1; 32]).await).await, "metadata_address");
}

#[tokio::test]
async fn whoever_fills_the_gate_makes_room_by_leaving_it() {
    let house = house().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    let replica = Replica::start(&house);
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(replica.dial(b"LAP").await);
    }
    assert!(is_closed(&mut replica.show([1; 32]).await).await, "one more than an address may have");
    silent.clear();
    let let_in = async {
        loop {
            let mut stream = replica.show([1; 32]).await;
            if stream.write_all(REQUEST).await.is_ok() && stream.read_u8().await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, let_in).await.unwrap();
}

#[tokio::test]
async fn a_closed_way_out_cuts_what_came_through_the_gate() {
    let house = house().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    let replica = Replica::start(&house);
    let mut stream = replica.show([1; 32]).await;
    assert_eq!(refusal(&mut stream).await, "metadata_address");
    let id = house.sandbox.uuid().to_string();
    assert_eq!(ask(&replica.desk, &id, Action::Close(CloseEgress {})).await.error, "");
    assert!(is_closed(&mut stream).await);
    assert_eq!(replica.desk.doors.behind_the_gate(), []);
}

#[tokio::test]
async fn a_sandbox_that_is_over_is_cut_off_in_replicas_that_were_not_told() {
    let house = house().await;
    let other = house.add_unclaimed().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    give_ticket(&house, other, [2; 32]).await;
    let replica = Replica::start(&house);
    let mut stays = replica.show([1; 32]).await;
    let mut ends = replica.show([2; 32]).await;
    assert_eq!(refusal(&mut stays).await, "metadata_address");
    assert_eq!(refusal(&mut ends).await, "no_session");
    let mut connection = house.database.connection().await.unwrap();
    let now = SystemClock.now();
    assert!(rows::mark_gone(&mut connection, other, "stopped", now).await.unwrap());
    drop(connection);
    replica.gate.close_what_is_over().await.unwrap();
    assert!(is_closed(&mut ends).await);
    assert!(is_closed(&mut replica.show([2; 32]).await).await);
    assert_eq!(refusal(&mut stays).await, "metadata_address");
}

#[tokio::test]
async fn a_gate_that_ends_takes_nothing_new() {
    let house = house().await;
    give_ticket(&house, house.sandbox, [1; 32]).await;
    let replica = Replica::start(&house);
    let address = replica.gate.address().unwrap();
    let mut known = replica.show([1; 32]).await;
    assert_eq!(refusal(&mut known).await, "metadata_address");
    let mut undecided = replica.dial(b"LAP1").await;
    replica.shutdown.request();
    let Replica { keeping, gate, desk, .. } = replica;
    keeping.await.unwrap();
    assert!(is_closed(&mut known).await, "nothing was under way on it");
    assert!(is_closed(&mut undecided).await);
    drop((gate, desk));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_to_trust_is_told_without_opening_anything() {
    let house = house().await;
    let id = house.sandbox.uuid().to_string();
    let desk = desk_of(&house.database, &Shutdown::new());
    let open = Action::Open(OpenEgress { socket_path: String::new() });
    let reply = ask(&desk, &id, open).await;
    assert_eq!(reply.error, "");
    let Some(Outcome::Opened(opened)) = reply.outcome else { panic!("nothing was told") };
    assert!(opened.ca_certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(desk.doors.behind_the_gate(), []);
}
