//! Attacks of one sandbox on another, and on the services of the machine.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use platform_core::environment::Resources;
use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::local::layout::Room;

use crate::attack::{
    Machine, Missing, NETWORK_NAMESPACE, OWN_FILES, PID_NAMESPACE, TOKEN, give_to_user, run_without,
};

#[tokio::test]
async fn ports_and_abstract_sockets_of_the_machine_are_out_of_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("escape-{}", uuid::Uuid::now_v7().simple());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // Whatever listens on the machine is reached in the same way: PostgreSQL, RabbitMQ, the gateway.
    let script = format!(
        "attempt('port', lambda: socket.create_connection(('127.0.0.1', {port}), timeout=2))\n\
         attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))"
    );
    let taken = run_without(&[NETWORK_NAMESPACE], &script).await;
    assert!(taken.has("port succeeded") && taken.has("abstract succeeded"), "{taken:?}");
    let held = run_without(&[], &script).await;
    assert!(held.has("port ECONNREFUSED") && held.has("abstract ECONNREFUSED"), "{held:?}");
}

/// Listens, keeps a secret, and waits to be attacked.
const TARGET: &str = "listener = socket.socket(socket.AF_UNIX); listener.bind('\\0' + name); listener.listen()\n\
    server = socket.create_server(('127.0.0.1', 0))\nopen('/workspace/secret', 'w').write('secret')\n\
    open('/workspace/ready', 'w').write(str(server.getsockname()[1]))\ntime.sleep(600)";

#[tokio::test]
async fn two_sandboxes_do_not_reach_one_another() {
    for missing in [&[NETWORK_NAMESPACE, OWN_FILES, PID_NAMESPACE][..], &[]] {
        let is_open = !missing.is_empty();
        let machine = Machine::without(missing);
        let name = format!("escape-{}", uuid::Uuid::now_v7().simple());
        let target = machine.prepare(&format!("name = '{name}'\n{TARGET}"), Resources::default());
        // vault-proxy's part: the door by which the target goes out.
        let folder = machine.backend.layout().sandbox(target.sandbox);
        let door = folder.egress_socket();
        let _door = UnixListener::bind(&door).unwrap();
        give_to_user(&door);
        // sandbox-service's own: where every supervise room dials.
        let link = machine.backend.layout().links().join("replica.sock");
        let _link = UnixListener::bind(&link).unwrap();
        give_to_user(&link);
        machine.backend.start(&target).await.unwrap();
        let ready = machine.workspace(&target).join("ready");
        let port = loop {
            match std::fs::read_to_string(&ready) {
                Ok(port) if !port.is_empty() => break port,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        };
        let pid = std::fs::read_to_string(folder.pid_file(Room::Harness)).unwrap();
        let script = format!(
            "attempt('secret', lambda: open('/host{}').read())\n\
             attempt('identity', lambda: open('/host{}').read().index('{TOKEN}'))\n\
             attempt('door', lambda: socket.socket(socket.AF_UNIX).connect('/host{}'))\n\
             attempt('link', lambda: socket.socket(socket.AF_UNIX).connect('/host{}'))\n\
             attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))\n\
             attempt('port', lambda: socket.create_connection(('127.0.0.1', {port}), timeout=2))\n\
             attempt('kill', lambda: os.kill({}, signal.SIGKILL))",
            machine.workspace(&target).join("secret").display(),
            folder.identity().display(),
            door.display(),
            link.display(),
            pid.trim(),
        );
        let outcome = machine.run(&script).await;
        for what in ["secret", "identity", "door", "link", "abstract", "port", "kill"] {
            assert_eq!(outcome.has(&format!("{what} succeeded")), is_open, "{what}: {outcome:?}");
        }
        assert_eq!(machine.backend.is_running(target.sandbox), !is_open, "the target was ended");
        machine.backend.stop(target.sandbox).await.unwrap();
    }
}

#[tokio::test]
async fn shared_memory_is_each_sandbox_s_own() {
    // System V shared memory goes by numbers that are the same for all of one user.
    let make = "at = checked(libc.shmget(0x5ec4e7, 4096, 0o1600))\nopen('/workspace/ready', 'w')\ntime.sleep(600)";
    let look = "attempt('memory', lambda: checked(libc.shmget(0x5ec4e7, 0, 0)))";
    let ipc = Missing::in_bubblewrap("drop('--unshare-ipc')");
    for (missing, said) in [(&[ipc][..], "memory succeeded"), (&[], "memory ENOENT")] {
        let machine = Machine::without(missing);
        let maker = machine.start(make).await;
        while !machine.workspace(&maker).join("ready").exists() {
            tokio::task::yield_now().await;
        }
        let outcome = machine.run(look).await;
        assert!(outcome.has(said), "{outcome:?}");
        machine.backend.stop(maker.sandbox).await.unwrap();
        let _removed = machine.run("libc.shmctl(libc.shmget(0x5ec4e7, 0, 0), 0, None)").await;
    }
}
