//! Descriptions for OpenAPI of what serde reads by hand.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::agent::{AgentReferenceBody, ModelDraft};
use crate::id::{Id, Named};
use crate::variable::VariableBody;

/// A model's name, or the model in full.
#[derive(ToSchema)]
#[schema(as = TextOrModel)]
#[serde(untagged)]
pub enum TextOrModel {
    Name(String),
    Model(ModelDraft),
}

/// An agent's id, or the reference in full.
#[derive(ToSchema)]
#[schema(as = TextOrAgentReference)]
#[serde(untagged)]
pub enum TextOrAgentReference {
    Id(String),
    Reference(AgentReferenceBody),
}

/// A variable's value, or the variable in full; in a change `null` takes it away.
#[derive(ToSchema)]
#[schema(as = TextOrVariable)]
#[serde(untagged)]
pub enum TextOrVariable {
    Value(String),
    Variable(VariableBody),
    Nothing,
}

impl<T: Named> PartialSchema for Id<T> {
    fn schema() -> RefOr<Schema> {
        let example = format!("{}_01935a7e7c1b7e2a8f000123456789ab", T::PREFIX);
        ObjectBuilder::new().schema_type(Type::String).examples([example]).into()
    }
}

impl<T: Named> ToSchema for Id<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}_id", T::PREFIX))
    }
}
