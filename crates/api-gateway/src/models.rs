//! The models that the LiteLLM gateway serves.

pub mod list;

use std::time::{Duration, Instant};

use platform_runtime::settings::GatewaySettings;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::warn;

/// How long a list is good for.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a failure is believed, so that a gateway that hangs does not hold up every request.
const DOWN_FOR: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks LiteLLM for its models, now and then.
pub struct Models {
    client: reqwest::Client,
    gateway: GatewaySettings,
    known: Mutex<Option<Known>>,
}

struct Known {
    models: Option<Vec<ServedModel>>,
    until: Instant,
}

/// One model, or one pattern of models (`anthropic/*`), of LiteLLM's list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServedModel {
    pub id: String,
    /// Unix seconds.
    #[serde(default)]
    pub created: i64,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<ServedModel>,
}

impl Models {
    pub fn new(gateway: GatewaySettings) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { client, gateway, known: Mutex::default() })
    }

    /// LiteLLM's list; `None` while it cannot be had.
    pub async fn list(&self) -> Option<Vec<ServedModel>> {
        let mut known = self.known.lock().await;
        if let Some(Known { models, until }) = &*known
            && Instant::now() < *until
        {
            return models.clone();
        }
        let models = self
            .ask()
            .await
            .inspect_err(|failure| warn!(%failure, "LiteLLM does not tell its models"))
            .ok();
        let good_for = if models.is_some() { GOOD_FOR } else { DOWN_FOR };
        *known = Some(Known { models: models.clone(), until: Instant::now() + good_for });
        models
    }

    /// Whether LiteLLM serves the model; `None` when it cannot be asked, and the first turn will tell.
    pub async fn serves(&self, model: &str) -> Option<Result<(), Vec<String>>> {
        let models = self.list().await?;
        if models.iter().any(|served| matches(&served.id, model)) {
            return Some(Ok(()));
        }
        Some(Err(models.into_iter().map(|served| served.id).collect()))
    }

    async fn ask(&self) -> Result<Vec<ServedModel>, reqwest::Error> {
        let mut request = self.client.get(format!("{}/v1/models", self.gateway.url));
        if let Some(key) = &self.gateway.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let answer: Answer = request.send().await?.error_for_status()?.json().await?;
        Ok(answer.data)
    }
}

/// A pattern matches by what stands before its star.
fn matches(served: &str, model: &str) -> bool {
    match served.split_once('*') {
        Some((beginning, _)) => model.starts_with(beginning),
        None => served == model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_serves_every_model_that_begins_like_it() {
        assert!(matches("anthropic/*", "anthropic/claude-5"));
        assert!(matches("*", "anything"));
        assert!(matches("demo", "demo"));
        assert!(!matches("anthropic/*", "openai/gpt"));
        assert!(!matches("demo", "demo2"));
    }
}
