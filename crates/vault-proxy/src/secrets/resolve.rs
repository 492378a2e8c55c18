//! Makes a session's variables, placeholders and bindings from their sources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use platform_core::credential::{CredentialAuth, CredentialNetworking, InjectionLocation};
use platform_core::id::{CredentialId, SecretId};
use platform_core::variable::{Variable, is_reserved, is_variable_name};
use platform_sealing::{Binding, EncryptionKeys, KeyId, Sealed, honey_values};

use super::binding::{
    BearerToken, Hosts, McpUrl, NamedSecret, SecretUse, SecretValue, SecretsParts,
};
use super::platform::{PlatformVariable, PlatformVariables};
use super::search::SHORTEST;
use super::shape::Shape;
use super::sources::Sources;

/// What a session's sandbox gets and what stands behind it.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Plain values, and placeholders for secrets.
    pub environment: BTreeMap<String, String>,
    pub parts: SecretsParts,
}

/// Where the flag is that tells that a credential's token was refused.
pub trait Flags {
    fn flag(&self, credential: CredentialId) -> Arc<AtomicBool>;
}

/// Opens what is sealed and gives each secret its placeholder. Secrets that cannot be opened are replaced nowhere.
pub fn resolve(
    sources: &Sources,
    platform: &PlatformVariables,
    keys: &EncryptionKeys,
    flags: &impl Flags,
) -> Resolved {
    let opener = Opener { sources, keys };
    let mut plain: BTreeMap<String, String> = BTreeMap::new();
    let mut secrets: BTreeMap<String, Vec<SecretUse>> = BTreeMap::new();
    for (name, variable) in &platform.by_name {
        match variable {
            PlatformVariable::Plain(value) => {
                plain.insert(name.clone(), value.clone());
            }
            PlatformVariable::Secret { value, hosts } => {
                secrets.insert(name.clone(), usable(name, value.clone(), hosts.clone(), None));
            }
        }
    }
    let layers = sources.layers.iter().flatten();
    for (name, variable) in layers.filter(|(name, _)| may_be_set(name)) {
        plain.remove(name);
        secrets.remove(name);
        match variable {
            Variable::Plain { value } => {
                plain.insert(name.clone(), value.clone());
            }
            Variable::Secret { secret_id, allowed_hosts } => {
                let hosts = Hosts::Only(allowed_hosts.clone());
                let value = opener.open(*secret_id);
                let uses = value.map(|value| usable(name, value, hosts, None));
                secrets.insert(name.clone(), uses.unwrap_or_default());
            }
        }
    }
    let mut by_credentials: BTreeMap<String, Vec<SecretUse>> = BTreeMap::new();
    let mut bearers = Vec::new();
    for credential in &sources.credentials {
        match &credential.auth {
            CredentialAuth::EnvironmentVariable {
                secret_name,
                secret_value,
                networking,
                injection_location,
            } => {
                if !may_be_set(secret_name) {
                    continue;
                }
                let hosts = match networking {
                    CredentialNetworking::Unrestricted => Hosts::Every,
                    CredentialNetworking::Limited { allowed_hosts } => {
                        Hosts::Only(allowed_hosts.clone())
                    }
                };
                let uses = opener
                    .open(*secret_value)
                    .map(|value| usable(secret_name, value, hosts, Some(*injection_location)));
                by_credentials
                    .entry(secret_name.clone())
                    .or_default()
                    .extend(uses.into_iter().flatten());
            }
            CredentialAuth::StaticBearer { token, mcp_server_url }
            | CredentialAuth::McpOauth { access_token: token, mcp_server_url, .. } => {
                if let (Some(url), Some(token)) =
                    (McpUrl::parse(mcp_server_url), opener.open(*token))
                {
                    let was_refused = flags.flag(credential.id);
                    bearers.push(BearerToken { url, token, was_refused });
                }
            }
        }
    }
    for (name, uses) in by_credentials {
        plain.remove(&name);
        secrets.insert(name, uses);
    }
    let session = sources.identity.session_id;
    let named = secrets.into_iter().map(|(name, uses)| {
        let value = uses.first().map_or(&[][..], |one| one.value.expose());
        let shape = Shape::of(&name, value);
        let marked = keys.all().map(|key| shape.placeholder(key, session, &name));
        let former = keys.all().map(|key| shape.without_mark(key, session, &name));
        let placeholders = marked.chain(former).collect();
        NamedSecret { name, placeholders, uses }
    });
    let named: Vec<NamedSecret> = named.collect();
    for secret in &named {
        if let Some(placeholder) = secret.placeholders.first() {
            plain.insert(secret.name.clone(), placeholder.clone());
        }
    }
    let honey = honey_values(keys, session);
    Resolved { environment: plain, parts: SecretsParts { named, bearers, honey } }
}

/// What a gateway lets through and a sandbox could not bear is left out here once more.
fn may_be_set(name: &str) -> bool {
    is_variable_name(name) && !is_reserved(name)
}

fn usable(
    name: &str,
    value: SecretValue,
    hosts: Hosts,
    location: Option<InjectionLocation>,
) -> Vec<SecretUse> {
    if value.expose().len() < SHORTEST {
        tracing::warn!(
            secret.name = name,
            "a secret of fewer than {SHORTEST} characters cannot be kept out of answers, so it is used nowhere"
        );
        return Vec::new();
    }
    vec![SecretUse { value, hosts, location: location.unwrap_or_default() }]
}

struct Opener<'a> {
    sources: &'a Sources,
    keys: &'a EncryptionKeys,
}

impl Opener<'_> {
    fn open(&self, id: SecretId) -> Option<SecretValue> {
        let stored = self.sources.sealed.iter().find(|stored| stored.id == id)?;
        let binding = Binding { team: stored.team_id, secret: stored.sealed_as };
        let key = KeyId::from_stored(stored.key_id.clone());
        let sealed = Sealed { key, bytes: stored.sealed.clone() };
        match self.keys.open(binding, &sealed) {
            Ok(value) => Some(SecretValue::new(value)),
            Err(error) => {
                tracing::error!(
                    secret.id = %id,
                    secret.name = stored.name,
                    error = &error as &dyn std::error::Error,
                    "a secret cannot be opened"
                );
                None
            }
        }
    }
}
