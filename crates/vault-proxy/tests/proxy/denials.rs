//! What may not leave, in every spelling.

use http::StatusCode;
use platform_core::egress::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answered, get, http1_over, tls_to};
use crate::house::{House, Plan};
use crate::upstream::{Root, Server, text};

const METADATA: &str = "metadata_address";
const INTERNAL: &str = "address_not_public";
const INVALID: &str = "invalid_host";

/// Hosts as a program may name them, and why each is refused.
const HOSTS: [(&str, &str); 30] = [
    ("169.254.169.254", METADATA),
    ("[fd00:ec2::254]", METADATA),
    ("[fd20:ce::254]", METADATA),
    ("100.100.100.200", METADATA),
    ("168.63.129.16", METADATA),
    ("metadata.google.internal", METADATA),
    ("Metadata.Google.Internal.", METADATA),
    ("[::ffff:169.254.169.254]", METADATA),
    ("[64:ff9b::a9fe:a9fe]", METADATA),
    ("[2002:a9fe:a9fe::]", METADATA),
    ("127.0.0.1", INTERNAL),
    ("127.8.8.8", INTERNAL),
    ("localhost", INTERNAL),
    ("[::1]", INTERNAL),
    ("[::]", INTERNAL),
    ("0.0.0.0", INTERNAL),
    ("[::ffff:127.0.0.1]", INTERNAL),
    ("[::ffff:7f00:1]", INTERNAL),
    ("10.0.0.1", INTERNAL),
    ("172.16.0.1", INTERNAL),
    ("192.168.1.1", INTERNAL),
    ("100.64.0.1", INTERNAL),
    ("[fd12:3456::1]", INTERNAL),
    ("[fe80::1]", INTERNAL),
    ("224.0.0.1", INTERNAL),
    ("2130706433", INVALID),
    ("0x7f000001", INVALID),
    ("0177.0.0.1", INVALID),
    ("127.1", INVALID),
    ("0xa9.0xfe.0xa9.0xfe", INVALID),
];

fn hostile_names() -> Plan {
    Plan::unrestricted()
        .name("metadata.google.internal", &[&["169.254.169.254"]])
        .name("localhost", &[&["127.0.0.1", "::1"]])
        .name("mixed.test", &[&["10.0.0.1", "169.254.169.254"]])
}

#[tokio::test]
async fn no_spelling_leads_to_an_address_that_is_not_public() {
    let root = Root::create();
    let mut house = House::open(&root, hostile_names());
    for (host, code) in HOSTS {
        let status = if code == INVALID { 400 } else { 403 };
        let refused = house.refused_connect(&format!("{host}:443")).await;
        assert_eq!(refused, (status, code.to_owned()), "CONNECT {host}");
        let answered = house.send(get(&format!("http://{host}/latest/meta-data"))).await;
        assert_eq!(
            (answered.status.as_u16(), answered.code().as_str()),
            (status, code),
            "GET {host}"
        );
        if code != INVALID {
            for path in [None, Some("/latest/meta-data")] {
                let decision = house.decisions.recv().await.unwrap();
                assert_eq!(decision.verdict, Verdict::Denied, "{host}");
                assert_eq!(decision.code.as_deref(), Some(code), "{host}");
                assert_eq!(decision.path.as_deref(), path, "{host}");
            }
        }
    }
    let refused = house.refused_connect("mixed.test:443").await;
    assert_eq!(refused, (403, METADATA.to_owned()));
}

#[tokio::test]
async fn a_team_may_name_an_internal_host_but_no_metadata_service() {
    let root = Root::create();
    let (server, _received) = Server::telling(None).await;
    let plan = hostile_names()
        .inside("git.corp", server.port)
        .inside("metadata.google.internal", 80)
        .name("metadata.google.internal", &[&["169.254.169.254"]]);
    let house = House::open(&root, plan);
    let answered = house.send(get(&format!("http://git.corp:{}/", server.port))).await;
    assert_eq!(answered.status, StatusCode::OK);
    // The same address by another name, or the same name at another port, is not what the team named.
    let answered = house.send(get(&format!("http://localhost:{}/", server.port))).await;
    assert_eq!(answered.code(), INTERNAL);
    assert!(answered.error()["remedy"].as_str().unwrap().contains("internal_hosts"));
    let answered = house.send(get("http://git.corp:1/")).await;
    assert_eq!(answered.code(), INTERNAL);
    let answered = house.send(get("http://metadata.google.internal/")).await;
    assert_eq!(answered.code(), METADATA);
}

#[tokio::test]
async fn of_a_host_s_addresses_only_those_that_may_be_reached_are_tried() {
    let root = Root::create();
    let (server, _received) = Server::telling(None).await;
    let plan = Plan::unrestricted().inside("mixed.test", server.port);
    let plan = plan.name("mixed.test", &[&["169.254.169.254", "127.0.0.1"]]);
    let house = House::open(&root, plan);
    let answered = house.send(get(&format!("http://mixed.test:{}/", server.port))).await;
    assert_eq!(answered.body, "hello");
}

