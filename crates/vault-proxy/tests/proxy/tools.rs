//! Programs as people use them, against the derived authority: OpenSSL, GnuTLS, Python and Node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;

use http::Response;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::Command;

use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

/// What a server for git answers to somebody who asks for the references of an empty repository.
const NO_REFERENCES: &str = "001e# service=git-upload-pack\n00000000";

struct Scene {
    house: House,
    proxy: SocketAddr,
    host: String,
}

/// A host whose TLS is ended by the proxy, and a port for programs that cannot connect to a unix socket.
async fn scene(root: &Root) -> Scene {
    let tls = root.server(&["api.test"], &["h2", "http/1.1"]);
    let server = Server::start(Some(tls), |request| {
        Box::pin(async move {
            if request.uri().path() != "/repo.git/info/refs" {
                return Response::new(text(format!("hello {}", request.uri().path())));
            }
            let mut answer = Response::new(text(NO_REFERENCES));
            let kind = "application/x-git-upload-pack-advertisement".parse().unwrap();
            answer.headers_mut().insert("content-type", kind);
            answer
        })
    })
    .await;
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let house = House::open(root, plan);
    let proxy = bridge(house.socket()).await;
    Scene { host: format!("api.test:{}", server.port), house, proxy }
}

async fn bridge(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut door = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut door).await });
        }
    });
    address
}

/// Runs a program as in the sandbox: with the usual variables and nothing else. `scripts/install-packages` sees to it that there is one.
async fn run(scene: &Scene, program: &str, arguments: &[&str]) -> Output {
    let authority = scene.house.certificate_file();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", authority.parent().unwrap());
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY"] {
        command.env(name, format!("http://{}", scene.proxy));
    }
    for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"] {
        command.env(name, &authority);
    }
    command.args(arguments).output().await.unwrap()
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn curl_takes_the_sandbox_s_authority_with_both_versions_of_http() {
    let root = Root::create();
    let scene = scene(&root).await;
    let url = format!("https://{}/a", scene.host);
    for version in ["--http1.1", "--http2"] {
        let output = run(&scene, "curl", &["-sS", version, &url]).await;
        assert_eq!(said(&output), "hello /a", "{version}");
    }
    let output = run(&scene, "curl", &["-sS", "https://127.0.0.1:8443/"]).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("403"), "{error}");
}

#[tokio::test]
async fn git_takes_it_with_gnutls() {
    let root = Root::create();
    let scene = scene(&root).await;
    let url = format!("https://{}/repo.git", scene.host);
    let output = run(&scene, "git", &["ls-remote", &url]).await;
    assert_eq!(said(&output), "");
}

#[tokio::test]
async fn python_takes_it_with_every_check_there_is() {
    let root = Root::create();
    let scene = scene(&root).await;
    let script = format!(
        "import ssl, urllib.request as r\n\
         context = ssl.create_default_context()\n\
         context.verify_flags |= ssl.VERIFY_X509_STRICT\n\
         print(r.urlopen('https://{}/p', context=context).read().decode(), end='')",
        scene.host
    );
    let output = run(&scene, "python3", &["-c", &script]).await;
    assert_eq!(said(&output), "hello /p");
}

#[tokio::test]
async fn node_takes_it() {
    let root = Root::create();
    let scene = scene(&root).await;
    let script = format!(
        "const [host, port] = '{host}'.split(':');\n\
         require('http').request({{ host: '127.0.0.1', port: {port}, method: 'CONNECT', path: '{host}' }})\n\
         .on('connect', (_, socket) => require('https').get(\n\
         {{ host, path: '/n', headers: {{ host: '{host}' }}, socket, servername: host, agent: false }},\n\
         answer => {{ answer.on('data', data => process.stdout.write(data)); answer.on('end', () => process.exit(0)); }})).end();",
        host = scene.host,
        port = scene.proxy.port(),
    );
    let output = run(&scene, "node", &["-e", &script]).await;
    assert_eq!(said(&output), "hello /n");
}
