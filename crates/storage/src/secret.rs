//! Sealed values, and by what they are recognised in text. Nothing here can open them.

mod check;
mod orphan;
mod read;
mod row;
mod write;

use chrono::{DateTime, Utc};
use platform_core::id::{SecretId, TeamId};
use uuid::Uuid;

pub use check::{WrongKey, check_keys};
pub use orphan::forget_orphans;
pub use read::{find_many, fingerprints, note_key, sealed_under_other_keys, unknown_keys};
pub use write::{copy_many, delete_many, delete_of, insert, keep_platform_fingerprints, reseal};

/// A stored secret.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub id: SecretId,
    pub team_id: TeamId,
    /// The credential, environment, agent or session that it belongs to.
    pub owner_id: Uuid,
    /// What stands in its place where it is taken out of a text.
    pub name: String,
    /// Nonce, ciphertext and tag, as `platform-sealing` makes them.
    pub sealed: Vec<u8>,
    /// For which id it was sealed: its own, or that of the secret that it was copied from.
    pub sealed_as: SecretId,
    pub key_id: String,
    /// `None`: too short to be recognised.
    pub fingerprint: Option<StoredFingerprint>,
    pub created_at: DateTime<Utc>,
}

/// By what a secret is recognised, as `platform-sealing` makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFingerprint {
    pub length: i32,
    pub head: i64,
    pub digest: Vec<u8>,
}

/// One secret that must not stand in any text of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSecret {
    pub name: String,
    pub key_id: String,
    pub fingerprint: StoredFingerprint,
}

#[cfg(test)]
mod tests;
