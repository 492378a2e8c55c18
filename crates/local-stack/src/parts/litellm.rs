//! A LiteLLM of the stack's own, and the scripted model behind it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::cache::ToolCache;
use crate::data_directory::{DataDirectory, write_private};
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessSpecification, Readiness, command};

const TOOL: &str = "litellm-1.106.2";
/// `prisma` is needed without a database, too: without it a rejected key answers 500 and not 401.
const REQUIREMENTS: [&str; 3] = ["litellm[proxy]==1.106.2", "prisma==0.15.0", "prometheus-client"];
/// Provider, its key, and the short model names that people use without the provider's prefix.
const PROVIDERS: [(&str, &str, &str); 3] = [
    ("anthropic", "ANTHROPIC_API_KEY", "claude-*"),
    ("openai", "OPENAI_API_KEY", "gpt-*"),
    ("gemini", "GEMINI_API_KEY", "gemini-*"),
];

/// Installs LiteLLM into the cache.
pub(crate) async fn install(cache: &ToolCache) -> Result<(), StackError> {
    let notice = "installing LiteLLM 1.106.2 (750 MB, about a minute) …";
    let steps = |path: &Path| {
        let mut environment = Command::new("python3");
        environment.args(["-m", "venv"]).arg(path);
        let mut packages = Command::new(path.join("bin/pip"));
        packages.args(["install", "--quiet", "--disable-pip-version-check"]).args(REQUIREMENTS);
        vec![environment, packages]
    };
    cache.ensure(TOOL, notice, steps).await.map(drop)
}

/// Writes LiteLLM's configuration and says how it is started.
pub(super) fn specification(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    let folder = data.make_folder("litellm", 0o700)?;
    let configuration = folder.join("config.yaml");
    // JSON is YAML.
    let text = format!("{:#}\n", models(plan)?);
    write_private(&configuration, &text)?;

    let programs = plan.cache.join(TOOL).join("bin");
    let port = plan.port(Part::Litellm.as_str())?;
    let mut environment = plan.basics.clone();
    environment.extend(plan.provider_keys.clone());
    environment.extend(
        [
            ("LITELLM_MASTER_KEY", plan.setting("LITELLM_API_KEY").unwrap_or_default()),
            // Otherwise each start tries three times to download a list of prices.
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    Ok(ProcessSpecification {
        name: Part::Litellm.into(),
        command: command([
            &programs.join("python"),
            &programs.join("litellm"),
            &"--config",
            &configuration,
            &"--host",
            &"127.0.0.1",
            &"--port",
            &port.to_string(),
        ]),
        environment,
        working_directory: folder,
        readiness: Readiness::Http(format!("http://127.0.0.1:{port}/health/liveliness")),
        patience: Duration::from_mins(3),
    })
}

/// The groups that LiteLLM serves: always the demo, and whatever the caller has keys for.
fn models(plan: &Plan) -> Result<Value, StackError> {
    let scripted = plan.port(Part::ScriptedModel.as_str())?;
    let mut groups = vec![json!({
        "model_name": "demo",
        "litellm_params": {
            "model": "openai/scripted",
            "api_base": format!("http://127.0.0.1:{scripted}/v1"),
            "api_key": "none",
            "input_cost_per_token": 0.000_001,
            "output_cost_per_token": 0.000_002,
        },
    })];
    for (provider, key, short) in PROVIDERS {
        if plan.provider_keys.contains_key(key) {
            let all = format!("{provider}/*");
            for (group, model) in
                [(all.as_str(), all.clone()), (short, format!("{provider}/{short}"))]
            {
                groups.push(json!({
                    "model_name": group,
                    "litellm_params": { "model": model, "api_key": format!("os.environ/{key}") },
                }));
            }
        }
    }
    Ok(json!({
        "model_list": groups,
        "general_settings": { "master_key": "os.environ/LITELLM_MASTER_KEY" },
        // Who called decides about another try: LiteLLM's own would hide failures and add seconds to each.
        "router_settings": { "num_retries": 0 },
    }))
}

pub(super) fn scripted_model(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    let port = plan.port(Part::ScriptedModel.as_str())?;
    Ok(ProcessSpecification {
        name: Part::ScriptedModel.into(),
        command: command([
            &plan.binary("scripted-model")?,
            &"--listen",
            &format!("127.0.0.1:{port}"),
            &"--log",
            &data.log_directory().join("scripted-model.requests.jsonl"),
        ]),
        environment: plan.basics.clone(),
        working_directory: data.path().to_path_buf(),
        readiness: Readiness::Http(format!("http://127.0.0.1:{port}/v1/models")),
        patience: Duration::from_secs(30),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::draw;
    use crate::plan::tests::{data, request};

    fn groups(pairs: &[(&str, &str)]) -> Vec<String> {
        let (_directory, data) = data();
        let plan = draw(&request(pairs), &data).unwrap();
        let configuration = models(&plan).unwrap();
        assert!(!configuration.to_string().contains("secret"), "{configuration}");
        let groups = configuration["model_list"].as_array().unwrap();
        groups.iter().map(|group| group["model_name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_demo_is_always_served_and_providers_when_there_is_a_key() {
        assert_eq!(groups(&[]), ["demo"]);
        let with_keys = [("ANTHROPIC_API_KEY", "secret"), ("GEMINI_API_KEY", "secret")];
        assert_eq!(groups(&with_keys), ["demo", "anthropic/*", "claude-*", "gemini/*", "gemini-*"]);
    }
}
