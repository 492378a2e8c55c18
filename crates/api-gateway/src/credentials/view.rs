//! A credential as the API shows it: everything but its values.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_core::credential::{
    Credential, CredentialAuth, CredentialNetworking, InjectionLocation, OauthRefresh,
    TokenEndpointAuth,
};
use platform_core::id::{CredentialId, VaultId};
use serde::Serialize;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CredentialView {
    id: CredentialId,
    /// Always `vault_credential`.
    r#type: &'static str,
    vault_id: VaultId,
    display_name: Option<String>,
    auth: AuthView,
    metadata: BTreeMap<String, String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthView {
    EnvironmentVariable {
        secret_name: String,
        networking: CredentialNetworking,
        injection_location: InjectionLocation,
    },
    StaticBearer {
        mcp_server_url: String,
    },
    McpOauth {
        mcp_server_url: String,
        expires_at: Option<DateTime<Utc>>,
        refresh: Option<RefreshView>,
    },
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RefreshView {
    client_id: String,
    token_endpoint: String,
    token_endpoint_auth: TokenEndpointAuthView,
    resource: Option<String>,
    scope: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenEndpointAuthView {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

impl From<Credential> for CredentialView {
    fn from(credential: Credential) -> Self {
        Self {
            id: credential.id,
            r#type: "vault_credential",
            vault_id: credential.vault_id,
            display_name: credential.display_name,
            auth: credential.auth.into(),
            metadata: credential.metadata,
            created_at: credential.created_at,
            updated_at: credential.updated_at,
            archived_at: credential.archived_at,
        }
    }
}

impl From<CredentialAuth> for AuthView {
    fn from(auth: CredentialAuth) -> Self {
        match auth {
            CredentialAuth::EnvironmentVariable {
                secret_name,
                secret_value: _,
                networking,
                injection_location,
            } => Self::EnvironmentVariable { secret_name, networking, injection_location },
            CredentialAuth::StaticBearer { token: _, mcp_server_url } => {
                Self::StaticBearer { mcp_server_url }
            }
            CredentialAuth::McpOauth { access_token: _, mcp_server_url, expires_at, refresh } => {
                Self::McpOauth { mcp_server_url, expires_at, refresh: refresh.map(Into::into) }
            }
        }
    }
}

impl From<OauthRefresh> for RefreshView {
    fn from(refresh: OauthRefresh) -> Self {
        Self {
            client_id: refresh.client_id,
            token_endpoint: refresh.token_endpoint,
            token_endpoint_auth: match refresh.token_endpoint_auth {
                TokenEndpointAuth::None => TokenEndpointAuthView::None,
                TokenEndpointAuth::ClientSecretBasic { .. } => {
                    TokenEndpointAuthView::ClientSecretBasic
                }
                TokenEndpointAuth::ClientSecretPost { .. } => {
                    TokenEndpointAuthView::ClientSecretPost
                }
            },
            resource: refresh.resource,
            scope: refresh.scope,
        }
    }
}
