//! What must not leave: a placeholder or a planted value where it does not belong.

use platform_core::egress::{Alarm, AlarmKind};

/// A request is not sent. Says which value was where, never the value itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    #[error(
        "the placeholder of {name} was sent to {host}, or in a place, where its credential may not be used; {name} is replaced only on \
         its own hosts, over TLS, and in the places that its credential names"
    )]
    Placeholder { name: String, host: String },
    #[error(
        "a placeholder of another session was sent to {host}; a session's placeholders are of use to itself alone, and each session has its \
         own in its variables"
    )]
    Foreign { host: String },
    /// No alarm: it came with the files that the fork was given.
    #[error(
        "a placeholder of the session that this one was forked from was sent to {host}; it is of no use here, and the variable of the same \
         name has this session's own"
    )]
    Inherited { host: String },
    #[error("a planted value that nobody may use was sent to {host}")]
    HoneyValue { host: String },
    /// No alarm: whoever set up the credentials has to choose.
    #[error(
        "more than one credential for {name} may be used on {host}, so none is; archive all but one of them"
    )]
    Ambiguous { name: String, host: String },
    #[error(
        "the value of {name} has characters that this part of a request to {host} may not hold"
    )]
    Unfit { name: String, host: String },
}

impl Misuse {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Placeholder { .. } => "placeholder_misused",
            Self::Foreign { .. } => "foreign_placeholder",
            Self::Inherited { .. } => "inherited_placeholder",
            Self::HoneyValue { .. } => "honey_value",
            Self::Ambiguous { .. } => "ambiguous_credential",
            Self::Unfit { .. } => "unfit_credential",
        }
    }

    /// What the session is told, if it is more than a mistake in the settings.
    pub fn alarm(&self) -> Option<Alarm> {
        let (kind, host) = match self {
            Self::Placeholder { host, .. } | Self::Foreign { host } => {
                (AlarmKind::PlaceholderMisused, host)
            }
            Self::HoneyValue { host } => (AlarmKind::HoneyValueSeen, host),
            Self::Inherited { .. } | Self::Ambiguous { .. } | Self::Unfit { .. } => return None,
        };
        Some(Alarm { kind, message: self.to_string(), host: Some(host.clone()) })
    }
}
