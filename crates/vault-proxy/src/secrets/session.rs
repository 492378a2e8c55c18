//! The rules of each sandbox's session, kept for a few seconds.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use platform_core::failure::Failure;
use platform_core::id::{CredentialId, SandboxId};
use platform_core::network::HostPattern;
use platform_sealing::EncryptionKeys;
use platform_storage::sandbox::SandboxIdentity;
use platform_storage::{Database, StorageError, sandbox};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::inject::Secrets;
use super::platform::PlatformVariables;
use super::refresh::Refresher;
use super::resolve::{Flags, Resolved, resolve};
use super::sources::Sources;
use super::strangers::{Recogniser, Strangers};
use crate::rules::{RulesSource, SessionRules};

/// What is older is looked at anew, so that an archived credential or a changed policy holds at once.
pub const RULES_HOLD: Duration = Duration::from_secs(5);
/// How long known rules go on holding while the database is away.
const HELD_OVER: Duration = Duration::from_secs(30);

/// Loads rules from the database.
pub struct Loader {
    database: Database,
    keys: EncryptionKeys,
    recogniser: Arc<Recogniser>,
    platform: PlatformVariables,
    package_hosts: Vec<HostPattern>,
    refresher: Option<Refresher>,
    slots: PlainMutex<BTreeMap<SandboxId, Arc<Slot>>>,
    refused: RefusedTokens,
    hold: Duration,
}

/// One sandbox's rules. Whoever looks for them first loads them; the others wait.
type Slot = Mutex<Option<Kept>>;

struct Kept {
    sources: Sources,
    rules: Arc<SessionRules>,
    looked_at: Instant,
}

/// Which credentials' tokens were refused.
#[derive(Default)]
pub struct RefusedTokens(PlainMutex<BTreeMap<CredentialId, Arc<AtomicBool>>>);

impl Flags for RefusedTokens {
    fn flag(&self, credential: CredentialId) -> Arc<AtomicBool> {
        let mut flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flags.entry(credential).or_default().clone()
    }
}

impl Loader {
    pub fn new(
        database: Database,
        keys: EncryptionKeys,
        platform: PlatformVariables,
        package_hosts: Vec<HostPattern>,
    ) -> Self {
        Self {
            database,
            recogniser: Arc::new(Recogniser::new(&keys)),
            keys,
            platform,
            package_hosts,
            refresher: None,
            slots: PlainMutex::default(),
            refused: RefusedTokens::default(),
            hold: RULES_HOLD,
        }
    }

    /// Renews tokens before they expire.
    #[must_use]
    pub fn with_refresher(self, refresher: Refresher) -> Self {
        Self { refresher: Some(refresher), ..self }
    }

    /// Changes how old rules may be.
    #[must_use]
    pub fn holding_for(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    /// Forgets what is known of a sandbox, and answers whose it was.
    pub async fn forget(&self, sandbox: SandboxId) -> Option<SandboxIdentity> {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&sandbox)?;
        let kept = slot.lock().await;
        kept.as_ref().map(|kept| kept.rules.identity)
    }

    /// What is put into the session's sandbox, and its policy. `None`: the session is gone.
    pub async fn bind(
        &self,
        identity: SandboxIdentity,
    ) -> Result<Option<(Resolved, Vec<u16>)>, StorageError> {
        let mut connection = self.database.connection().await?;
        let Some(sources) = Sources::read(&mut connection, identity).await? else {
            return Ok(None);
        };
        let ports = sources.policy(&self.package_hosts).named_ports();
        Ok(Some((resolve(&sources, &self.platform, &self.keys, &self.refused), ports)))
    }

    pub fn platform(&self) -> &PlatformVariables {
        &self.platform
    }

    pub fn package_hosts(&self) -> &[HostPattern] {
        &self.package_hosts
    }

    async fn load(
        &self,
        sandbox: SandboxId,
        slot: &mut Option<Kept>,
    ) -> Result<Option<Arc<SessionRules>>, StorageError> {
        let mut connection = self.database.connection().await?;
        let Some(identity) = sandbox::identity(&mut connection, sandbox).await? else {
            *slot = None;
            return Ok(None);
        };
        let Some(mut sources) = Sources::read(&mut connection, identity).await? else {
            *slot = None;
            return Ok(None);
        };
        drop(connection);
        if let Some(refresher) = &self.refresher
            && refresher.renew_due(&sources, &self.refused).await
        {
            let mut connection = self.database.connection().await?;
            sources = Sources::read(&mut connection, identity).await?.unwrap_or(sources);
        }
        let looked_at = Instant::now();
        if let Some(kept) = slot.as_mut().filter(|kept| kept.sources == sources) {
            kept.looked_at = looked_at;
            return Ok(Some(kept.rules.clone()));
        }
        let Resolved { parts, .. } = resolve(&sources, &self.platform, &self.keys, &self.refused);
        let strangers = Strangers {
            recogniser: self.recogniser.clone(),
            session: identity.session_id,
            ancestors: sources.ancestors.clone(),
        };
        let rules = Arc::new(SessionRules {
            identity,
            policy: sources.policy(&self.package_hosts),
            inspect_tls: sources.inspect_tls,
            secrets: Secrets::among(strangers, parts),
        });
        *slot = Some(Kept { sources, rules: rules.clone(), looked_at });
        Ok(Some(rules))
    }
}

impl RulesSource for Loader {
    fn rules_of(
        &self,
        sandbox: SandboxId,
    ) -> BoxFuture<'_, Result<Option<Arc<SessionRules>>, StorageError>> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(sandbox).or_default().clone()
        };
        Box::pin(async move {
            let mut slot = slot.lock().await;
            if let Some(kept) = slot.as_ref().filter(|kept| kept.looked_at.elapsed() < self.hold) {
                return Ok(Some(kept.rules.clone()));
            }
            match self.load(sandbox, &mut slot).await {
                Ok(rules) => Ok(rules),
                Err(error) => {
                    let held_over = slot.as_ref().filter(|kept| {
                        error.is_transient() && kept.looked_at.elapsed() < HELD_OVER
                    });
                    let Some(kept) = held_over else { return Err(error) };
                    tracing::warn!(sandbox.id = %sandbox, error = &error as &dyn Error, "the rules of a sandbox hold over");
                    Ok(Some(kept.rules.clone()))
                }
            }
        })
    }
}
