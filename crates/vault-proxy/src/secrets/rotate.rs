//! The key under which secrets lie, changed by sealing everything anew.

use std::error::Error;

use platform_core::clock::Clock;
use platform_core::id::{Id, SecretId};
use platform_sealing::{Binding, EncryptionKeys, KeyId, OpenError, SealError, Sealed};
use platform_storage::secret::StoredSecret;
use platform_storage::{Database, StorageError, secret};
use uuid::Uuid;

use super::platform::PlatformVariables;
use super::refresh::stored_fingerprint;

const BATCH: i64 = 100;

/// Why secrets could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What became of the secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotated {
    pub resealed: u64,
    /// Those that none of the keys opens. They stay as they are.
    pub unreadable: u64,
}

/// Keeps by what the platform's own secrets are recognised, so that they are taken out of whatever is written.
pub async fn keep_fingerprints(
    database: &Database,
    keys: &EncryptionKeys,
    platform: &PlatformVariables,
    clock: &dyn Clock,
) -> Result<(), StorageError> {
    let known = platform.fingerprints(keys).into_iter().map(|known| {
        // The same in every replica.
        let id =
            Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("CONTAINER_ENV_{}", known.name).as_bytes());
        let id: SecretId = Id::from_uuid(id);
        (id, known)
    });
    let known: Vec<_> = known.collect();
    database
        .transaction(async |connection| {
            secret::keep_platform_fingerprints(connection, &known, clock.now()).await
        })
        .await
}

/// Seals every secret under the current key. May be run again and beside running services at any time.
pub async fn rotate(database: &Database, keys: &EncryptionKeys) -> Result<Rotated, RotateError> {
    let mut rotated = Rotated::default();
    loop {
        let batch = database
            .transaction(async |connection| {
                let current = keys.current().id().as_str();
                // Those that cannot be read come first every time, so that as many more are asked for.
                let limit = BATCH + i64::try_from(rotated.unreadable).unwrap_or(i64::MAX - BATCH);
                let found = secret::sealed_under_other_keys(connection, current, limit).await?;
                let mut batch = Rotated::default();
                for stored in found {
                    match resealed(keys, &stored) {
                        Ok(Some(resealed)) => {
                            secret::reseal(connection, &resealed).await?;
                            batch.resealed += 1;
                        }
                        Ok(None) => batch.unreadable += 1,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok::<_, RotateError>(batch)
            })
            .await?;
        rotated.resealed += batch.resealed;
        rotated.unreadable = batch.unreadable;
        if batch.resealed == 0 {
            return Ok(rotated);
        }
    }
}

/// `None` when none of the keys opens it.
fn resealed(
    keys: &EncryptionKeys,
    stored: &StoredSecret,
) -> Result<Option<StoredSecret>, SealError> {
    let binding = Binding { team: stored.team_id, secret: stored.sealed_as };
    let key = KeyId::from_stored(stored.key_id.clone());
    let sealed = Sealed { key, bytes: stored.sealed.clone() };
    let value = match keys.open(binding, &sealed) {
        Ok(value) => value,
        Err(error @ (OpenError::UnknownKey(_) | OpenError::NotAuthentic)) => {
            tracing::error!(secret.id = %stored.id, error = &error as &dyn Error, "a secret cannot be read");
            return Ok(None);
        }
    };
    let sealed = keys.seal(binding, &value)?;
    Ok(Some(StoredSecret {
        sealed: sealed.bytes,
        key_id: sealed.key.to_string(),
        fingerprint: stored_fingerprint(keys, &value),
        ..stored.clone()
    }))
}
