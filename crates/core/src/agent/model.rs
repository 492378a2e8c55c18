//! The model of an agent, short and in full.

use serde::{Deserialize, Serialize};

use crate::wire::{InvalidField, TextOr, check_length};

const EFFORT_LEVELS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
const SPEEDS: [&str; 2] = ["standard", "fast"];

/// A model as LiteLLM names it, with the wish for effort that the wire format always answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    pub id: String,
    #[serde(default = "Effort::high")]
    pub effort: Effort,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Effort {
    #[serde(rename = "type")]
    pub level: String,
}

impl Effort {
    pub fn high() -> Self {
        Self { level: "high".to_owned() }
    }
}

/// A model as a request names it, when it is not just the name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelDraft {
    pub id: String,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Effort>))]
    pub effort: Option<TextOr<Effort>>,
    #[serde(default)]
    pub speed: Option<String>,
    #[serde(default)]
    pub inference_geo: Option<String>,
}

impl Model {
    /// Reads a request's model. An effort that is not named keeps that of `before`; without one it is `high`.
    pub fn resolve(
        draft: TextOr<ModelDraft>,
        before: Option<&Model>,
    ) -> Result<Self, InvalidField> {
        let draft = match draft {
            TextOr::Text(id) => ModelDraft { id, effort: None, speed: None, inference_geo: None },
            TextOr::Full(draft) => draft,
        };
        check_length("model", &draft.id, 1, 255)?;
        let effort = match draft.effort {
            Some(TextOr::Text(level)) => Effort { level },
            Some(TextOr::Full(effort)) => effort,
            None => before.map_or_else(Effort::high, |model| model.effort.clone()),
        };
        one_of("model.effort", &effort.level, &EFFORT_LEVELS)?;
        if let Some(speed) = &draft.speed {
            one_of("model.speed", speed, &SPEEDS)?;
        }
        let ModelDraft { id, speed, inference_geo, .. } = draft;
        Ok(Self { id, effort, speed, inference_geo })
    }
}

fn one_of(field: &str, word: &str, words: &[&str]) -> Result<(), InvalidField> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(InvalidField::new(field, format!("{word:?} is none of {}", words.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Model, InvalidField> {
        Model::resolve(serde_json::from_str(text).unwrap(), None)
    }

    #[test]
    fn a_name_alone_stands_for_the_model_with_high_effort() {
        let model = read(r#""demo""#).unwrap();
        assert_eq!(
            serde_json::to_string(&model).unwrap(),
            r#"{"id":"demo","effort":{"type":"high"}}"#
        );
    }

    #[test]
    fn an_effort_may_be_a_word_and_is_answered_as_an_object() {
        let model = read(r#"{"id":"demo","effort":"low"}"#).unwrap();
        assert_eq!(model.effort.level, "low");
        assert_eq!(read(r#"{"id":"demo","effort":"huge"}"#).unwrap_err().field, "model.effort");
    }

    #[test]
    fn an_update_without_effort_keeps_it() {
        let before = read(r#"{"id":"demo","effort":"low"}"#).unwrap();
        let after = Model::resolve(TextOr::Text("other".to_owned()), Some(&before)).unwrap();
        assert_eq!((after.id.as_str(), after.effort.level.as_str()), ("other", "low"));
    }
}
