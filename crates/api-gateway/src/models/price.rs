//! What LiteLLM says of prices, in `/model/info`.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct PricedModel {
    model_name: String,
    #[serde(default)]
    model_info: Costs,
    /// What the configuration says by itself.
    #[serde(default)]
    litellm_params: Costs,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Costs {
    #[serde(default)]
    input_cost_per_token: Option<f64>,
    #[serde(default)]
    output_cost_per_token: Option<f64>,
}

impl Costs {
    fn are_known(self) -> bool {
        self.input_cost_per_token.is_some() || self.output_cost_per_token.is_some()
    }
}

/// `None` when nothing is said of the model by its own name: LiteLLM knows the prices behind a pattern itself.
pub(super) fn is_known(models: &[PricedModel], model: &str) -> Option<bool> {
    let mut named = models.iter().filter(|priced| priced.model_name == model).peekable();
    named.peek()?;
    Some(named.any(|priced| priced.model_info.are_known() || priced.litellm_params.are_known()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_price_is_known_by_what_litellm_or_its_configuration_says() {
        let models = json!([
            {"model_name": "dear", "model_info": {"input_cost_per_token": 0.000_001, "id": "x"}},
            {"model_name": "own", "model_info": {"input_cost_per_token": null}, "litellm_params": {"model": "y", "output_cost_per_token": 1e-6}},
            {"model_name": "unknown", "model_info": {"input_cost_per_token": null}},
            {"model_name": "anthropic/*", "model_info": {}},
        ]);
        let models: Vec<PricedModel> = serde_json::from_value(models).unwrap();
        let known = ["dear", "own", "unknown", "anthropic/claude", "nothing"];
        let known = known.map(|model| is_known(&models, model));
        assert_eq!(known, [Some(true), Some(true), Some(false), None, None]);
    }
}
