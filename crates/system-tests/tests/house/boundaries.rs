//! What an agent finds in its sandbox, and what it does not.

use anyhow::{Context, ensure};
use system_tests::Client;

use crate::conversations::{of_type, text};
use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("no_secret_is_found_in_a_sandbox", no_secret_is_found_in_a_sandbox);
    scenarios.add("a_sandbox_reaches_the_model_and_nothing_of_the_machine", nothing_of_the_machine);
    scenarios.add("a_sandbox_sees_its_own_files_and_processes_only", own_files_only);
}

/// Runs one command in a new session; answers what it printed.
async fn run(client: &Client, command: &str) -> anyhow::Result<String> {
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.say(&session, &format!("@run {command}")).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    Ok(text(of_type(&log, "agent.tool_result").next().context("no tool result")?))
}

async fn no_secret_is_found_in_a_sandbox(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let client = house.team().await?;
    // What is planted to be found, in .config/backup among others, would end the sandbox.
    let search = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; grep -rhs --exclude-dir=backup . /run /etc/environment /home/agent/.config /workspace | head -c 100000";
    let found = run(&client, search).await?;
    ensure!(found.contains("HOME=/home/agent"), "the search found nothing at all: {found}");
    let names = ["MASTER_KEY", "ENCRYPTION_KEY", "LITELLM_API_KEY", "DATABASE_URL", "AMQP_URL"];
    for name in names {
        let secret = house.stack.setting(name).context(name)?;
        ensure!(!found.contains(secret), "{name} is visible in the sandbox");
    }
    Ok(())
}

async fn nothing_of_the_machine(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let client = house.team().await?;
    let own_port = house.stack.url().rsplit(':').next().unwrap_or_default().to_owned();
    let probe = format!(
        "python3 -c 'import urllib.request as u, socket; print(len(u.urlopen(\"http://127.0.0.1:4000/v1/models\").read()) > 0); s = socket.socket(); s.settimeout(2); print(s.connect_ex((\"127.0.0.1\", {own_port})))'"
    );
    let printed = run(&client, &probe).await?;
    let printed: Vec<_> = printed.split_whitespace().collect();
    // 111: connection refused.
    ensure!(printed == ["True", "111"], "{printed:?}");
    let inward =
        "curl -s --noproxy '*' http://10.0.0.1/; curl -s --noproxy '*' http://169.254.169.254/";
    let printed = run(&client, inward).await?;
    ensure!(printed.contains("internal_hosts"), "{printed}");
    ensure!(printed.contains("metadata_address"), "{printed}");
    let listed = "python3 -c 'import http.client as h; c = h.HTTPConnection(\"127.0.0.1\", 4000); c.request(\"GET\", \"/key/list\"); print(c.getresponse().status)'";
    let printed = run(&client, listed).await?;
    ensure!(printed.trim() == "403", "{printed}");
    Ok(())
}

async fn own_files_only(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let probe = "id -u; ls /; ls /proc | grep -c '^[0-9]'; touch /usr/x 2>&1; unshare -Ur true 2>&1; ls /journal /run/links /run/identity 2>&1; cat /etc/shadow 2>&1";
    let printed = run(&client, probe).await?;
    ensure!(!printed.starts_with("0\n"), "not as root: {printed}");
    ensure!(printed.contains("Read-only file system"), "{printed}");
    ensure!(printed.contains("/journal': No such file"), "{printed}");
    ensure!(printed.contains("/run/links': No such file"), "{printed}");
    ensure!(printed.contains("/etc/shadow: No such file"), "{printed}");
    Ok(())
}
