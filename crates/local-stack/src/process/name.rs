//! The names of the stack's processes, as logs, pid files and commands spell them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::StackError;

/// What a process is. In the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Postgres,
    /// Erlang's name server, private to one stack's RabbitMQ.
    Epmd,
    Rabbitmq,
    ScriptedModel,
    Litellm,
    ApiGateway,
    SessionService,
    SandboxService,
    VaultProxy,
    Worker,
}

impl Part {
    pub const ALL: [Self; 10] = [
        Self::Postgres,
        Self::Epmd,
        Self::Rabbitmq,
        Self::ScriptedModel,
        Self::Litellm,
        Self::ApiGateway,
        Self::SessionService,
        Self::SandboxService,
        Self::VaultProxy,
        Self::Worker,
    ];

    /// The platform's own services, which may have replicas.
    pub const SERVICES: [Self; 5] = [
        Self::ApiGateway,
        Self::SessionService,
        Self::SandboxService,
        Self::VaultProxy,
        Self::Worker,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Epmd => "epmd",
            Self::Rabbitmq => "rabbitmq",
            Self::ScriptedModel => "scripted-model",
            Self::Litellm => "litellm",
            Self::ApiGateway => "api-gateway",
            Self::SessionService => "session-service",
            Self::SandboxService => "sandbox-service",
            Self::VaultProxy => "vault-proxy",
            Self::Worker => "worker",
        }
    }

    pub fn is_service(self) -> bool {
        Self::SERVICES.contains(&self)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Part {
    type Err = StackError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|part| part.as_str() == text);
        found.ok_or_else(|| StackError::UnknownProcess(text.to_owned()))
    }
}

/// A part and which replica of it: `session-service`, `session-service-2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ProcessName {
    part: Part,
    replica: u32,
}

impl ProcessName {
    /// Replicas count from 1. Only the platform's own services have more than one.
    pub fn replica(part: Part, replica: u32) -> Result<Self, StackError> {
        let exists = replica == 1 || (replica > 1 && part.is_service());
        let unknown = || StackError::UnknownProcess(format!("{part}-{replica}"));
        exists.then_some(Self { part, replica }).ok_or_else(unknown)
    }

    pub fn part(self) -> Part {
        self.part
    }

    pub fn is_first(self) -> bool {
        self.replica == 1
    }
}

impl From<Part> for ProcessName {
    fn from(part: Part) -> Self {
        Self { part, replica: 1 }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_first() {
            formatter.pad(self.part.as_str())
        } else {
            formatter.pad(&format!("{}-{}", self.part, self.replica))
        }
    }
}

impl FromStr for ProcessName {
    type Err = StackError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(part) = text.parse::<Part>() {
            return Ok(Self::from(part));
        }
        let unknown = || StackError::UnknownProcess(text.to_owned());
        let (part, replica) = text.rsplit_once('-').ok_or_else(unknown)?;
        Self::replica(part.parse()?, replica.parse().map_err(|_| unknown())?)
    }
}

impl From<ProcessName> for String {
    fn from(name: ProcessName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ProcessName {
    type Error = StackError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for part in Part::ALL {
            assert_eq!(part.to_string().parse::<ProcessName>().unwrap(), ProcessName::from(part));
        }
        let second = ProcessName::replica(Part::SessionService, 2).unwrap();
        assert_eq!(second.to_string(), "session-service-2");
        assert_eq!("session-service-2".parse::<ProcessName>().unwrap(), second);
    }

    #[test]
    fn what_is_no_process_is_refused() {
        for text in ["session", "session-service-0", "postgres-2", "-", ""] {
            assert!(text.parse::<ProcessName>().is_err(), "{text:?}");
        }
    }
}
