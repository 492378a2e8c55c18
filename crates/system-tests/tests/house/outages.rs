//! Services and what they stand on are killed; sessions go on.

use anyhow::{Context, ensure};
use local_stack::Part;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use system_tests::{Client, House};

use crate::conversations::{of_type, text};
use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    let killed = [
        Part::ApiGateway,
        Part::SessionService,
        Part::SandboxService,
        Part::VaultProxy,
        Part::Worker,
    ];
    for part in killed {
        let sentence = format!("a_session_goes_on_after_{part}_was_killed");
        scenarios.add(&sentence, move |house| goes_on_without(house, part));
        let sentence = format!("a_turn_under_way_survives_the_kill_of_{part}");
        scenarios.add(&sentence, move |house| turn_survives(house, part));
    }
    scenarios.add("a_turn_is_taken_up_again_after_its_sandbox_was_killed", sandbox_killed);
    scenarios.add("without_the_broker_requests_are_refused_and_it_recovers", broker_away);
    scenarios.add("without_the_database_requests_are_refused_and_it_recovers", database_away);
    scenarios.add("without_litellm_a_turn_ends_with_an_error", litellm_away);
}

/// Kills every replica.
async fn kill(house: &House, part: Part) -> anyhow::Result<()> {
    for replica in house.replicas(part) {
        house.stack.kill(replica, Signal::SIGKILL)?;
        house.stack.ended(replica).await;
    }
    Ok(())
}

/// Starts what `kill` has ended.
async fn start(house: &mut House, part: Part) -> anyhow::Result<()> {
    for replica in house.replicas(part) {
        house.stack.start_process(replica).await?;
    }
    Ok(())
}

async fn says(client: &Client, session: &str, script: &str, word: &str) -> anyhow::Result<()> {
    let before = client.log(session).await?.len();
    client.say(session, script).await?;
    let log = client.until_idle(session, before, 1).await?;
    let said: String = of_type(&log, "agent.message").map(text).collect();
    ensure!(said.contains(word), "{word} was not said: {log:#?}");
    Ok(())
}

async fn goes_on_without(house: Shared, part: Part) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    says(&client, &session, "the word is quagga\n@say noted", "noted").await?;
    kill(&house, part).await?;
    start(&mut house, part).await?;
    says(&client, &session, "@recall quag[a-z]+", "recalled: quagga").await
}

async fn turn_survives(house: Shared, part: Part) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    let script =
        "@run echo first >> steps; touch begun; sleep 3\n@run echo second >> steps\n@run cat steps";
    client.say(&session, script).await?;
    until_tool_uses(&client, &session, 1).await?;
    kill(&house, part).await?;
    start(&mut house, part).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let idle = log.last().context("an empty log")?;
    ensure!(idle["stop_reason"]["type"] == "end_turn", "{log:#?}");
    let printed = text(of_type(&log, "agent.tool_result").last().context("no result")?);
    ensure!(printed.split_whitespace().eq(["first", "second"]), "each step once: {printed}");
    Ok(())
}

/// Waits until the agent has begun this many tool calls.
async fn until_tool_uses(client: &Client, session: &str, wanted: usize) -> anyhow::Result<()> {
    let mut stream = client.stream(session, Some(0)).await?;
    let mut begun = 0;
    while let Some(frame) = stream.next().await? {
        begun += usize::from(frame.name == "agent.tool_use");
        if begun == wanted {
            return Ok(());
        }
    }
    anyhow::bail!("the stream ended after {begun} tool calls")
}

/// The harness is told to go on, not asked for the same again: what it had done it does not do twice.
async fn sandbox_killed(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    let ready = client.until_ready(&session).await?;
    client.say(&session, "@run echo once >> steps\n@run sleep 60").await?;
    until_tool_uses(&client, &session, 2).await?;
    let sandbox = ready["sandbox_id"].as_str().context("no sandbox")?;
    client.delete(&format!("/v1/sandboxes/{sandbox}")).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    ensure!(of_type(&log, "session.status_rescheduled").count() == 1, "{log:#?}");
    let restored = of_type(&log, "session.context_restored").next().context("nothing restored")?;
    ensure!(restored["mode"] == "native", "{restored}");
    let idle = log.last().context("an empty log")?;
    ensure!(idle["stop_reason"]["type"] == "end_turn", "{log:#?}");
    let calls = of_type(&log, "agent.tool_use").count();
    let results = of_type(&log, "agent.tool_result").count();
    ensure!(calls == results, "every call has its result, the lost one too: {log:#?}");
    client.say(&session, "@run cat steps").await?;
    let after = client.until_idle(&session, log.len(), 1).await?;
    let printed = text(of_type(&after, "agent.tool_result").last().context("no result")?);
    ensure!(printed.split_whitespace().eq(["once"]), "the step ran once: {printed}");
    Ok(())
}

async fn broker_away(house: Shared) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    says(&client, &session, "@say before", "before").await?;
    kill(&house, Part::Rabbitmq).await?;
    refused(&client, &session).await?;
    ensure!(!client.log(&session).await?.is_empty(), "reads go on");
    start(&mut house, Part::Rabbitmq).await?;
    accepted_again(&client, &session).await
}

async fn database_away(house: Shared) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    says(&client, &session, "@say before", "before").await?;
    kill(&house, Part::Postgres).await?;
    refused(&client, &session).await?;
    start(&mut house, Part::Postgres).await?;
    accepted_again(&client, &session).await
}

/// A message is refused with 503 and a time to come back.
async fn refused(client: &Client, session: &str) -> anyhow::Result<()> {
    let content = json!([{ "type": "text", "text": "@say lost" }]);
    let body = json!({ "events": [{ "type": "user.message", "content": content }] });
    let path = format!("/v1/sessions/{session}/events");
    let response = client.send(Method::POST, &path, Some(&body)).await?;
    let retry_after = response.headers().get("retry-after").cloned();
    ensure!(response.status() == 503, "{}: {}", response.status(), response.text().await?);
    ensure!(retry_after.is_some(), "no Retry-After");
    Ok(())
}

async fn accepted_again(client: &Client, session: &str) -> anyhow::Result<()> {
    let mut tries = 0;
    while let Err(failure) = says(client, session, "@say after", "after").await {
        tries += 1;
        ensure!(tries < 60 && failure.to_string().starts_with("503"), "{failure:?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    let log = client.log(session).await?;
    ensure!(!log.iter().any(|event| text(event).contains("lost")), "a refused message was kept");
    Ok(())
}

async fn litellm_away(house: Shared) -> anyhow::Result<()> {
    let mut house = house.lock().await;
    let client = house.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    kill(&house, Part::Litellm).await?;
    client.say(&session, "@say hello").await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let error = of_type(&log, "session.error").next().context("no error was told")?;
    let told = error["error"]["message"].as_str().unwrap_or_default();
    ensure!(told.contains("LiteLLM"), "the error does not say what is away: {error}");
    start(&mut house, Part::Litellm).await?;
    says(&client, &session, "@say back", "back").await
}
