//! Fills the words of a manifest: `{{model}}` and its like. A value that is put in is never read for words again.

use platform_core::harness::Manifest;
use serde_json::Value;

use super::{Launch, Places};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{{{{{0}}}}} is no word that a manifest may use")]
pub(in crate::supervise) struct UnknownWord(String);

pub(super) struct Words<'launch> {
    pub(super) launch: &'launch Launch,
    pub(super) places: &'launch Places,
}

impl Words<'_> {
    pub(super) fn fill(&self, text: &str) -> Result<String, UnknownWord> {
        fill(text, &|word| self.value(word))
    }

    fn value(&self, word: &str) -> Result<Option<String>, UnknownWord> {
        let Launch { manifest, model, models, system, .. } = self.launch;
        Ok(match word {
            "gateway_url" => Some(self.places.gateway_url.clone()),
            "home" => Some(self.places.home.to_string_lossy().into_owned()),
            "workspace" => Some(self.places.workspace.to_string_lossy().into_owned()),
            "system" => Some(system.clone()),
            "models_json" => Some(Value::from(models.as_slice()).to_string()),
            "model_entries" => {
                let own = (!models.contains(model)).then_some(model);
                let entry = manifest.model_entry.as_deref().unwrap_or_default();
                let entries = models.iter().chain(own);
                let entries =
                    entries.map(|model| fill(entry, &|word| model_word(manifest, model, word)));
                Some(entries.collect::<Result<Vec<_>, _>>()?.join(","))
            }
            other => model_word(manifest, model, other)?,
        })
    }
}

/// A model as the harness names it.
pub(super) fn model_name(manifest: &Manifest, model: &str) -> Result<String, UnknownWord> {
    let template = manifest.model_name.as_deref().unwrap_or("{{model}}");
    fill(template, &|word| Ok((word == "model").then(|| model.to_owned())))
}

fn model_word(manifest: &Manifest, model: &str, word: &str) -> Result<Option<String>, UnknownWord> {
    match word {
        "model" => Ok(Some(model.to_owned())),
        "model_name" => model_name(manifest, model).map(Some),
        _ => Ok(None),
    }
}

/// Replaces each `{{word}}` by its value; `{{word_json}}` by the value quoted and escaped, unless there is a word of that very name.
fn fill(
    text: &str,
    value: &dyn Fn(&str) -> Result<Option<String>, UnknownWord>,
) -> Result<String, UnknownWord> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let Some((word, after)) = leading_word(from) else {
            // A brace of the text itself, perhaps in front of a word.
            filled.push('{');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        if let Some(plain) = value(word)? {
            filled.push_str(&plain);
        } else {
            let plain = word.strip_suffix("_json").map(value).transpose()?.flatten();
            let plain = plain.ok_or_else(|| UnknownWord(word.to_owned()))?;
            filled.push_str(&Value::from(plain).to_string());
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The word that the text starts with, and what comes after it.
fn leading_word(text: &str) -> Option<(&str, &str)> {
    let (word, after) = text.strip_prefix("{{")?.split_once("}}")?;
    let is_word =
        !word.is_empty() && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    is_word.then_some((word, after))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::supervise::policy::Policy;

    pub(in crate::supervise::harness) fn opencode() -> Launch {
        let manifest = include_str!("../../../../../harnesses/opencode/harness.toml");
        Launch {
            manifest: toml::from_str(manifest).unwrap(),
            model: "claude \"new\"".to_owned(),
            models: vec!["demo".to_owned()],
            system: "say {{home}}".to_owned(),
            policy: Policy::default(),
            environment: BTreeMap::new(),
        }
    }

    pub(in crate::supervise::harness) fn places() -> Places {
        Places {
            home: PathBuf::from("/home/agent"),
            workspace: PathBuf::from("/workspace"),
            harness: PathBuf::from("/opt/harness"),
            gateway_url: "http://127.0.0.1:4000".to_owned(),
        }
    }

    #[test]
    fn a_value_is_put_in_as_it_is_and_not_read_for_words() {
        let (launch, places) = (opencode(), places());
        let words = Words { launch: &launch, places: &places };
        assert_eq!(words.fill("{{system}}!").unwrap(), "say {{home}}!");
        assert_eq!(words.fill("{{{system_json}}}").unwrap(), r#"{"say {{home}}"}"#);
        assert_eq!(words.fill("{\"a\": {}} {{ x }}").unwrap(), "{\"a\": {}} {{ x }}");
    }

    #[test]
    fn a_word_that_does_not_exist_is_an_error() {
        let (launch, places) = (opencode(), places());
        let words = Words { launch: &launch, places: &places };
        let unknown = words.fill("{{secret}}").unwrap_err();
        assert_eq!(unknown.to_string(), "{{secret}} is no word that a manifest may use");
    }
}
