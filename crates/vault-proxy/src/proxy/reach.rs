//! Why a host could not be reached, and what is said about it.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;
use platform_core::egress::Verdict;
use platform_core::network::{AddressClass, Host};

use crate::refusal::Refusal;

/// A host could not be reached, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("the name {name} cannot be resolved")]
    NotResolved { name: String, source: Option<io::Error> },
    #[error("{host} has no public address: it is {}", class.as_words())]
    NotPublic { host: Host, port: u16, class: AddressClass },
    #[error("{host}:{port} does not take connections")]
    Unreachable { host: Host, port: u16, source: io::Error },
    #[error("{host}:{port} did not take a connection in time")]
    TimedOut { host: Host, port: u16 },
    #[error(
        "this sandbox has {most} connections open, which is as many as it may have; close some"
    )]
    TooMany { most: usize },
    #[error("{host} could not prove who it is")]
    Certificate { host: Host, source: rustls::Error },
    #[error("no TLS connection to {host} came about")]
    Tls { host: Host, source: io::Error },
}

impl ReachError {
    /// Finds it among the causes of another error.
    pub fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(inner) = cause {
            if let Some(found) = inner.downcast_ref() {
                return Some(found);
            }
            cause = inner.source();
        }
        None
    }

    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NotPublic { .. } => Verdict::Denied,
            Self::NotResolved { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::TooMany { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. } => Verdict::Failed,
        }
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotResolved { .. } => "name_not_resolved",
            Self::NotPublic { class: AddressClass::Metadata, .. } => "metadata_address",
            Self::NotPublic { .. } => "address_not_public",
            Self::Unreachable { .. } => "host_unreachable",
            Self::TimedOut { .. } => "host_timed_out",
            Self::TooMany { .. } => "too_many_connections",
            Self::Certificate { .. } => "certificate_not_valid",
            Self::Tls { .. } => "tls_failed",
        }
    }

    pub fn to_refusal(&self) -> Refusal {
        let message = self.to_string();
        let refuse = |status| Refusal::new(status, self.code(), message.clone());
        let because = |cause: &dyn fmt::Display| {
            Refusal::new(StatusCode::BAD_GATEWAY, self.code(), format!("{message}: {cause}"))
        };
        match self {
            Self::NotResolved { .. } => refuse(StatusCode::BAD_GATEWAY),
            Self::NotPublic { class: AddressClass::Metadata, .. } => refuse(StatusCode::FORBIDDEN)
                .with_remedy("nothing allows it: no sandbox reaches a metadata service"),
            Self::NotPublic { host, port, .. } => {
                let named = named(host, *port);
                refuse(StatusCode::FORBIDDEN).with_remedy(format!(
                    "internal_hosts with \"{named}\" in the team's settings would allow it"
                ))
            }
            Self::Unreachable { source, .. } => because(&source.kind()),
            Self::TimedOut { .. } => refuse(StatusCode::GATEWAY_TIMEOUT),
            Self::TooMany { .. } => refuse(StatusCode::SERVICE_UNAVAILABLE),
            Self::Certificate { source, .. } => because(source).with_remedy(
                "a certificate of a private authority is trusted once LAP__EGRESS__EXTRA_CA_FILE names that authority",
            ),
            Self::Tls { source, .. } => because(source),
        }
    }
}

/// As a rule would name it: the web's own ports go without saying.
pub fn named(host: &Host, port: u16) -> String {
    if [80, 443].contains(&port) { host.to_string() } else { format!("{host}:{port}") }
}
