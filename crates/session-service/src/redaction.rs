//! Takes known secrets out of what is about to be written, and notices values that were planted for nobody.

use platform_core::egress::{Alarm, AlarmKind};
use platform_core::id::{SessionId, TeamId};
use platform_sealing::{EncryptionKeys, Fingerprint, HoneyValue, KeyId, Redactor, honey_values};
use platform_storage::secret::{self, KnownSecret};
use platform_storage::{Connection, StorageError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What must not get into the log of one session.
pub struct Redaction {
    redactor: Redactor,
    honey: Vec<HoneyValue>,
}

impl Redaction {
    /// Knows the team's secrets as they are at this moment of the transaction.
    pub async fn of(
        connection: &Connection,
        keys: &EncryptionKeys,
        team: TeamId,
        session: SessionId,
    ) -> Result<Self, StorageError> {
        let known = secret::fingerprints(connection, team).await?;
        let redactor = Redactor::new(keys, known.into_iter().filter_map(named));
        Ok(Self { redactor, honey: honey_values(keys, session) })
    }

    /// Reads JSON, with every known secret in its texts taken out.
    pub fn read<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, serde_json::Error> {
        if self.redactor.knows_nothing() {
            return serde_json::from_slice(json);
        }
        let mut value: Value = serde_json::from_slice(json)?;
        self.clean(&mut value);
        serde_json::from_value(value)
    }

    /// The text with every known secret taken out.
    pub fn clean_text(&self, text: String) -> String {
        match self.redactor.redact(&text) {
            Some(redacted) => redacted.text,
            None => text,
        }
    }

    /// The alarm that a planted value in this JSON is. The values have no character that JSON writes in another way.
    pub fn find_honey(&self, json: &[u8]) -> Option<Alarm> {
        let text = String::from_utf8_lossy(json);
        let seen = self.honey.iter().find(|honey| text.contains(&honey.value))?;
        let message = format!(
            "the planted value {} was seen in what the sandbox reported: something reads files that it has no business with",
            seen.name
        );
        Some(Alarm { kind: AlarmKind::HoneyValueSeen, message, host: None })
    }

    fn clean(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(redacted) = self.redactor.redact(text) {
                    *text = redacted.text;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Value::Object(fields) => self.clean_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn clean_fields(&self, fields: &mut Map<String, Value>) {
        fields.values_mut().for_each(|value| self.clean(value));
        let telling: Vec<String> =
            fields.keys().filter(|key| self.redactor.redact(key).is_some()).cloned().collect();
        for key in telling {
            if let Some(value) = fields.remove(&key) {
                fields.insert(self.clean_text(key), value);
            }
        }
    }
}

fn named(known: KnownSecret) -> Option<(String, Fingerprint)> {
    let fingerprint = Fingerprint {
        key: KeyId::from_stored(known.key_id),
        length: u32::try_from(known.fingerprint.length).ok()?,
        head: known.fingerprint.head,
        digest: known.fingerprint.digest,
    };
    Some((known.name, fingerprint))
}
