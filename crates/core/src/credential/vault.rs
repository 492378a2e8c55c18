//! Vaults as requests write them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::credential::Vault;
use crate::wire::{InvalidField, MetadataPatch, check_length, check_metadata, patch_metadata};

/// The body of a request that creates a vault.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VaultDraft {
    pub display_name: String,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The body of a request that changes a vault. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VaultPatch {
    #[serde(default)]
    pub display_name: Option<String>,
    /// By key: a text sets, `null` deletes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, Option<String>>>))]
    pub metadata: Option<MetadataPatch>,
}

impl VaultDraft {
    /// Its name and metadata.
    pub fn resolve(self) -> Result<(String, BTreeMap<String, String>), InvalidField> {
        check_length("display_name", &self.display_name, 1, 255)?;
        let metadata = self.metadata.unwrap_or_default();
        check_metadata(&metadata)?;
        Ok((self.display_name, metadata))
    }
}

impl VaultPatch {
    pub fn apply_to(self, before: Vault) -> Result<Vault, InvalidField> {
        let display_name = self.display_name.unwrap_or(before.display_name);
        check_length("display_name", &display_name, 1, 255)?;
        let metadata = patch_metadata(before.metadata, self.metadata.unwrap_or_default())?;
        Ok(Vault { display_name, metadata, ..before })
    }
}
