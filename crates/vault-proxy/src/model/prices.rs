//! What models cost, as LiteLLM says it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use platform_core::budget::NanoDollars;
use platform_core::session::ModelUsage;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::forward::Gateway;

const KEPT_FOR: Duration = Duration::from_mins(5);
/// After a failure LiteLLM is let be for so long.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// In dollars for each token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
struct Price {
    #[serde(rename = "input_cost_per_token", default)]
    input: Option<f64>,
    #[serde(rename = "output_cost_per_token", default)]
    output: Option<f64>,
    #[serde(rename = "cache_read_input_token_cost", default)]
    cache_read: Option<f64>,
    #[serde(rename = "cache_creation_input_token_cost", default)]
    cache_creation: Option<f64>,
}

impl Price {
    #[expect(clippy::cast_precision_loss, reason = "no call has 2^52 tokens")]
    fn of(&self, usage: ModelUsage) -> NanoDollars {
        let input = self.input.unwrap_or(0.0);
        let sum = usage.input_tokens as f64 * input
            + usage.output_tokens as f64 * self.output.unwrap_or(0.0)
            + usage.cache_read_input_tokens as f64 * self.cache_read.unwrap_or(input)
            + usage.cache_creation_input_tokens as f64 * self.cache_creation.unwrap_or(input);
        NanoDollars::from_dollars(sum)
    }
}

/// Prices by the id of a deployment and by the name of a model.
#[derive(Debug, Default)]
struct PriceList(BTreeMap<String, Price>);

impl PriceList {
    fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_slice(body)?;
        let mut prices = BTreeMap::new();
        for model in answer.data {
            let Info { id, price } = model.model_info;
            prices.insert(model.model_name, price);
            if let Some(id) = id {
                prices.insert(id, price);
            }
        }
        Ok(Self(prices))
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    model_name: String,
    model_info: Info,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    id: Option<String>,
    #[serde(flatten)]
    price: Price,
}

/// The list of prices, read again every five minutes.
pub struct Prices {
    gateway: Gateway,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    list: Arc<PriceList>,
    good_until: Option<Instant>,
}

impl Prices {
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway, kept: Mutex::default() }
    }

    /// What a call cost. The first of the names that is known counts; nothing when none is.
    pub async fn cost_of(&self, names: &[&str], usage: ModelUsage) -> NanoDollars {
        let list = self.list().await;
        let known = names.iter().find_map(|name| list.0.get(*name));
        known.map_or(NanoDollars(0), |price| price.of(usage))
    }

    async fn list(&self) -> Arc<PriceList> {
        let mut kept = self.kept.lock().await;
        if kept.good_until.is_some_and(|until| Instant::now() < until) {
            return kept.list.clone();
        }
        let hold = match self.gateway.read("/model/info").await.map(|body| PriceList::parse(&body))
        {
            Ok(Ok(list)) => {
                kept.list = Arc::new(list);
                KEPT_FOR
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn Error, "LiteLLM's prices are unreadable");
                TRIED_AGAIN_AFTER
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "LiteLLM's prices cannot be read");
                TRIED_AGAIN_AFTER
            }
        };
        kept.good_until = Some(Instant::now() + hold);
        kept.list.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_the_list_says_in_any_of_its_columns() {
        let list = PriceList::parse(
            br#"{"data":[{"model_name":"demo","litellm_params":{},"model_info":{"id":"d1","input_cost_per_token":1e-6,"output_cost_per_token":2e-6,"cache_read_input_token_cost":1e-7,"mode":null}},
                         {"model_name":"free","model_info":{}}]}"#,
        )
        .unwrap();
        let usage = ModelUsage {
            input_tokens: 10,
            output_tokens: 5,
            cache_creation_input_tokens: 1,
            cache_read_input_tokens: 100,
        };
        assert_eq!(list.0["demo"].of(usage), NanoDollars(31_000));
        assert_eq!(list.0["d1"], list.0["demo"]);
        assert_eq!(list.0["free"].of(usage), NanoDollars(0));
    }
}
