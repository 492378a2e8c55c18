//! From the moment a word leaves the scripted model until it is read: from our stream, and from LiteLLM directly.

use anyhow::Context;
use serde_json::{Value, json};
use system_tests::{Client, House};

use crate::figures::{Report, Series};
use crate::words::{Words, now};

const WORDS: usize = 300;
const PAUSE_MS: usize = 20;
const ROUNDS: usize = 3;

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    let (mut ours, mut direct) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        through_the_platform(client, &session, &mut ours).await?;
        through_litellm(house, &mut direct).await?;
    }
    for quantile in [0.5, 0.99] {
        let what = "model's word → client";
        report.compare(what, quantile, &ours, ("read from LiteLLM directly", &direct));
    }
    client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
    Ok(())
}

/// The words of one answer.
pub async fn through_the_platform(
    client: &Client,
    session: &str,
    series: &mut Series,
) -> anyhow::Result<()> {
    let mut stream = client.stream(session, None).await?;
    client.say(session, &format!("@stream {WORDS} {PAUSE_MS}")).await?;
    let mut words = Words::default();
    while let Some(frame) = stream.next().await? {
        let read_at = now();
        match frame.name.as_str() {
            "event_delta" => {
                let text = frame.data["delta"]["content"]["text"].as_str().unwrap_or_default();
                add(series, &words.read(text), read_at);
            }
            "session.status_idle" => return Ok(()),
            _ => {}
        }
    }
    anyhow::bail!("the stream ended")
}

async fn through_litellm(house: &House, series: &mut Series) -> anyhow::Result<()> {
    // A request without tools would be taken for a side call.
    let tool = json!({ "type": "function", "function": { "name": "bash", "parameters": { "type": "object", "properties": {} } } });
    let message = json!({ "role": "user", "content": format!("@stream {WORDS} {PAUSE_MS}") });
    let body = json!({ "model": "demo", "stream": true, "messages": [message], "tools": [tool] });
    let key = house.stack.setting("LITELLM_API_KEY").context("no LITELLM_API_KEY")?;
    let url = format!("{}/v1/chat/completions", house.stack.litellm_url());
    let client = reqwest::Client::builder().build()?;
    let mut response = client.post(url).bearer_auth(key).json(&body).send().await?;
    let (mut words, mut buffer) = (Words::default(), String::new());
    while let Some(chunk) = response.chunk().await? {
        let read_at = now();
        buffer.push_str(std::str::from_utf8(&chunk)?);
        while let Some(end) = buffer.find("\n\n") {
            let frame: String = buffer.drain(..end + 2).collect();
            let data = frame.trim().strip_prefix("data: ").unwrap_or_default();
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            let text = data["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            add(series, &words.read(text), read_at);
        }
    }
    Ok(())
}

fn add(series: &mut Series, left_at: &[f64], read_at: f64) {
    for left_at in left_at {
        series.add((read_at - left_at) / 1000.0);
    }
}
