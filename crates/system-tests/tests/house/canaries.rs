//! Secrets in every place where one can be configured, and a program in the sandbox that looks for them everywhere.

use anyhow::{Context, ensure};
use local_stack::Part;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use system_tests::{Client, House, Secret};

use crate::collector::Collector;
use crate::way_out::{Ground, SITE};
use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("no_canary_is_found_from_inside_or_in_what_is_kept", no_canary);
}

/// Of the platform's own environment: name and value.
const OF_THE_PLATFORM: (&str, &str) = ("CANARY_PLATFORM_TOKEN", "canary-platform-4f0d2c7e91");
const OF_OTHERS: [(&str, &str); 5] = [
    ("CANARY_ENVIRONMENT_TOKEN", "canary-environment-8a61b3d570"),
    ("CANARY_AGENT_TOKEN", "canary-agent-c92e7f1a46"),
    ("CANARY_SESSION_TOKEN", "canary-session-17d5e0b8f3"),
    ("CANARY_VAULT_TOKEN", "canary-vault-e3a94c6b20"),
    ("CANARY_MCP", "canary-mcp-5b7f29d8c1"),
];

/// What a program can read: its variables, every process, every file, its own memory, and what servers say.
const SEARCH: &str = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; \
    timeout 20 grep -rahsoE --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr 'canary-[a-z]+-[0-9a-f]{10}' / ; \
    python3 -c 'import re, os; \
[[print(w.decode()) for m in open(f\"/proc/{p}/maps\") if \"r\" in m.split()[1] and \"[v\" not in m for a, b in [[int(x, 16) for x in m.split()[0].split(\"-\")]] if b - a < 1 << 28 for w in [*re.findall(rb\"canary-[a-z]+-[0-9a-f]{10}\", os.pread(f, b - a, a))]] for p in os.listdir(\"/proc\") if p.isdigit() for f in [os.open(f\"/proc/{p}/mem\", 0)]]' 2>/dev/null";

/// A house that says as much as it can: in its logs, and in traces that somebody collects.
async fn talkative(collector: &Collector) -> anyhow::Result<House> {
    // A core holds whatever its process held, and is nothing that a service writes.
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, most)?;
    let (name, value) = OF_THE_PLATFORM;
    House::build_with(|builder| {
        builder
            .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
            .variable("LAP__LOG__FILTER", "trace")
            .variable(&format!("CONTAINER_ENV_{name}"), value)
            .variable("CONTAINER_ENV_HOSTS", &format!("{name}={SITE}"))
    })
    .await
}

async fn no_canary(_shared: Shared) -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let house = talkative(&collector).await?;
    let ground = Ground::prepare(&house, "/").await?;
    let Ground { client, host, site, .. } = &ground;
    let session = open(client, host).await?;
    let mut seen = client.run(&session, SEARCH).await?;
    let all: Vec<(&str, &str)> = OF_OTHERS.into_iter().chain([OF_THE_PLATFORM]).collect();
    // A server that gives back whatever it is sent; it has to be sent the real ones, or nothing was tried.
    for (name, value) in all.iter().filter(|(name, _)| *name != "CANARY_MCP") {
        ensure!(seen.contains(&format!("{name}=")), "{name} is no variable in the sandbox: {seen}");
        let ask = format!(
            "curl -sS -i -H \"Authorization: Bearer ${name}\" -d 'x' https://{host}/echo 2>&1"
        );
        let printed = client.run(&session, &ask).await?;
        let was_sent = site.arrived().iter().any(|it| it.text().contains(value));
        // The platform's own one is for a host of that name on the usual port.
        ensure!(was_sent || *name == OF_THE_PLATFORM.0, "{name} was not put in: {printed}");
        seen.push_str(&printed);
    }
    let mcp = format!(
        "curl -sS -i -d '{{}}' https://{host}/echo/mcp 2>&1; curl -sS https://{host}/kept 2>&1"
    );
    seen.push_str(&client.run(&session, &mcp).await?);
    find_none(&all, "what the sandbox sees", &seen)?;
    let log = Value::from(client.log(&session).await?).to_string();
    find_none(&all, "the session's log", &log)?;
    for path in ["/v1/vaults", "/v1/agents", "/v1/environments", "/v1/sessions", "/v1/sandboxes"] {
        find_none(&all, path, &client.get(path).await?.to_string())?;
    }
    let egress = client.get(&format!("/v1/sessions/{session}/egress")).await?;
    find_none(&all, "the list of decisions", &egress.to_string())?;
    find_none(&all, "the database", &everything_in_the_database(&house).await?)?;
    let traces = collector.kept_with(&["api-gateway", "session-service", "vault-proxy"]).await?;
    find_none(&all, "the traces", &traces)?;
    // What a crash says is among the rest of what it says.
    for part in Part::SERVICES {
        house.stack.kill(part, Signal::SIGABRT)?;
        house.stack.ended(part).await;
    }
    for (process, _, _) in house.stack.processes() {
        let told = std::fs::read(house.stack.log(process)).unwrap_or_default();
        // The database and the site's own names aside, every log is read.
        let is_ours = Part::SERVICES.contains(&process.part());
        ensure!(!is_ours || !told.is_empty(), "{process} logs nothing");
        find_none(&all, &format!("the log of {process}"), &String::from_utf8_lossy(&told))?;
    }
    Ok(())
}

