//! Renews OAuth tokens before they expire (RFC 6749 §6), once for all replicas.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use platform_core::clock::{Clock, IdSource};
use platform_core::credential::{Credential, CredentialAuth, OauthRefresh, TokenEndpointAuth};
use platform_core::id::{CredentialId, SecretId, TeamId};
use platform_core::network::HostPattern;
use platform_sealing::{Binding, EncryptionKeys, KeyId, Sealed};
use platform_storage::secret::{StoredFingerprint, StoredSecret};
use platform_storage::{Connection, Database, StorageError, credential, secret};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::binding::McpUrl;
use super::forms::percent_encoded;
use super::resolve::Flags;
use super::session::RefusedTokens;
use super::sources::Sources;
use crate::proxy::{SendError, Upstream};
use crate::rules::BoxError;

const DUE_BEFORE_END: TimeDelta = TimeDelta::minutes(5);
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// After a failure the old token is used for so long before the next attempt.
const TRIED_AGAIN_AFTER: Duration = Duration::from_mins(1);
const LONGEST_ANSWER: usize = 256 << 10;

/// A token could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the credential has no refresh token")]
    NoRefreshToken,
    #[error(
        "{0} is no address of a token endpoint that may be called; it must be https, or http at one of the team's internal hosts"
    )]
    Endpoint(String),
    #[error("the token endpoint cannot be reached")]
    Send(#[from] SendError),
    #[error("the token endpoint did not answer in time")]
    TimedOut,
    #[error("the token endpoint answered {0}")]
    Refused(StatusCode),
    #[error("the token endpoint's answer is unreadable")]
    Answer,
    #[error("a value cannot be opened or sealed")]
    Sealing,
}

/// What a token endpoint answers (RFC 6749 §5.1).
#[derive(Deserialize)]
struct Renewed {
    access_token: SecretString,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Option<i64>,
}

/// Renews tokens.
pub struct Refresher {
    database: Database,
    keys: EncryptionKeys,
    upstream: Upstream,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    failed: Mutex<BTreeMap<CredentialId, Instant>>,
}

impl Refresher {
    pub fn new(
        database: Database,
        keys: EncryptionKeys,
        upstream: Upstream,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self { database, keys, upstream, clock, ids, failed: Mutex::default() }
    }

    /// Renews those tokens of a session that expire soon, or that their server did not take any more. Tells whether one was renewed.
    /// A failure is no hindrance: the request goes with the token that there is.
    pub async fn renew_due(&self, sources: &Sources, refused: &RefusedTokens) -> bool {
        let mut has_renewed = false;
        for one in &sources.credentials {
            let CredentialAuth::McpOauth { access_token, expires_at, refresh: Some(_), .. } =
                &one.auth
            else {
                continue;
            };
            let was_refused = refused.flag(one.id);
            let is_due = self.expires_soon(*expires_at) || was_refused.load(Ordering::Relaxed);
            if !is_due || self.failed_lately(one.id) {
                continue;
            }
            let renewed =
                self.renew(one.team_id, one.id, *access_token, &sources.internal_hosts).await;
            was_refused.store(false, Ordering::Relaxed);
            match renewed {
                Ok(()) => has_renewed = true,
                Err(error) => {
                    tracing::warn!(
                        credential.id = %one.id,
                        error = &error as &dyn Error,
                        "a token could not be renewed"
                    );
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.insert(one.id, Instant::now());
                }
            }
        }
        has_renewed
    }

    /// Renews the token, unless another replica has just done so: then it is no longer the one that was `seen`.
    pub async fn renew(
        &self,
        team: TeamId,
        id: CredentialId,
        seen: SecretId,
        internal_hosts: &[HostPattern],
    ) -> Result<(), RefreshError> {
        self.database
            .transaction(async |connection| {
                let Some(found) = credential::lock(connection, team, id).await? else {
                    return Ok(());
                };
                let CredentialAuth::McpOauth { access_token, refresh: Some(refresh), .. } =
                    &found.auth
                else {
                    return Err(RefreshError::NoRefreshToken);
                };
                if *access_token != seen || found.archived_at.is_some() {
                    return Ok(());
                }
                let renewed = self.ask(connection, team, refresh, internal_hosts).await?;
                self.store(connection, found, renewed).await
            })
            .await
    }

    fn expires_soon(&self, expires_at: Option<DateTime<Utc>>) -> bool {
        expires_at.is_some_and(|at| at - DUE_BEFORE_END <= self.clock.now())
    }