#[tokio::test]
async fn a_host_that_no_rule_names_is_refused_with_the_rule_that_would() {
    let root = Root::create();
    let plan = Plan::limited(&["api.test", "*.cdn.test", "db.test:5432"]);
    let mut house = House::open(&root, plan);
    for (target, remedy) in [
        ("other.test:443", "\"other.test\""),
        ("api.test:8443", "\"api.test:8443\""),
        ("cdn.test:443", "\"cdn.test\""),
        ("db.test:443", "\"db.test\""),
        ("203.0.113.7:443", "\"203.0.113.7\""),
        ("pypi.org:443", "allow_package_managers"),
    ] {
        let refused = house.refused_connect(target).await;
        assert_eq!(refused, (403, "host_not_allowed".to_owned()), "{target}");
        let decision = house.decisions.recv().await.unwrap();
        assert!(decision.rule.contains(remedy), "{target}: {}", decision.rule);
        let opened = house.connect_with(target, "").await;
        assert!(opened.head.contains("x-lap-refusal: host_not_allowed: "), "{}", opened.head);
        house.decisions.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_program_that_knows_no_proxy_reads_the_refusal_in_its_own_language() {
    let root = Root::create();
    let house = House::open(&root, Plan::limited(&["api.test"]));
    let mut sender = http1_over(house.connect_transparently("other.test:80").await).await;
    let mut request = get("/");
    request.headers_mut().insert("host", "other.test".parse().unwrap());
    let answered = Answered::read(sender.send_request(request.clone()).await.unwrap()).await;
    assert_eq!((answered.status.as_u16(), answered.code().as_str()), (403, "host_not_allowed"));

    let stream = house.connect_transparently("other.test:443").await;
    let stream = tls_to(&house.tls(&["http/1.1"]), "other.test", stream).await.unwrap();
    let answered =
        Answered::read(http1_over(stream).await.send_request(request).await.unwrap()).await;
    assert_eq!((answered.status.as_u16(), answered.code().as_str()), (403, "host_not_allowed"));

    // Neither TLS nor HTTP: there is no language to say it in.
    let mut stream = house.connect_transparently("other.test:443").await;
    stream.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn on_the_ports_of_the_web_only_the_web_is_spoken() {
    let root = Root::create();
    let mut house = House::open(&root, Plan::limited(&["api.test"]).inspecting());
    let mut stream = house.connect("api.test:443").await;
    stream.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!(decision.code.as_deref(), Some("not_tls_or_http"));
}

#[tokio::test]
async fn a_redirect_is_a_new_request_with_a_new_decision() {
    let root = Root::create();
    let server = Server::start(None, |_request| {
        Box::pin(async {
            let mut answer = http::Response::new(text(""));
            *answer.status_mut() = StatusCode::FOUND;
            let inside = "http://169.254.169.254/latest".parse().unwrap();
            answer.headers_mut().insert("location", inside);
            answer
        })
    })
    .await;
    let house = House::open(&root, hostile_names().inside("api.test", server.port));
    let answered = house.send(get(&format!("http://api.test:{}/", server.port))).await;
    assert_eq!(answered.status, StatusCode::FOUND);
    let location = answered.headers["location"].to_str().unwrap();
    assert_eq!(house.send(get(location)).await.code(), METADATA);
}

#[tokio::test]
async fn a_request_for_another_host_than_its_address_says_is_refused() {
    let root = Root::create();
    let (server, mut received) = Server::telling(None).await;
    let house = House::open(&root, Plan::unrestricted().inside("api.test", server.port));
    let mut request = get(&format!("http://api.test:{}/", server.port));
    request.headers_mut().insert("host", "other.test".parse().unwrap());
    assert_eq!(house.send(request).await.code(), "host_mismatch");
    let stream = house.connect(&format!("api.test:{}", server.port)).await;
    let mut request = get("/");
    request.headers_mut().insert("host", "other.test".parse().unwrap());
    let response = http1_over(stream).await.send_request(request).await.unwrap();
    assert_eq!(Answered::read(response).await.code(), "host_mismatch");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_sandbox_without_a_session_reaches_nothing() {
    let root = Root::create();
    let house = House::open(&root, Plan::unrestricted());
    house.forget_session();
    assert_eq!(house.refused_connect("api.test:443").await, (403, "no_session".to_owned()));
    assert_eq!(house.send(get("http://api.test/")).await.code(), "no_session");
}

#[tokio::test]
async fn one_sandbox_s_door_knows_nothing_of_another_s() {
    let root = Root::create();
    let (server, _received) = Server::telling(None).await;
    let (allowed, target) =
        (format!("api.test:{}", server.port), format!("http://api.test:{}/", server.port));
    let first = Plan::limited(&[&allowed]).inside("api.test", server.port).inspecting();
    let first = House::open(&root, first);
    let second = House::open(&root, Plan::limited(&["other.test"]).inspecting());
    assert_eq!(first.send(get(&target)).await.status, StatusCode::OK);
    assert_eq!(second.send(get(&target)).await.code(), "host_not_allowed");
    // And neither trusts what the other's authority vouches for.
    let stream = first.connect(&allowed).await;
    assert!(tls_to(&second.tls(&[]), "api.test", stream).await.is_err());
}
