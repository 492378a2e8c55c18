//! Shapes that recur all over the wire format, and what is said when a value does not have them.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::failure::{Failure, FailureKind};

/// A value that has the right type and still cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// Where it stands, e.g. `tools[0].configs[1].name`.
    pub field: String,
    /// A sentence a person can act on.
    pub problem: String,
}

impl InvalidField {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same fault, seen from one level further out.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), problem: self.problem }
    }
}

impl Failure for InvalidField {
    fn kind(&self) -> FailureKind {
        FailureKind::Invalid
    }
}

/// What an update says about one field: absent keeps it, `null` clears it, a value sets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    /// The field's new value, given the old one.
    pub fn apply_to(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl Change<String> {
    /// For text fields that an empty text clears as well.
    #[must_use]
    pub fn empty_clears(self) -> Self {
        match self {
            Self::Set(text) if text.is_empty() => Self::Clear,
            Self::Keep | Self::Clear | Self::Set(_) => self,
        }
    }
}

impl<T: Default> Change<T> {
    /// For lists and maps, where clearing means emptying.
    pub fn or_default(self, old: T) -> T {
        match self {
            Self::Keep => old,
            Self::Clear => T::default(),
            Self::Set(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// A value that may be abbreviated to a text: `"high"` for `{"type":"high"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOr<T> {
    Text(String),
    Full(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or the full form")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Full)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(sequence)).map(TextOr::Full)
    }
}

/// Most pairs that metadata may have.
pub const MAX_METADATA_PAIRS: usize = 16;

/// A change to metadata: by key, `None` deletes.
pub type MetadataPatch = BTreeMap<String, Option<String>>;

/// Applies a patch, and checks what comes out of it.
pub fn patch_metadata(
    mut metadata: BTreeMap<String, String>,
    patch: MetadataPatch,
) -> Result<BTreeMap<String, String>, InvalidField> {
    for (key, value) in patch {
        match value {
            Some(value) => metadata.insert(key, value),
            None => metadata.remove(&key),
        };
    }
    check_metadata(&metadata)?;
    Ok(metadata)
}

/// Metadata has at most 16 pairs, keys of up to 64 and values of up to 512 characters.
pub fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), InvalidField> {
    if metadata.len() > MAX_METADATA_PAIRS {
        return Err(InvalidField::new("metadata", "at most 16 pairs are allowed"));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.chars().count() > 64 {
            return Err(InvalidField::new("metadata", "a key has 1 to 64 characters"));
        }
        if value.chars().count() > 512 {
            let field = format!("metadata.{key}");
            return Err(InvalidField::new(field, "a value has at most 512 characters"));
        }
    }
    Ok(())
}

/// A text with a least and a greatest number of characters.
pub fn check_length(
    field: &str,
    text: &str,
    least: usize,
    most: usize,
) -> Result<(), InvalidField> {
    let length = text.chars().count();
    if (least..=most).contains(&length) {
        return Ok(());
    }
    let problem = if least == 0 {
        format!("at most {most} characters are allowed, {length} were sent")
    } else {
        format!("{least} to {most} characters are needed, {length} were sent")
    };
    Err(InvalidField::new(field, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        title: Change<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_three_different_changes() {
        let read = |text: &str| serde_json::from_str::<Sample>(text).unwrap().title;
        assert_eq!(read("{}"), Change::Keep);
        assert_eq!(read(r#"{"title":null}"#), Change::Clear);
        assert_eq!(read(r#"{"title":"x"}"#), Change::Set("x".to_owned()));
    }

    #[test]
    fn metadata_over_its_limits_is_refused_with_the_place() {
        let long = BTreeMap::from([("k".to_owned(), "v".repeat(513))]);
        assert_eq!(check_metadata(&long).unwrap_err().field, "metadata.k");
        let many = (0..17).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_metadata(&many).is_err());
    }
}
