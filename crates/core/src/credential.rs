//! Vaults, and the credentials in them: which secret may be used where.

mod draft;
mod vault;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{CredentialId, SecretId, TeamId, VaultId};
use crate::network::HostPattern;

pub use draft::{
    AuthDraft, AuthPatch, ChangedAuth, CredentialDraft, CredentialPatch, InjectionDraft,
    NetworkingDraft, RefreshDraft, RefreshPatch, TokenEndpointAuthDraft,
};
pub use vault::{VaultDraft, VaultPatch};

/// A named set of credentials, which a session is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    pub id: VaultId,
    pub team_id: TeamId,
    pub display_name: String,
    pub metadata: BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub id: CredentialId,
    pub team_id: TeamId,
    pub vault_id: VaultId,
    pub display_name: Option<String>,
    pub auth: CredentialAuth,
    pub metadata: BTreeMap<String, String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

/// What a credential is, as it is stored. Values lie sealed in a table of their own and are named by id, so that nothing that holds a
/// `CredentialAuth` holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialAuth {
    /// The sandbox gets a variable with a placeholder, which is replaced on the way out.
    EnvironmentVariable {
        secret_name: String,
        secret_value: SecretId,
        networking: CredentialNetworking,
        injection_location: InjectionLocation,
    },
    /// Put into requests to an MCP server; nothing of it is in the sandbox.
    StaticBearer { token: SecretId, mcp_server_url: String },
    /// As `StaticBearer`, with a token that is renewed before it expires.
    McpOauth {
        access_token: SecretId,
        mcp_server_url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh: Option<OauthRefresh>,
    },
}

/// On which hosts a value may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialNetworking {
    /// On every host that the environment's networking allows.
    Unrestricted,
    Limited {
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        allowed_hosts: Vec<HostPattern>,
    },
}

/// Where in a request a placeholder is replaced. `query` and `basic` are ours.
#[expect(clippy::struct_excessive_bools, reason = "the wire format says each place by itself")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InjectionLocation {
    pub header: bool,
    pub body: bool,
    /// In the query of the URL.
    #[serde(default)]
    pub query: bool,
    /// In the name or password of Basic authorization, as git sends it.
    #[serde(default = "yes")]
    pub basic: bool,
}

const fn yes() -> bool {
    true
}

impl Default for InjectionLocation {
    fn default() -> Self {
        Self { header: true, body: false, query: false, basic: true }
    }
}

/// How a token is renewed (RFC 6749 §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthRefresh {
    pub client_id: String,
    pub refresh_token: SecretId,
    pub token_endpoint: String,
    pub token_endpoint_auth: TokenEndpointAuth,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenEndpointAuth {
    None,
    ClientSecretBasic { client_secret: SecretId },
    ClientSecretPost { client_secret: SecretId },
}

impl CredentialAuth {
    /// As the wire format writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::EnvironmentVariable { .. } => "environment_variable",
            Self::StaticBearer { .. } => "static_bearer",
            Self::McpOauth { .. } => "mcp_oauth",
        }
    }

    /// Every sealed value that it names.
    pub fn secrets(&self) -> Vec<SecretId> {
        match self {
            Self::EnvironmentVariable { secret_value, .. } => vec![*secret_value],
            Self::StaticBearer { token, .. } => vec![*token],
            Self::McpOauth { access_token, refresh, .. } => {
                let mut secrets = vec![*access_token];
                if let Some(refresh) = refresh {
                    secrets.push(refresh.refresh_token);
                    match refresh.token_endpoint_auth {
                        TokenEndpointAuth::None => {}
                        TokenEndpointAuth::ClientSecretBasic { client_secret }
                        | TokenEndpointAuth::ClientSecretPost { client_secret } => {
                            secrets.push(client_secret);
                        }
                    }
                }
                secrets
            }
        }
    }
}
