//! Another replica, another key, another day: what the sandbox trusts stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use http::Response;
use http_body_util::BodyExt;
use platform_core::clock::Clock;
use platform_core::id::SandboxId;
use platform_runtime::clock::SystemClock;
use platform_sealing::EncryptionKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;
use vault_proxy::proxy::authority::{Authority, certificate_pem};

use crate::client::{tls_to, trusting};
use crate::house::{House, Plan, keys};
use crate::upstream::{Root, Server, text};

/// A clock that a test moves on, in minutes from now.
#[derive(Default)]
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::minutes(self.0.load(Ordering::Relaxed))
    }
}

fn rotated() -> EncryptionKeys {
    let text = |text: &str| SecretString::from(text);
    EncryptionKeys::new(
        &text("another key of enough characters"),
        &[text("a key of enough characters")],
    )
    .unwrap()
}

fn authority(keys: &EncryptionKeys, sandbox: SandboxId, trusted: Option<&str>) -> Authority {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Authority::new(keys, sandbox, trusted, provider, Arc::new(SystemClock)).unwrap()
}

/// Whether a program that trusts the certificate accepts what the authority vouches for.
async fn is_trusted(certificate: &str, authority: &Authority, host: &str) -> bool {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = TlsAcceptor::from(authority.server_config(&host.parse().unwrap()).unwrap());
    let serving = tokio::spawn(server.accept(theirs));
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let is_trusted = tls_to(&trusting(certificate, &[]), host, ours).await.is_ok();
    let _handshake = serving.await.unwrap();
    is_trusted
}

#[tokio::test]
async fn two_replicas_have_one_authority_and_two_sandboxes_have_two() {
    let sandbox = SandboxId::from_uuid(Uuid::now_v7());
    let told = certificate_pem(&keys(), sandbox, SystemClock.now()).unwrap();
    let (first, second) = (authority(&keys(), sandbox, None), authority(&keys(), sandbox, None));
    for host in ["api.test", "203.0.113.9", "2001:db8::1"] {
        assert!(is_trusted(&told, &first, host).await, "{host}");
        assert!(is_trusted(first.certificate_pem(), &second, host).await, "{host}");
    }
    let other = authority(&keys(), SandboxId::from_uuid(Uuid::now_v7()), None);
    assert!(!is_trusted(&told, &other, "api.test").await);
}

#[tokio::test]
async fn a_sandbox_keeps_its_authority_when_the_platform_s_key_changes() {
    let sandbox = SandboxId::from_uuid(Uuid::now_v7());
    let trusted = authority(&keys(), sandbox, None).certificate_pem().to_owned();
    let after = authority(&rotated(), sandbox, Some(&trusted));
    assert!(is_trusted(&trusted, &after, "api.test").await);
    let without_note = authority(&rotated(), sandbox, None);
    assert!(!is_trusted(&trusted, &without_note, "api.test").await);
}

#[tokio::test]
async fn a_host_s_certificate_is_renewed_before_it_ends() {
    let (clock, provider) = (Arc::new(Moved::default()), Arc::new(aws_lc_rs::default_provider()));
    let sandbox = SandboxId::from_uuid(Uuid::now_v7());
    let authority = Authority::new(&keys(), sandbox, None, provider, clock.clone()).unwrap();
    let host = "api.test".parse().unwrap();
    let first = authority.server_config(&host).unwrap();
    clock.0.store(23 * 60, Ordering::Relaxed);
    assert!(Arc::ptr_eq(&first, &authority.server_config(&host).unwrap()));
    clock.0.store(23 * 60 + 30, Ordering::Relaxed);
    assert!(!Arc::ptr_eq(&first, &authority.server_config(&host).unwrap()));
}

#[tokio::test]
async fn a_retired_door_lets_tunnels_come_to_their_end_and_a_closed_one_cuts_them() {
    let root = Root::create();
    for is_closed in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Plan::limited(&[&format!("db.test:{port}")]).inside("db.test", port);
        let mut house = House::open(&root, plan);
        let mut stream = house.connect(&format!("db.test:{port}")).await;
        let (mut host, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0ping").await.unwrap();
        let mut heard = [0; 5];
        host.read_exact(&mut heard).await.unwrap();
        if is_closed {
            house.end.closed.cancel();
            assert_eq!(stream.read(&mut heard).await.unwrap_or(0), 0);
        } else {
            house.end.retired.cancel();
            while UnixStream::connect(house.socket()).await.is_ok() {
                tokio::task::yield_now().await;
            }
            host.write_all(b"pong!").await.unwrap();
            drop(host);
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "pong!");
            drop(stream);
        }
        assert_eq!(house.decisions.recv().await.unwrap().bytes_out, 5);
    }
}

#[tokio::test]
async fn a_retired_door_answers_what_is_under_way_inside_tls() {
    let root = Root::create();
    let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let tls = root.server(&["api.test"], &[]);
    let server = Server::start(Some(tls), move |request| {
        let told = told.clone();
        Box::pin(async move {
            told.send(()).unwrap();
            Response::new(text(request.into_body().collect().await.unwrap().to_bytes()))
        })
    })
    .await;
    let host = format!("api.test:{}", server.port);
    let plan = Plan::unrestricted().inside("api.test", server.port).inspecting();
    let house = House::open(&root, plan);
    let stream = house.connect(&host).await;
    let mut stream = tls_to(&house.tls(&["http/1.1"]), "api.test", stream).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbo");
    stream.write_all(head.as_bytes()).await.unwrap();
    begun.recv().await.unwrap();
    house.end.retired.cancel();
    stream.write_all(b"dy").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with("body"), "{answer}");
}
