//! A change to a credential that is stored.

use chrono::{DateTime, Utc};

use super::{AuthPatch, ChangedAuth, check};
use crate::credential::CredentialAuth;
use crate::id::SecretId;
use crate::secret_text::{NewSecret, SecretText};
use crate::wire::{Change, InvalidField};

/// The values that a request brings.
pub(super) struct Secrets<'a> {
    new_id: Box<dyn FnMut(&str) -> SecretId + 'a>,
    new: Vec<NewSecret>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(new_id: impl FnMut(&str) -> SecretId + 'a) -> Self {
        Self { new_id: Box::new(new_id), new: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, value: SecretText) -> SecretId {
        let id = (self.new_id)(name);
        self.new.push(NewSecret { id, name: name.to_owned(), value });
        id
    }

    pub(super) fn finish(self) -> Vec<NewSecret> {
        self.new
    }
}

impl AuthPatch {
    /// The credential after the change. `display_name` is what its value is called where it is taken out of a text.
    pub fn apply_to(
        self,
        before: CredentialAuth,
        display_name: Option<&str>,
        now: DateTime<Utc>,
        new_id: impl FnMut(&str) -> SecretId,
    ) -> Result<ChangedAuth, InvalidField> {
        let mut secrets = Secrets::new(new_id);
        let token_name = display_name.unwrap_or("token");
        let auth = match (self, before) {
            (
                Self::EnvironmentVariable {
                    secret_name: named,
                    secret_value: new,
                    networking,
                    injection_location,
                },
                CredentialAuth::EnvironmentVariable {
                    secret_name,
                    secret_value,
                    networking: networking_before,
                    injection_location: location_before,
                },
            ) => {
                stays("auth.secret_name", named, &secret_name)?;
                let location = injection_location.unwrap_or_default().apply_to(location_before)?;
                if let Some(value) = &new {
                    check::value(value, location)?;
                }
                CredentialAuth::EnvironmentVariable {
                    secret_value: new
                        .map_or(secret_value, |value| secrets.add(&secret_name, value)),
                    secret_name,
                    networking: match networking {
                        Some(draft) => draft.resolve()?,
                        None => networking_before,
                    },
                    injection_location: location,
                }
            }
            (
                Self::StaticBearer { mcp_server_url: named, token: new },
                CredentialAuth::StaticBearer { token, mcp_server_url },
            ) => {
                stays("auth.mcp_server_url", named, &mcp_server_url)?;
                if let Some(token) = &new {
                    token.check_for_bearer("auth.token")?;
                }
                let token = new.map_or(token, |value| secrets.add(token_name, value));
                CredentialAuth::StaticBearer { token, mcp_server_url }
            }
            (
                Self::McpOauth { mcp_server_url: named, access_token: new, expires_at, refresh },
                CredentialAuth::McpOauth {
                    access_token,
                    mcp_server_url,
                    expires_at: expires_before,
                    refresh: refresh_before,
                },
            ) => {
                stays("auth.mcp_server_url", named, &mcp_server_url)?;
                if let Some(token) = &new {
                    token.check_for_bearer("auth.access_token")?;
                }
                if let Change::Set(time) = expires_at {
                    check::future("auth.expires_at", Some(time), now)?;
                }
                let refresh = match (refresh, refresh_before) {
                    (None, before) => before,
                    (Some(patch), Some(before)) => Some(patch.apply_to(before, &mut secrets)?),
                    (Some(_), None) => {
                        let problem = "can be given only when the credential is created";
                        return Err(InvalidField::new("auth.refresh", problem));
                    }
                };
                CredentialAuth::McpOauth {
                    access_token: new.map_or(access_token, |value| secrets.add(token_name, value)),
                    mcp_server_url,
                    expires_at: expires_at.apply_to(expires_before),
                    refresh,
                }
            }
            (
                Self::EnvironmentVariable { .. }
                | Self::StaticBearer { .. }
                | Self::McpOauth { .. },
                before,
            ) => {
                let problem = format!("the credential is and stays of type {}", before.type_name());
                return Err(InvalidField::new("auth.type", problem));
            }
        };
        Ok(ChangedAuth { auth, new_secrets: secrets.finish() })
    }
}

fn stays(field: &str, named: Option<String>, stored: &str) -> Result<(), InvalidField> {
    match named {
        Some(named) if named != stored => {
            let problem = "cannot be changed; create another credential";
            Err(InvalidField::new(field, problem))
        }
        Some(_) | None => Ok(()),
    }
}
