//! An image as the archive that `ctr images import` reads (OCI image layout).

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

use crate::failure::NodeError;

const PIECE: usize = 1 << 20;

/// A tar archive of files, not compressed: it stays on this machine.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    path: PathBuf,
    digest: String,
    size: u64,
    /// Removed with the last copy of this.
    _temporary: Option<Arc<NamedTempFile>>,
}

/// Layers from the lowest, and what containers of the image are told (`Entrypoint`, `User`, …).
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: &'static str,
    pub(super) layers: Vec<Layer>,
    pub(super) config: Value,
}

impl Layer {
    pub(super) fn of_file(path: PathBuf) -> Result<Self, NodeError> {
        let (digest, size) = measure(&path).map_err(NodeError::file("read", &path))?;
        Ok(Self { path, digest, size, _temporary: None })
    }

    pub(super) fn of_temporary(file: NamedTempFile) -> Result<Self, NodeError> {
        let layer = Self::of_file(file.path().to_path_buf())?;
        Ok(Self { _temporary: Some(Arc::new(file)), ..layer })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

impl Image {
    fn configuration(&self) -> String {
        let layers: Vec<&str> = self.layers.iter().map(|layer| layer.digest.as_str()).collect();
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": layers},
        })
        .to_string()
    }

    fn manifest(&self) -> String {
        let configuration = self.configuration();
        let layers = self.layers.iter().map(|layer| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.size,
            })
        });
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(configuration.as_bytes()),
                "size": configuration.len(),
            },
            "layers": layers.collect::<Vec<_>>(),
        })
        .to_string()
    }

    /// By which the container runtime names this very image.
    pub(super) fn digest(&self) -> String {
        digest(self.manifest().as_bytes())
    }

    pub(super) fn write(&self, to: impl Write) -> io::Result<()> {
        let (configuration, manifest) = (self.configuration(), self.manifest());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(manifest.as_bytes()),
                "size": manifest.len(),
                "annotations": {"io.containerd.image.name": self.name},
                "platform": {"architecture": architecture(), "os": "linux"},
            }],
        });
        let mut archive = Builder::new(to);
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        append(&mut archive, "oci-layout", layout.as_bytes(), layout.len() as u64)?;
        let index = index.to_string();
        append(&mut archive, "index.json", index.as_bytes(), index.len() as u64)?;
        for text in [&configuration, &manifest] {
            let name = blob(&digest(text.as_bytes()));
            append(&mut archive, &name, text.as_bytes(), text.len() as u64)?;
        }
        for layer in &self.layers {
            let content = BufReader::with_capacity(PIECE, File::open(&layer.path)?);
            append(&mut archive, &blob(&layer.digest), content, layer.size)?;
        }
        archive.into_inner()?.flush()
    }
}

fn append(
    archive: &mut Builder<impl Write>,
    path: &str,
    content: impl Read,
    size: u64,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    archive.append_data(&mut header, path, content)
}

/// Where an archive keeps what has this digest.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn measure(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((named(&hash.finalize()), size));
        }
        hash.update(piece.get(..read).unwrap_or_default());
        size += read as u64;
    }
}

fn digest(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

fn named(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// As Go says it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    #[test]
    fn everything_that_an_archive_names_is_in_it_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        fs::write(&path, "not really a tar").unwrap();
        let layer = Layer::of_file(path).unwrap();
        let config = json!({"User": "7"});
        let image = Image { name: "localhost/x:1", layers: vec![layer.clone()], config };
        let mut written = Vec::new();
        image.write(&mut written).unwrap();

        let mut archive = tar::Archive::new(written.as_slice());
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let parsed = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap();
        let named = |digest: &Value| blob(digest.as_str().unwrap());
        let entry = &parsed("index.json")["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "localhost/x:1");
        assert_eq!(entry["digest"], image.digest());
        let manifest = parsed(&named(&entry["digest"]));
        let configuration = parsed(&named(&manifest["config"]["digest"]));
        assert_eq!(configuration["config"]["User"], "7");
        assert_eq!(configuration["rootfs"]["diff_ids"][0], layer.digest);
        assert_eq!(files[&named(&manifest["layers"][0]["digest"])], b"not really a tar");
    }
}