    fn failed_lately(&self, id: CredentialId) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(&id).is_some_and(|at| at.elapsed() < TRIED_AGAIN_AFTER)
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        team: TeamId,
        refresh: &OauthRefresh,
        internal_hosts: &[HostPattern],
    ) -> Result<Renewed, RefreshError> {
        let endpoint = || RefreshError::Endpoint(refresh.token_endpoint.clone());
        let url = McpUrl::parse(&refresh.token_endpoint).ok_or_else(endpoint)?;
        let is_internal = internal_hosts.iter().any(|host| host.matches(&url.host, url.port));
        if !url.is_https && !is_internal {
            return Err(endpoint());
        }
        let mut secrets = vec![refresh.refresh_token];
        match refresh.token_endpoint_auth {
            TokenEndpointAuth::None => {}
            TokenEndpointAuth::ClientSecretBasic { client_secret }
            | TokenEndpointAuth::ClientSecretPost { client_secret } => secrets.push(client_secret),
        }
        let stored = secret::find_many(connection, team, &secrets).await?;
        let open = |id: SecretId| {
            let stored = stored.iter().find(|stored| stored.id == id);
            self.open(stored.ok_or(RefreshError::NoRefreshToken)?)
        };
        let mut form = Form::default();
        form.add("grant_type", b"refresh_token");
        form.add("refresh_token", &open(refresh.refresh_token)?);
        let mut request = Request::post(&refresh.token_endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match refresh.token_endpoint_auth {
            TokenEndpointAuth::None => form.add("client_id", refresh.client_id.as_bytes()),
            TokenEndpointAuth::ClientSecretPost { client_secret } => {
                form.add("client_id", refresh.client_id.as_bytes());
                form.add("client_secret", &open(client_secret)?);
            }
            TokenEndpointAuth::ClientSecretBasic { client_secret } => {
                let name = percent_encoded(refresh.client_id.as_bytes());
                let password = percent_encoded(&open(client_secret)?);
                let login = Zeroizing::new([&name[..], b":", &password].concat());
                let login = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*login)));
                request = request.header(AUTHORIZATION, login.as_str());
            }
        }
        for (name, value) in [("scope", &refresh.scope), ("resource", &refresh.resource)] {
            if let Some(value) = value {
                form.add(name, value.as_bytes());
            }
        }
        let body = Full::new(Bytes::from(std::mem::take(&mut *form.0)));
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|_no_address| endpoint())?;
        let asked = async {
            let answer = self.upstream.send(request, is_internal).await?;
            let status = answer.status();
            let collected = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let text = collected.map_err(|_: BoxError| RefreshError::Answer)?.to_bytes();
            if !status.is_success() {
                return Err(RefreshError::Refused(status));
            }
            serde_json::from_slice(&text).map_err(|_unreadable| RefreshError::Answer)
        };
        timeout(ANSWERED_WITHIN, asked).await.map_err(|_elapsed| RefreshError::TimedOut)?
    }

    fn open(&self, stored: &StoredSecret) -> Result<Zeroizing<Vec<u8>>, RefreshError> {
        let binding = Binding { team: stored.team_id, secret: stored.sealed_as };
        let key = KeyId::from_stored(stored.key_id.clone());
        let sealed = Sealed { key, bytes: stored.sealed.clone() };
        self.keys.open(binding, &sealed).map_err(|_unopened| RefreshError::Sealing)
    }

    async fn store(
        &self,
        connection: &mut Connection,
        mut renewed: Credential,
        answer: Renewed,
    ) -> Result<(), RefreshError> {
        let now = self.clock.now();
        let (team, owner) = (renewed.team_id, renewed.id.uuid());
        let (mut new, mut replaced) = (Vec::new(), Vec::new());
        let mut keep = |name: &str, value: &SecretString, before: &mut SecretId| {
            let sealed = self.seal(team, owner, name, value, now)?;
            replaced.push(std::mem::replace(before, sealed.id));
            new.push(sealed);
            Ok::<_, RefreshError>(())
        };
        if let CredentialAuth::McpOauth { access_token, expires_at, refresh, .. } =
            &mut renewed.auth
        {
            keep("token", &answer.access_token, access_token)?;
            // A server that names no time is asked again when it refuses the token.
            *expires_at = answer
                .expires_in
                .and_then(TimeDelta::try_seconds)
                .and_then(|seconds| now.checked_add_signed(seconds));
            if let (Some(rotated), Some(refresh)) = (&answer.refresh_token, refresh) {
                keep("refresh_token", rotated, &mut refresh.refresh_token)?;
            }
        }
        renewed.updated_at = now;
        secret::insert(connection, &new).await?;
        credential::update(connection, &renewed).await?;
        secret::delete_many(connection, team, &replaced).await?;
        Ok(())
    }

    fn seal(
        &self,
        team: TeamId,
        owner: uuid::Uuid,
        name: &str,
        value: &SecretString,
        now: DateTime<Utc>,
    ) -> Result<StoredSecret, RefreshError> {
        let id = SecretId::mint(&*self.ids);
        let value = value.expose_secret().as_bytes();
        let sealed = self.keys.seal(Binding { team, secret: id }, value);
        let sealed = sealed.map_err(|_unsealed| RefreshError::Sealing)?;
        Ok(StoredSecret {
            id,
            sealed_as: id,
            team_id: team,
            owner_id: owner,
            name: name.to_owned(),
            sealed: sealed.bytes,
            key_id: sealed.key.to_string(),
            fingerprint: stored_fingerprint(&self.keys, value),
            created_at: now,
        })
    }
}

/// By what a value sealed under the current key is recognised.
pub fn stored_fingerprint(keys: &EncryptionKeys, value: &[u8]) -> Option<StoredFingerprint> {
    let print = keys.current().fingerprint(value)?;
    let length = i32::try_from(print.length).ok()?;
    Some(StoredFingerprint { length, head: print.head, digest: print.digest })
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(Zeroizing<Vec<u8>>);

impl Form {
    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(&percent_encoded(value));
    }
}
