//! Credentials as requests write them: values come in, and never go out again.

mod change;
mod check;
mod refresh;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::credential::{CredentialAuth, CredentialNetworking, InjectionLocation};
use crate::secret_text::{NewSecret, SecretText};
use crate::variable::{check_name, parse_hosts};
use crate::wire::{Change, InvalidField, MetadataPatch};

pub use refresh::{RefreshDraft, RefreshPatch, TokenEndpointAuthDraft};

use change::Secrets;

/// The body of a request that creates a credential.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CredentialDraft {
    pub auth: AuthDraft,
    #[serde(default)]
    pub display_name: Option<String>,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthDraft {
    EnvironmentVariable {
        secret_name: String,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        secret_value: SecretText,
        networking: NetworkingDraft,
        #[serde(default)]
        injection_location: Option<InjectionDraft>,
    },
    StaticBearer {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        token: SecretText,
        mcp_server_url: String,
    },
    McpOauth {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        access_token: SecretText,
        mcp_server_url: String,
        #[serde(default)]
        expires_at: Option<DateTime<Utc>>,
        #[serde(default)]
        refresh: Option<RefreshDraft>,
    },
}

/// The body of a request that changes a credential. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CredentialPatch {
    /// Of the stored type.
    #[serde(default)]
    pub auth: Option<AuthPatch>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub display_name: Change<String>,
    /// By key: a text sets, `null` deletes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Option<String>>>))]
    pub metadata: Option<MetadataPatch>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuthPatch {
    EnvironmentVariable {
        /// Cannot be changed.
        #[serde(default)]
        secret_name: Option<String>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        secret_value: Option<SecretText>,
        #[serde(default)]
        networking: Option<NetworkingDraft>,
        #[serde(default)]
        injection_location: Option<InjectionDraft>,
    },
    StaticBearer {
        /// Cannot be changed.
        #[serde(default)]
        mcp_server_url: Option<String>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        token: Option<SecretText>,
    },
    McpOauth {
        /// Cannot be changed.
        #[serde(default)]
        mcp_server_url: Option<String>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        access_token: Option<SecretText>,
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<DateTime<Utc>>))]
        expires_at: Change<DateTime<Utc>>,
        #[serde(default)]
        refresh: Option<RefreshPatch>,
    },
}

/// On which hosts a value may be used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = CredentialNetworkingDraft))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkingDraft {
    Unrestricted {},
    /// Host names, IPv4 addresses and `*.example.com`, at most 16; `:port` behind them is ours.
    Limited {
        allowed_hosts: Vec<String>,
    },
}

/// Where in a request the placeholder is replaced. `query` and `basic` (Basic authorization) are ours; `basic` follows `header`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InjectionDraft {
    #[serde(default)]
    header: Option<bool>,
    #[serde(default)]
    body: Option<bool>,
    #[serde(default)]
    query: Option<bool>,
    #[serde(default)]
    basic: Option<bool>,
}

/// What a credential is after a request, and the values that it brought.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedAuth {
    pub auth: CredentialAuth,
    pub new_secrets: Vec<NewSecret>,
}

impl NetworkingDraft {
    fn resolve(self) -> Result<CredentialNetworking, InvalidField> {
        Ok(match self {
            Self::Unrestricted {} => CredentialNetworking::Unrestricted,
            Self::Limited { allowed_hosts } => {
                let field = "auth.networking.allowed_hosts";
                CredentialNetworking::Limited { allowed_hosts: parse_hosts(field, &allowed_hosts)? }
            }
        })
    }
}

impl InjectionDraft {
    fn apply_to(self, before: InjectionLocation) -> Result<InjectionLocation, InvalidField> {
        let after = InjectionLocation {
            header: self.header.unwrap_or(before.header),
            body: self.body.unwrap_or(before.body),
            query: self.query.unwrap_or(before.query),
            // Who knows only the wire format's keys means every header.
            basic: self.basic.or(self.header).unwrap_or(before.basic),
        };
        if !(after.header || after.body || after.query || after.basic) {
            let problem = "one of header, body, query and basic has to stay true";
            return Err(InvalidField::new("auth.injection_location", problem));
        }
        Ok(after)
    }
}

impl AuthDraft {
    /// The credential as it is stored. `display_name` is what its value is called where it is taken out of a text.
    pub fn resolve(
        self,
        display_name: Option<&str>,
        now: DateTime<Utc>,
        new_id: impl FnMut(&str) -> crate::id::SecretId,
    ) -> Result<ChangedAuth, InvalidField> {
        let mut secrets = Secrets::new(new_id);
        let auth = match self {
            Self::EnvironmentVariable {
                secret_name,
                secret_value,
                networking,
                injection_location,
            } => {
                check_name("auth.secret_name", &secret_name)?;
                let location = injection_location.unwrap_or_default();
                let injection_location = location.apply_to(InjectionLocation::default())?;
                check::value(&secret_value, injection_location)?;
                CredentialAuth::EnvironmentVariable {
                    secret_value: secrets.add(&secret_name, secret_value),
                    secret_name,
                    networking: networking.resolve()?,
                    injection_location,
                }
            }
            Self::StaticBearer { token, mcp_server_url } => {
                token.check_for_bearer("auth.token")?;
                check::url("auth.mcp_server_url", &mcp_server_url)?;
                let token = secrets.add(display_name.unwrap_or("token"), token);
                CredentialAuth::StaticBearer { token, mcp_server_url }
            }
            Self::McpOauth { access_token, mcp_server_url, expires_at, refresh } => {
                access_token.check_for_bearer("auth.access_token")?;
                check::url("auth.mcp_server_url", &mcp_server_url)?;
                check::future("auth.expires_at", expires_at, now)?;
                let access_token = secrets.add(display_name.unwrap_or("token"), access_token);
                let refresh = refresh.map(|draft| draft.resolve(&mut secrets)).transpose()?;
                CredentialAuth::McpOauth { access_token, mcp_server_url, expires_at, refresh }
            }
        };
        Ok(ChangedAuth { auth, new_secrets: secrets.finish() })
    }
}

#[cfg(test)]
mod tests;
