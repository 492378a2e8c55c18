//! Names: each gets an address in the room itself, and comes out at the door as a name.

use crate::room::Sandbox;

const TRANSPARENT: &str = "HTTP/1.1 X-Lap-Path: transparent";

#[tokio::test]
async fn a_program_that_knows_no_proxy_arrives_at_the_door_under_the_name_it_meant() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let no_variables = "unset ${!http*} ${!HTTP*} NODE_USE_ENV_PROXY";
    assert_eq!(
        sandbox.run(&format!("{no_variables}; curl -sS http://api.example/")).await,
        "hello"
    );
    let node = "require('http').get('http://Node.Example', a => a.pipe(process.stdout))";
    assert_eq!(sandbox.run(&format!("{no_variables}; node -e \"{node}\"")).await, "hello");
    let python =
        "c = socket.create_connection(('python.example', 443)); c.send(b'x'); print(c.recv(8))";
    assert_eq!(sandbox.python(python).await, "b'HTTP/1.1'");
    let expected = ["api.example:80", "node.example:80", "python.example:443"];
    assert_eq!(sandbox.asked(), expected.map(|host| format!("CONNECT {host} {TRANSPARENT}")));
    sandbox.stop().await;
}

#[tokio::test]
async fn names_are_answered_in_the_room_whoever_is_asked_and_none_leaves_it() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let first = sandbox.run("getent ahosts secret.leak.example | head -n 1 | cut -d' ' -f1").await;
    assert!(first.starts_with("198.18."), "{first}");
    let ask = "const { Resolver } = require('dns').promises; (async () => { for (const server of process.argv.slice(1)) { \
        const resolver = new Resolver(); resolver.setServers([server]); \
        console.log(await resolver.resolve4('secret.leak.example')); } })()";
    let said = sandbox
        .run(&format!("node -e \"{ask}\" 8.8.8.8 192.0.2.1 169.254.169.254 [2001:4860:4860::8888]"))
        .await;
    assert_eq!(said, vec![format!("[ '{first}' ]"); 4].join("\n"));
    let other =
        "require('dns').promises.resolveTxt('secret.example').catch(e => console.log(e.code))";
    assert_eq!(sandbox.run(&format!("node -e \"{other}\"")).await, "ENODATA");
    let back = format!("require('dns').promises.reverse('{first}').then(n => console.log(n[0]))");
    assert_eq!(sandbox.run(&format!("node -e \"{back}\"")).await, "secret.leak.example");
    assert_eq!(sandbox.run("getent hosts localhost | cut -d' ' -f1").await, "127.0.0.1");
    assert_eq!(sandbox.asked(), [""; 0]);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_address_that_no_name_was_given_leads_nowhere() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let said = sandbox
        .python("c = socket.create_connection(('198.19.7.7', 443)); c.send(b'x'); attempt(lambda: c.recv(8))")
        .await;
    assert!(["b''", "ConnectionResetError"].contains(&said.as_str()), "{said}");
    assert_eq!(sandbox.asked(), [""; 0]);
    sandbox.stop().await;
}
