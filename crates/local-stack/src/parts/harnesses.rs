//! Installs the coding agents that sandboxes run.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

use crate::cache::ToolCache;
use crate::failure::StackError;

/// Below the cache; sandbox-service looks for `<name>-<version>` here.
pub(super) const FOLDER: &str = "harnesses";

/// What of a harness's manifest says where it is installed.
#[derive(Deserialize)]
struct Manifest {
    version: String,
}

/// Installs each harness of the repository that has an install script.
pub(crate) async fn install(root: &Path, cache: &ToolCache) -> Result<(), StackError> {
    for folder in folders(&root.join("harnesses"))? {
        let script = folder.join("install.sh");
        if !script.is_file() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = version(&folder.join("harness.toml"))?;
        let notice = format!("installing the harness {name} {version} …");
        let steps = |path: &Path| {
            let mut command = Command::new("bash");
            command.arg(&script).arg(path);
            vec![command]
        };
        cache.ensure(&format!("{FOLDER}/{name}-{version}"), &notice, steps).await?;
    }
    Ok(())
}

fn folders(directory: &Path) -> Result<Vec<PathBuf>, StackError> {
    let entries = fs::read_dir(directory).map_err(StackError::file("list", directory))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir())).collect();
    folders.sort();
    Ok(folders)
}

fn version(manifest: &Path) -> Result<String, StackError> {
    let text = fs::read_to_string(manifest).map_err(StackError::file("read", manifest))?;
    let parsed: Manifest = toml::from_str(&text).map_err(|error| StackError::Setting {
        name: manifest.display().to_string(),
        problem: error.message().to_owned(),
    })?;
    Ok(parsed.version)
}
