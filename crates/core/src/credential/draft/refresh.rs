//! How a token is renewed, as requests write it.

use serde::Deserialize;

use super::change::Secrets;
use super::check;
use crate::credential::{OauthRefresh, TokenEndpointAuth};
use crate::id::SecretId;
use crate::secret_text::SecretText;
use crate::wire::{InvalidField, check_length};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshDraft {
    client_id: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    refresh_token: SecretText,
    token_endpoint: String,
    token_endpoint_auth: TokenEndpointAuthDraft,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshPatch {
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    refresh_token: Option<SecretText>,
    /// `""` clears.
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    token_endpoint_auth: Option<TokenEndpointAuthDraft>,
}

/// How the client shows who it is to the token endpoint. In a change the secret may be left out while the type stays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenEndpointAuthDraft {
    None {},
    ClientSecretBasic {
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        client_secret: Option<SecretText>,
    },
    ClientSecretPost {
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        client_secret: Option<SecretText>,
    },
}

const SECRET: &str = "auth.refresh.token_endpoint_auth.client_secret";
const TOKEN: &str = "auth.refresh.refresh_token";

impl RefreshDraft {
    pub(super) fn resolve(self, secrets: &mut Secrets<'_>) -> Result<OauthRefresh, InvalidField> {
        check_length("auth.refresh.client_id", &self.client_id, 1, 2_048)?;
        check::url("auth.refresh.token_endpoint", &self.token_endpoint)?;
        check_length("auth.refresh.resource", self.resource.as_deref().unwrap_or(""), 0, 2_048)?;
        check_length("auth.refresh.scope", self.scope.as_deref().unwrap_or(""), 0, 2_048)?;
        self.refresh_token.check(TOKEN)?;
        Ok(OauthRefresh {
            client_id: self.client_id,
            refresh_token: secrets.add("refresh_token", self.refresh_token),
            token_endpoint: self.token_endpoint,
            token_endpoint_auth: self.token_endpoint_auth.resolve(None, secrets)?,
            resource: self.resource.filter(|text| !text.is_empty()),
            scope: self.scope.filter(|text| !text.is_empty()),
        })
    }
}

impl RefreshPatch {
    pub(super) fn apply_to(
        self,
        before: OauthRefresh,
        secrets: &mut Secrets<'_>,
    ) -> Result<OauthRefresh, InvalidField> {
        let mut after = before;
        if let Some(token) = self.refresh_token {
            token.check(TOKEN)?;
            after.refresh_token = secrets.add("refresh_token", token);
        }
        if let Some(scope) = self.scope {
            check_length("auth.refresh.scope", &scope, 0, 2_048)?;
            after.scope = Some(scope).filter(|text| !text.is_empty());
        }
        if let Some(draft) = self.token_endpoint_auth {
            let former = after.token_endpoint_auth;
            after.token_endpoint_auth = draft.resolve(Some(former), secrets)?;
        }
        Ok(after)
    }
}

impl TokenEndpointAuthDraft {
    fn resolve(
        self,
        before: Option<TokenEndpointAuth>,
        secrets: &mut Secrets<'_>,
    ) -> Result<TokenEndpointAuth, InvalidField> {
        use TokenEndpointAuth as Stored;
        let mut secret = |new: Option<SecretText>, former: Option<SecretId>| match new {
            Some(new) => {
                new.check(SECRET)?;
                Ok(secrets.add("client_secret", new))
            }
            None => former.ok_or_else(|| InvalidField::new(SECRET, "is needed")),
        };
        Ok(match (self, before) {
            (Self::None {}, _) => Stored::None,
            (
                Self::ClientSecretBasic { client_secret: new },
                Some(Stored::ClientSecretBasic { client_secret: former }),
            ) => Stored::ClientSecretBasic { client_secret: secret(new, Some(former))? },
            (Self::ClientSecretBasic { client_secret: new }, _) => {
                Stored::ClientSecretBasic { client_secret: secret(new, None)? }
            }
            (
                Self::ClientSecretPost { client_secret: new },
                Some(Stored::ClientSecretPost { client_secret: former }),
            ) => Stored::ClientSecretPost { client_secret: secret(new, Some(former))? },
            (Self::ClientSecretPost { client_secret: new }, _) => {
                Stored::ClientSecretPost { client_secret: secret(new, None)? }
            }
        })
    }
}
