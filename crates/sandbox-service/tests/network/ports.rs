//! Ports: which lead to the door, and that the room's own stay its own.

use crate::room::Sandbox;
use crate::supervised::Supervised;

#[tokio::test]
async fn an_address_of_any_kind_arrives_at_the_door_as_itself() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let addresses = [
        ("1.2.3.4", "1.2.3.4"),
        ("169.254.169.254", "169.254.169.254"),
        ("10.0.0.1", "10.0.0.1"),
        ("2130706434", "127.0.0.2"),
        ("0x0a.1", "10.0.0.1"),
        ("2001:db8::5", "[2001:db8::5]"),
        ("64:ff9b::a00:1", "[64:ff9b::a00:1]"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ];
    for (address, meant) in addresses {
        let script = format!(
            "def speak():\n    c = socket.create_connection(('{address}', 443), timeout=20)\n    \
             c.send(b'x')\n    return c.recv(8)\nattempt(speak)"
        );
        let said = sandbox.python(&script).await;
        if meant == "127.0.0.2" {
            // The room's own, where nothing listens.
            assert_eq!((said.as_str(), sandbox.asked().len()), ("ConnectionRefusedError", 0));
            continue;
        }
        assert_eq!(said, "b'HTTP/1.1'", "{address}");
        let expected = format!("CONNECT {meant}:443 HTTP/1.1 X-Lap-Path: transparent");
        assert_eq!(sandbox.asked(), [expected], "{address}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn further_ports_lead_to_the_door_once_the_session_says_so() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let connect = |port: u16| {
        format!(
            "attempt(lambda: socket.create_connection(('git.example', {port}), timeout=20) and 'open')"
        )
    };
    for port in [22, 853, 8443] {
        assert_eq!(sandbox.python(&connect(port)).await, "ConnectionRefusedError", "{port}");
    }
    // More than there are sockets for, one twice, and one that is none.
    let ports: Vec<u32> = [22, 22, 80, 53, 70_000, 0].into_iter().chain(10_000..10_040).collect();
    sandbox.listen_on(&ports).await;
    let talk = "c = socket.create_connection(('git.example', 22)); c.send(b'x'); print(c.recv(8))";
    assert_eq!(sandbox.python(talk).await, "b'HTTP/1.1'");
    assert_eq!(sandbox.asked(), ["CONNECT git.example:22 HTTP/1.1 X-Lap-Path: transparent"]);
    assert_eq!(sandbox.python(&connect(853)).await, "ConnectionRefusedError");
    assert_eq!(sandbox.python(&connect(10_039)).await, "ConnectionRefusedError");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_ports_that_a_session_brings_along_are_open_before_its_harness_starts() {
    let harness = "import socket, time\nfor port in (853, 22):\n    try:\n        \
        socket.create_connection(('git.example', port), timeout=20).send(b'x')\n    \
        except OSError: pass\ntime.sleep(600)\n";
    let Some(mut sandbox) = Supervised::start(harness).await else { return };
    sandbox.hydrate(&[22]).await;
    // The first one led nowhere, as without the session's word.
    assert_eq!(sandbox.asks().await, "CONNECT git.example:22 HTTP/1.1 X-Lap-Path: transparent");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_agent_s_own_servers_have_every_port_of_the_room() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let script = "import threading\n\
        def serve(host, port):\n    s = socket.create_server((host, port))\n    \
        threading.Thread(target=lambda: s.accept()[0].sendall(b'mine'), daemon=True).start()\n\
        for host, port in [('0.0.0.0', 80), ('127.0.0.1', 443), ('127.0.0.1', 53), ('0.0.0.0', 22)]:\n    \
        serve(host, port)\n    print(socket.create_connection(('localhost', port)).recv(8))\n\
        for host in ['127.0.0.1', '127.1.2.3', '::1', '0.0.0.0']:\n    \
        attempt(lambda: socket.create_connection((host, 8080)))\n";
    let said = sandbox.python(script).await;
    assert_eq!(said, ["b'mine'\n".repeat(4), "ConnectionRefusedError\n".repeat(4)].concat().trim());
    assert_eq!(sandbox.asked(), [""; 0]);
    sandbox.stop().await;
}