fn find_none(canaries: &[(&str, &str)], place: &str, text: &str) -> anyhow::Result<()> {
    for (name, value) in canaries {
        let at = text.find(value);
        ensure!(at.is_none(), "{name} is in {place}: …{}…", around(text, at.unwrap_or_default()));
    }
    Ok(())
}

fn around(text: &str, at: usize) -> &str {
    let from = text.floor_char_boundary(at.saturating_sub(200));
    text.get(from..text.floor_char_boundary(at + 100)).unwrap_or_default()
}

/// A session with a secret from each of the places that a team can write one into.
async fn open(client: &Client, host: &str) -> anyhow::Result<String> {
    let [environment, agent, session, vault, mcp] = OF_OTHERS;
    let variable = |(name, value): (&str, &str)| json!({ name: { "value": value, "secret": true, "allowed_hosts": [host] } });
    let hosts = [host.to_owned()];
    let secret = Secret { name: vault.0, value: vault.1, hosts: &hosts, also_in: &[] };
    let vault = client.create_vault(&[secret]).await?;
    let bearer = json!({ "auth": { "type": "static_bearer", "token": mcp.1, "mcp_server_url": format!("https://{host}/echo/mcp") } });
    client.post(&format!("/v1/vaults/{vault}/credentials"), &bearer).await?;
    let config = json!({ "type": "cloud", "environment_variables": variable(environment) });
    let made =
        client.post("/v1/environments", &json!({ "name": "canaries", "config": config })).await?;
    let body =
        json!({ "name": "searcher", "model": "demo", "environment_variables": variable(agent) });
    let agent = client.post("/v1/agents", &body).await?;
    let body = json!({
        "agent": agent["id"], "environment_id": made["id"], "vault_ids": [vault],
        "environment_variables": variable(session),
    });
    let opened = client.post("/v1/sessions", &body).await?;
    Ok(opened["id"].as_str().context("no id")?.to_owned())
}

/// Every row of every table as text, and whatever bytes hold, read as text.
async fn everything_in_the_database(house: &House) -> anyhow::Result<String> {
    let (client, connection) =
        tokio_postgres::connect(house.stack.database_url(), tokio_postgres::NoTls).await?;
    let driving = tokio::spawn(connection);
    let tables = "select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'";
    let mut everything = String::new();
    for table in client.query(tables, &[]).await? {
        let table: String = table.get(0);
        let rows = client.query(&format!("select t::text from \"{table}\" t"), &[]).await?;
        for row in rows {
            let text: String = row.get(0);
            everything.push_str(&text);
            everything.push_str(&bytes_within(&text));
        }
    }
    ensure!(everything.len() > 1000, "the database is empty");
    driving.abort();
    Ok(everything)
}

/// Byte strings are printed in hexadecimal.
fn bytes_within(text: &str) -> String {
    let words = text.split("\\\\x").skip(1).chain(text.split("\\x").skip(1));
    let decoded = words.map(|word| {
        let digits: String = word.chars().take_while(char::is_ascii_hexdigit).collect();
        let pairs = digits.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16).ok()
        };
        String::from_utf8_lossy(&pairs.filter_map(byte).collect::<Vec<u8>>()).into_owned()
    });
    decoded.collect()
}
