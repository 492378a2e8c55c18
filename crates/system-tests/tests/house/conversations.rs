//! People and programs talk with agents that really work.

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use system_tests::Client;

use crate::{Scenarios, Shared};

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("an_agent_writes_and_runs_a_program", an_agent_writes_and_runs_a_program);
    scenarios.add("more_sessions_than_fit_all_get_ready", more_sessions_than_fit_all_get_ready);
    scenarios.add("a_session_remembers_after_its_sandbox_was_given_back", memory);
    scenarios.add("ten_tool_calls_in_a_row_end", ten_tool_calls);
    scenarios.add("an_interrupt_ends_a_turn_that_hangs", interrupt);
    scenarios.add("a_harness_that_dies_ends_its_turn_and_the_session_goes_on", harness_dies);
    scenarios.add("a_warm_sandbox_serves_a_new_session", warm_sandbox);
    scenarios.add("a_warm_sandbox_serves_a_session_that_had_another_one", warm_again);
}

async fn an_agent_writes_and_runs_a_program(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    let script = "@write hello.py print(6 * 7)\n@run python3 hello.py\n@say It works.";
    client.say(&session, script).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let types: Vec<_> = log.iter().filter_map(|event| event["type"].as_str()).collect();
    ensure!(types.first() == Some(&"user.message"), "{types:?}");
    let results: Vec<_> = of_type(&log, "agent.tool_result").collect();
    ensure!(results.len() == 2 && text(results[1]).contains("42"), "{results:?}");
    let last = of_type(&log, "agent.message").last().context("no message")?;
    ensure!(text(last).contains("It works."), "{last}");
    let numbers: Vec<_> = log.iter().filter_map(|event| event["seq"].as_i64()).collect();
    ensure!(numbers.iter().copied().eq((1..).take(numbers.len())), "{numbers:?}");
    Ok(())
}

async fn more_sessions_than_fit_all_get_ready(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let opened = try_join_all((0..10).map(|_| client.open_session(&agent))).await?;
    // Each says something at once; the sandboxes of those that have finished make room for the rest.
    try_join_all(opened.iter().map(|session| client.say(session, "@say here"))).await?;
    let logs = try_join_all(opened.iter().map(|session| client.until_idle(session, 0, 1))).await?;
    for log in logs {
        let said = of_type(&log, "agent.message").last().context("nothing was said")?;
        ensure!(text(said).contains("here"), "{said}");
    }
    Ok(())
}

async fn memory(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.say(&session, "the word is zanzibar\n@run echo kept > note.txt").await?;
    let before = client.until_idle(&session, 0, 1).await?;
    let sandbox = client.get(&format!("/v1/sessions/{session}")).await?["sandbox_id"].clone();
    let sandbox = sandbox.as_str().context("the session has no sandbox")?;
    client.delete(&format!("/v1/sandboxes/{sandbox}")).await?;
    client.say(&session, "@recall zanz[a-z]+\n@run cat note.txt").await?;
    let after = client.until_idle(&session, before.len(), 1).await?;
    let said: String = of_type(&after, "agent.message").map(text).collect();
    ensure!(said.contains("recalled: zanzibar"), "{after:#?}");
    let result = of_type(&after, "agent.tool_result").next().context("no tool result")?;
    ensure!(text(result).contains("kept"), "{result}");
    let restored = of_type(&after, "session.context_restored").next();
    ensure!(restored.is_some_and(|event| event["mode"] == "native"), "{restored:?}");
    Ok(())
}

async fn ten_tool_calls(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    let calls: Vec<_> = (1..=10).map(|number| format!("@run echo {number} >> log")).collect();
    client.say(&session, &format!("{}\n@run cat log", calls.join("\n"))).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let last = of_type(&log, "agent.tool_result").last().context("no result")?;
    let printed: Vec<_> = text(last).split_whitespace().map(str::to_owned).collect();
    let wanted: Vec<_> = (1..=10).map(|number| number.to_string()).collect();
    ensure!(printed == wanted, "each call ran once and in order: {printed:?}");
    Ok(())
}

