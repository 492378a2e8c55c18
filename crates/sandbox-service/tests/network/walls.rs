//! What leads nowhere at all, and that nothing in the room can change its network.

use std::net::{TcpListener, UdpSocket};

use crate::room::{Sandbox, Walls};

#[tokio::test]
async fn datagrams_and_pings_go_nowhere() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let script = "def send(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect((address, port))
    s.send(b'secret')
    return s.recv(8)
for address, port in [('8.8.8.8', 443), ('8.8.8.8', 123), ('192.0.2.1', 9)]:
    attempt(lambda: send(address, port))
for kind in [socket.SOCK_RAW, socket.SOCK_DGRAM]:
    attempt(lambda: socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP))
attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))";
    let said = sandbox.python(script).await;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["ConnectionRefusedError"; 3], "{said}");
    assert_eq!(lines[3..5], ["PermissionError"; 2], "{said}");
    assert!(lines[5..].iter().all(|line| ["PermissionError", "OSError"].contains(line)), "{said}");
    assert_eq!(sandbox.asked(), [""; 0]);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_machine_s_own_ports_are_reached_only_where_a_room_shares_its_network() {
    for walls in [Walls::Gone, Walls::Standing] {
        let Some(mut sandbox) = Sandbox::start_behind(walls).await else { return };
        let connections = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        connections.set_nonblocking(true).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let (tcp, udp) =
            (connections.local_addr().unwrap().port(), datagrams.local_addr().unwrap().port());
        let script = format!(
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             attempt(lambda: s.sendto(b'secret', ('127.0.0.1', {udp})))\n\
             attempt(lambda: socket.create_connection(('127.0.0.1', {tcp}), timeout=20) and 'open')"
        );
        let said = sandbox.python(&script).await;
        let arrived = (datagrams.recv(&mut [0; 8]).is_ok(), connections.accept().is_ok());
        match walls {
            Walls::Gone => {
                assert_eq!((said.as_str(), arrived), ("6\nopen", (true, true)));
            }
            Walls::Standing => {
                assert_eq!(said, "6\nConnectionRefusedError");
                assert_eq!(arrived, (false, false));
            }
        }
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn other_addresses_of_the_machine_are_the_room_s_own_outside() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let machine = TcpListener::bind("0.0.0.0:0").unwrap();
    machine.set_nonblocking(true).unwrap();
    let port = machine.local_addr().unwrap().port();
    let script = format!(
        "for address in ['192.0.2.1', '192.0.2.2', '10.0.0.1', '172.17.0.1', 'host.example']:\n    \
         attempt(lambda: socket.create_connection((address, {port}), timeout=20))"
    );
    let said = sandbox.python(&script).await;
    assert_eq!(said.lines().collect::<Vec<_>>(), ["ConnectionRefusedError"; 5]);
    assert!(machine.accept().is_err(), "nothing arrived");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_room_has_its_own_loopback_and_one_cable_and_cannot_change_them() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let devices = sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort").await;
    assert_eq!(devices, "eth0\nlo");
    for change in [
        "ip link add other type dummy",
        "ip link set eth0 down",
        "ip addr add 10.0.0.9/24 dev eth0",
        "ip route add 10.0.0.0/8 dev lo",
        "ip link set eth0 netns 1",
        "unshare -n true",
        "nsenter -t 1 -n true",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ] {
        let said = sandbox.run(&format!("{change} && echo done")).await;
        let is_refused = ["not permitted", "ermission denied", "Read-only"];
        assert!(is_refused.iter().any(|words| said.contains(words)), "{change}: {said}");
    }
    // Of the outside's sockets none is inherited.
    let sockets = sandbox.run("ls -l /proc/self/fd | grep -c socket").await;
    assert_eq!(sockets, "0");
    sandbox.stop().await;
}

#[tokio::test]
async fn two_rooms_with_the_same_addresses_do_not_meet() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let mut other = Sandbox::start().await.unwrap();
    let listening = "mkfifo up; python3 -c \"import socket, time; s = socket.create_server(('', 8080)); \
        open('up', 'w').write('up'); time.sleep(600)\" & cat up";
    assert_eq!(other.run(listening).await, "up");
    let said = sandbox
        .python(
            "for address in ['192.0.2.1', '192.0.2.2']:\n    \
             attempt(lambda: socket.create_connection((address, 8080)))",
        )
        .await;
    assert_eq!(said, "ConnectionRefusedError\nConnectionRefusedError");
    // A name that one room asked for is nothing in the other.
    let address = other.run("getent ahosts a.example | head -n 1 | cut -d' ' -f1").await;
    let said = sandbox
        .python(&format!(
            "c = socket.create_connection(('{address}', 80)); c.send(b'x'); attempt(lambda: c.recv(8))"
        ))
        .await;
    assert!(["b''", "ConnectionResetError"].contains(&said.as_str()), "{said}");
    assert_eq!((sandbox.asked().len(), other.asked().len()), (0, 0));
    sandbox.stop().await;
    other.stop().await;
}
