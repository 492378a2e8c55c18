//! Values on their way into the database: sealed here, opened by vault-proxy alone.

use chrono::{DateTime, Utc};
use platform_core::failure::FailureKind;
use platform_core::id::{SecretId, TeamId};
use platform_core::secret_text::NewSecret;
use platform_core::variable::{ChangedVariables, Variables, VariablesDraft};
use platform_sealing::{Binding, EncryptionKeys, Fingerprint};
use platform_storage::secret::{self, StoredFingerprint, StoredSecret};
use platform_storage::{Connection, StorageError};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::problem::Problem;

/// Seals the values of requests.
pub struct Sealer {
    keys: EncryptionKeys,
}

/// The one whose secret it is: a credential, an environment, an agent or a session.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub team: TeamId,
    pub id: Uuid,
}

/// Variables as they are stored, and what has to be written with them.
pub struct SealedVariables {
    pub variables: Variables,
    pub secrets: Vec<StoredSecret>,
    /// No variable names these any more.
    pub replaced: Vec<SecretId>,
}

impl Sealer {
    pub fn new(keys: EncryptionKeys) -> Self {
        Self { keys }
    }

    /// The values as they are stored. Those in clear are wiped.
    pub fn seal(
        &self,
        owner: Owner,
        new: Vec<NewSecret>,
        now: DateTime<Utc>,
    ) -> Result<Vec<StoredSecret>, Problem> {
        new.into_iter().map(|secret| self.seal_one(owner, &secret, now)).collect()
    }

    /// Applies what a request says of variables; nothing, when it says nothing.
    pub fn variables(
        &self,
        owner: Owner,
        draft: Option<VariablesDraft>,
        before: Variables,
        now: DateTime<Utc>,
        new_id: impl FnMut(&str) -> SecretId,
    ) -> Result<SealedVariables, Problem> {
        let ChangedVariables { variables, new_secrets, replaced } =
            draft.unwrap_or_default().apply_to(before, new_id)?;
        Ok(SealedVariables { variables, secrets: self.seal(owner, new_secrets, now)?, replaced })
    }

    /// Keys, the current one first, for hashes of what may be a secret: without the key nobody can try guesses on them.
    pub fn hash_keys(&self) -> impl Iterator<Item = Zeroizing<[u8; 32]>> {
        self.keys.all().map(|key| key.derive("idempotency", b""))
    }

    fn seal_one(
        &self,
        Owner { team, id: owner_id }: Owner,
        new: &NewSecret,
        now: DateTime<Utc>,
    ) -> Result<StoredSecret, Problem> {
        let value = new.value.expose().as_bytes();
        let sealed =
            self.keys.seal(Binding { team, secret: new.id }, value).map_err(|failure| {
                let message = "the platform failed; its log says why";
                Problem::new(FailureKind::Internal, message).caused_by(failure)
            })?;
        Ok(StoredSecret {
            id: new.id,
            sealed_as: new.id,
            team_id: team,
            owner_id,
            name: new.name.clone(),
            sealed: sealed.bytes,
            key_id: sealed.key.as_str().to_owned(),
            fingerprint: self.keys.current().fingerprint(value).and_then(stored),
            created_at: now,
        })
    }
}

fn stored(print: Fingerprint) -> Option<StoredFingerprint> {
    let Fingerprint { key: _, length, head, digest } = print;
    Some(StoredFingerprint { length: length.try_into().ok()?, head, digest })
}

/// Stores new values and removes those that they replace. Belongs into the transaction that writes what names them.
pub async fn write(
    connection: &mut Connection,
    team: TeamId,
    new: &[StoredSecret],
    replaced: &[SecretId],
) -> Result<(), StorageError> {
    if !new.is_empty() {
        secret::insert(connection, new).await?;
    }
    if !replaced.is_empty() {
        secret::delete_many(connection, team, replaced).await?;
    }
    Ok(())
}
