//! Which keys open the platform.

use std::sync::Arc;

use chrono::TimeDelta;
use platform_core::clock::{Clock, IdSource};
use platform_core::id::TeamId;
use platform_core::team::ApiKey;
use platform_storage::{Database, api_key, team};
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;
use tracing::warn;

use super::{Caller, Identity, NewKey, key};
use crate::minting::Minting;
use crate::problem::Problem;

/// The use of a key is noted no more often than this.
const NOTE_USE_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Recognises keys: the administrator's by itself, a team's by its row.
pub struct Keys {
    database: Database,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    master: Vec<u8>,
    default_team: OnceCell<TeamId>,
}

impl Keys {
    pub fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        master: &SecretString,
    ) -> Self {
        let master = key::hash(master);
        Self { database, clock, ids, master, default_team: OnceCell::new() }
    }

    /// A key that nobody has yet; the same one for every repeat of one request.
    pub fn new_key(&self, minting: &Minting) -> NewKey {
        match minting.seed() {
            Some(seed) => NewKey::derive(&self.master, seed.as_bytes()),
            None => NewKey::generate(),
        }
    }

    /// Compares hashes, in constant time, so that neither length nor content of the master key can be measured.
    pub(super) fn is_master(&self, presented: &SecretString) -> bool {
        key::hash(presented).ct_eq(&self.master).into()
    }

    /// The team in which the administrator acts when none is named; made when it is first needed.
    pub(super) async fn default_team(&self) -> Result<TeamId, Problem> {
        let make = async || {
            let mut connection = self.database.connection().await?;
            let id = TeamId::mint(&*self.ids);
            let team = team::ensure_default(&mut connection, id, self.clock.now()).await?;
            Ok(team.id)
        };
        self.default_team.get_or_try_init(make).await.copied()
    }

    pub(super) async fn team(&self, id: &str) -> Result<TeamId, Problem> {
        let unknown = || Problem::not_found("team", id.to_owned());
        let team = id.parse().map_err(|_| unknown())?;
        let mut connection = self.database.connection().await?;
        let found = team::find(&mut connection, team).await?;
        found.map(|team| team.id).ok_or_else(unknown)
    }

    /// The key's row, if the key is right and valid now.
    pub(super) async fn find(&self, presented: &SecretString) -> Result<Option<ApiKey>, Problem> {
        let Some(lookup) = key::lookup(presented) else { return Ok(None) };
        let mut connection = self.database.connection().await?;
        let Some(stored) = api_key::find_by_lookup(&mut connection, lookup).await? else {
            return Ok(None);
        };
        let api_key::StoredKey { key: found, hash } = stored;
        let now = self.clock.now();
        let is_right: bool = key::hash(presented).ct_eq(&hash).into();
        if !is_right || !found.is_valid_at(now) {
            return Ok(None);
        }
        if found.last_used_at.is_none_or(|used| now - used >= NOTE_USE_EVERY) {
            let noted =
                api_key::touch_last_used(&mut connection, found.team_id, found.id, now).await;
            if let Err(failure) = noted {
                warn!(%failure, "the use of a key could not be noted");
            }
        }
        Ok(Some(found))
    }

    /// Whether a caller who was let in would still be let in now. A failing database does not throw anybody out.
    pub async fn is_still_valid(&self, caller: Caller) -> bool {
        let Identity::Key(id) = caller.identity() else { return true };
        let Ok(mut connection) = self.database.connection().await else { return true };
        match api_key::find(&mut connection, caller.team(), id).await {
            Ok(Some(key)) => key.is_valid_at(self.clock.now()),
            Ok(None) => false,
            Err(_) => true,
        }
    }
}