async fn interrupt(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.say(&session, "@hang").await?;
    client.until_ready(&session).await?;
    let interrupt = json!({ "events": [{ "type": "user.interrupt" }] });
    client.post(&format!("/v1/sessions/{session}/events"), &interrupt).await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let idle = log.last().context("an empty log")?;
    ensure!(idle["stop_reason"]["reason"] == "interrupted", "{idle}");
    client.say(&session, "@say still here").await?;
    let after = client.until_idle(&session, log.len(), 1).await?;
    let said = of_type(&after, "agent.message").last().context("nothing was said")?;
    ensure!(text(said).contains("still here"), "{said}");
    Ok(())
}

async fn harness_dies(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.say(&session, "@run kill -9 $PPID; sleep 60").await?;
    let log = client.until_idle(&session, 0, 1).await?;
    let idle = log.last().context("an empty log")?;
    ensure!(idle["stop_reason"]["type"] == "retries_exhausted", "{idle}");
    let error = of_type(&log, "session.error").next().context("no session.error")?;
    ensure!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    client.say(&session, "@say alive").await?;
    let after = client.until_idle(&session, log.len(), 1).await?;
    let said = of_type(&after, "agent.message").last().context("nothing was said")?;
    ensure!(text(said).contains("alive"), "{said}");
    Ok(())
}

async fn warm_sandbox(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let open = in_warm_environment(&client).await?;
    // The first session of an environment starts its pool.
    let mut modes = Vec::new();
    for _ in 0..5 {
        let session = client.post("/api/sessions", &open).await?;
        let session = session["id"].as_str().context("no id")?.to_owned();
        let ready = client.until_ready(&session).await?;
        client.say(&session, "@run pwd\n@say warm or not").await?;
        let log = client.until_idle(&session, 0, 1).await?;
        let said = of_type(&log, "agent.message").last().context("nothing was said")?;
        ensure!(text(said).contains("warm or not"), "{said}");
        modes.push(ready["startup"]["spawn_mode"].clone());
        client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
        if modes.last().is_some_and(|mode| mode == "warm") {
            return Ok(());
        }
    }
    anyhow::bail!("no session was served by the warm pool: {modes:?}")
}

async fn warm_again(house: Shared) -> anyhow::Result<()> {
    let client = house.lock().await.team().await?;
    let open = in_warm_environment(&client).await?;
    let session = client.post("/api/sessions", &open).await?;
    let session = session["id"].as_str().context("no id")?.to_owned();
    client.say(&session, "the word is zanzibar\n@run echo kept > note.txt").await?;
    let mut known = client.until_idle(&session, 0, 1).await?.len();
    let mut modes = Vec::new();
    for _ in 0..5 {
        let shown = client.get(&format!("/v1/sessions/{session}")).await?;
        let sandbox = shown["sandbox_id"].as_str().context("the session has no sandbox")?;
        client.delete(&format!("/v1/sandboxes/{sandbox}")).await?;
        client.say(&session, "@recall zanz[a-z]+\n@run cat note.txt").await?;
        let after = client.until_idle(&session, known, 1).await?;
        known += after.len();
        let said: String = of_type(&after, "agent.message").map(text).collect();
        ensure!(said.contains("recalled: zanzibar"), "{after:#?}");
        let result = of_type(&after, "agent.tool_result").next().context("no tool result")?;
        ensure!(text(result).contains("kept"), "{result}");
        let restored = of_type(&after, "session.context_restored").next();
        ensure!(restored.is_some_and(|event| event["mode"] == "native"), "{restored:?}");
        let shown = client.get(&format!("/v1/sessions/{session}")).await?;
        modes.push(shown["startup"]["spawn_mode"].clone());
        if modes.last().is_some_and(|mode| mode == "warm") {
            return Ok(());
        }
    }
    anyhow::bail!("the session was never served by the warm pool: {modes:?}")
}

/// What opens a session in an environment that keeps a sandbox warm.
async fn in_warm_environment(client: &Client) -> anyhow::Result<Value> {
    let agent = client.create_agent().await?;
    let config = json!({ "type": "cloud", "warm_pool_size": 1 });
    let body = json!({ "name": "warm", "config": config });
    let environment = client.post("/v1/environments", &body).await?;
    Ok(json!({ "agent_id": agent, "environment_id": environment["id"] }))
}

pub(crate) fn of_type<'a>(log: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    log.iter().filter(move |event| event["type"] == kind)
}

/// The text of an event's content.
pub(crate) fn text(event: &Value) -> String {
    let blocks = event["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}
