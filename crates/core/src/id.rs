//! Typed identifiers: a UUID inside, `<prefix>_<32 hex digits>` outside.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::IdSource;

/// What an identifier names.
pub trait Named {
    /// Comes before the underscore in the shown form.
    const PREFIX: &'static str;
}

/// The identifier of one `T`. Shown with the prefix of `T`; read with it or as a bare UUID.
pub struct Id<T> {
    uuid: Uuid,
    names: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, names: PhantomData }
    }

    pub fn mint(source: &dyn IdSource) -> Self {
        Self::from_uuid(source.uuid())
    }

    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

/// The text is neither a UUID nor a UUID behind the prefix of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of the form {prefix}_… or a UUID")]
pub struct InvalidId {
    text: String,
    prefix: &'static str,
}

impl<T: Named> FromStr for Id<T> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bare =
            text.strip_prefix(T::PREFIX).and_then(|rest| rest.strip_prefix('_')).unwrap_or(text);
        match Uuid::try_parse(bare) {
            Ok(uuid) if bare.len() == 32 || bare.len() == 36 => Ok(Self::from_uuid(uuid)),
            Ok(_) | Err(_) => {
                let text = text.chars().take(80).collect();
                Err(InvalidId { text, prefix: T::PREFIX })
            }
        }
    }
}

impl<T: Named> fmt::Display for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", T::PREFIX, self.uuid.simple())
    }
}

impl<T: Named> fmt::Debug for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<T: Named> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Named> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

/// Names a [`TeamId`].
pub enum Team {}
/// Names an [`ApiKeyId`].
pub enum ApiKey {}
/// Names an [`AgentId`].
pub enum Agent {}
/// Names an [`EnvironmentId`].
pub enum Environment {}
/// Names a [`SessionId`].
pub enum Session {}
/// Names an [`EventId`].
pub enum Event {}
/// Names a [`TurnId`].
pub enum Turn {}
/// Names a [`SandboxId`].
pub enum Sandbox {}
/// Names a [`CommandId`].
pub enum Command {}
/// Names a [`VaultId`].
pub enum Vault {}
/// Names a [`CredentialId`].
pub enum Credential {}
/// Names a [`SecretId`].
pub enum Secret {}
/// Names an [`EgressDecisionId`].
pub enum EgressDecision {}

pub type TeamId = Id<Team>;
pub type ApiKeyId = Id<ApiKey>;
pub type AgentId = Id<Agent>;
pub type EnvironmentId = Id<Environment>;
pub type SessionId = Id<Session>;
pub type EventId = Id<Event>;
pub type TurnId = Id<Turn>;
pub type SandboxId = Id<Sandbox>;
pub type CommandId = Id<Command>;
pub type VaultId = Id<Vault>;
pub type CredentialId = Id<Credential>;
/// A value that lies sealed in a table of its own.
pub type SecretId = Id<Secret>;
pub type EgressDecisionId = Id<EgressDecision>;

impl Named for Team {
    const PREFIX: &'static str = "team";
}
impl Named for ApiKey {
    const PREFIX: &'static str = "apikey";
}
impl Named for Agent {
    const PREFIX: &'static str = "agent";
}
impl Named for Environment {
    const PREFIX: &'static str = "env";
}
impl Named for Session {
    const PREFIX: &'static str = "sesn";
}
impl Named for Event {
    const PREFIX: &'static str = "sevt";
}
impl Named for Turn {
    const PREFIX: &'static str = "turn";
}
impl Named for Sandbox {
    const PREFIX: &'static str = "sbx";
}
impl Named for Command {
    const PREFIX: &'static str = "cmd";
}
impl Named for Vault {
    const PREFIX: &'static str = "vlt";
}
impl Named for Credential {
    const PREFIX: &'static str = "vcrd";
}
impl Named for Secret {
    const PREFIX: &'static str = "secret";
}
impl Named for EgressDecision {
    const PREFIX: &'static str = "egr";
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "01935a7e-7c1b-7e2a-8f00-0123456789ab";

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id: SessionId = BARE.parse().unwrap();
        assert_eq!(id.to_string(), "sesn_01935a7e7c1b7e2a8f000123456789ab");
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id: SessionId = BARE.parse().unwrap();
        assert!(id.to_string().parse::<AgentId>().is_err());
        assert!("".parse::<AgentId>().is_err());
        assert!("{01935a7e-7c1b-7e2a-8f00-0123456789ab}".parse::<AgentId>().is_err());
    }
}
