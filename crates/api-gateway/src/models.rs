//! The models that the LiteLLM gateway serves.

pub mod list;

mod kept;
mod price;

use std::time::Duration;

use platform_runtime::settings::GatewaySettings;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use kept::Kept;
use price::PricedModel;

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks LiteLLM for its models, now and then.
pub struct Models {
    client: reqwest::Client,
    gateway: GatewaySettings,
    served: Kept<Vec<ServedModel>>,
    priced: Kept<Vec<PricedModel>>,
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
struct Answer<T> {
    data: Vec<T>,
}

impl Models {
    pub fn new(gateway: GatewaySettings) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { client, gateway, served: Kept::default(), priced: Kept::default() })
    }

    /// LiteLLM's list; `None` while it cannot be had.
    pub async fn list(&self) -> Option<Vec<ServedModel>> {
        self.served.get(self.ask("/v1/models")).await
    }

    /// Whether LiteLLM knows what the model costs; `None` when it cannot be asked, or tells the price only with each answer.
    pub async fn has_price(&self, model: &str) -> Option<bool> {
        let models = self.priced.get(self.ask("/model/info")).await?;
        price::is_known(&models, model)
    }

    /// Whether LiteLLM serves the model; `None` when it cannot be asked, and the first turn will tell.
    pub async fn serves(&self, model: &str) -> Option<Result<(), Vec<String>>> {
        let models = self.list().await?;
        if models.iter().any(|served| matches(&served.id, model)) {
            return Some(Ok(()));
        }
        Some(Err(models.into_iter().map(|served| served.id).collect()))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, reqwest::Error> {
        let mut request = self.client.get(format!("{}{path}", self.gateway.url));
        if let Some(key) = &self.gateway.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let answer: Answer<T> = request.send().await?.error_for_status()?.json().await?;
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
