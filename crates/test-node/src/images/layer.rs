//! One layer of an image: a tar archive with the owners and modes that are wanted, whoever writes it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

use super::archive::Layer;
use crate::failure::NodeError;

/// A layer that is being written.
pub(super) struct LayerFile {
    archive: Builder<NamedTempFile>,
    folders: BTreeSet<String>,
}

impl LayerFile {
    pub(super) fn new() -> Result<Self, NodeError> {
        let file = NamedTempFile::new().map_err(NodeError::file("make", &std::env::temp_dir()))?;
        Ok(Self { archive: Builder::new(file), folders: BTreeSet::new() })
    }

    /// A folder of the user and group with this number.
    pub(super) fn folder(&mut self, path: &str, owner: u64, mode: u32) -> Result<(), NodeError> {
        self.parents(path)?;
        let mut header = header(EntryType::Directory, 0, mode);
        header.set_uid(owner);
        header.set_gid(owner);
        self.folders.insert(path.to_owned());
        self.append(&mut header, &format!("{path}/"), io::empty())
    }

    /// A copy of a file, with what a link to it leads to.
    pub(super) fn file(&mut self, path: &str, source: &Path, mode: u32) -> Result<(), NodeError> {
        self.parents(path)?;
        let file = File::open(source).map_err(NodeError::file("read", source))?;
        let size = file.metadata().map_err(NodeError::file("read", source))?.len();
        self.append(&mut header(EntryType::Regular, size, mode), path, BufReader::new(file))
    }

    pub(super) fn text(&mut self, path: &str, text: &str, mode: u32) -> Result<(), NodeError> {
        self.parents(path)?;
        let size = text.len() as u64;
        self.append(&mut header(EntryType::Regular, size, mode), path, text.as_bytes())
    }

    pub(super) fn finish(self) -> Result<Layer, NodeError> {
        let file = self.archive.into_inner();
        let file = file.map_err(NodeError::file("write", &std::env::temp_dir()))?;
        Layer::of_temporary(file)
    }

    /// Folders on the way that nobody asked for are root's. Those that a layer below has keep what they are, as long as that is
    /// the same.
    fn parents(&mut self, path: &str) -> Result<(), NodeError> {
        let slashes: Vec<usize> = path.match_indices('/').map(|(index, _)| index).collect();
        for slash in slashes {
            let parent = path.get(..slash).unwrap_or_default();
            if self.folders.insert(parent.to_owned()) {
                let mut header = header(EntryType::Directory, 0, 0o755);
                self.append(&mut header, &format!("{parent}/"), io::empty())?;
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &str,
        content: impl Read,
    ) -> Result<(), NodeError> {
        let appended = self.archive.append_data(header, path, content);
        appended.map_err(NodeError::file("archive", Path::new(path)))
    }
}

/// Root's, and of no time: the same content is the same layer.
fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Text files of a layer, in the order of `wanted`.
pub(super) fn files_of(
    layer: &Layer,
    wanted: &[&'static str],
) -> Result<Vec<(&'static str, String)>, NodeError> {
    let path = layer.path();
    let file = File::open(path).map_err(NodeError::file("read", path))?;
    let found = read_texts(file, wanted);
    let mut found = found.map_err(NodeError::file("read", path))?;
    found.sort_by_key(|(name, _)| wanted.iter().position(|wanted| wanted == name));
    if found.len() == wanted.len() {
        return Ok(found);
    }
    let problem = format!("not all of {} are in it", wanted.join(", "));
    Err(NodeError::Unreadable { path: path.to_path_buf(), problem })
}

fn read_texts(file: File, wanted: &[&'static str]) -> io::Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(BufReader::new(file)).entries_with_seek()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if let Some(&name) = wanted.iter().find(|&&wanted| wanted == name) {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            found.push((name, text));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_the_same_whenever_it_is_written_and_says_who_owns_what() {
        let make = || {
            let mut layer = LayerFile::new().unwrap();
            layer.folder("home/agent", 5001, 0o750).unwrap();
            layer.text("etc/passwd", "root:x:0:0\n", 0o644).unwrap();
            layer.text("etc/group", "root:x:0:\n", 0o644).unwrap();
            layer.finish().unwrap()
        };
        let layer = make();
        assert_eq!(layer.digest(), make().digest());
        let mut archive = tar::Archive::new(File::open(layer.path()).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            (path, header.uid().unwrap(), header.mode().unwrap())
        });
        let expected = [
            ("home/", 0, 0o755),
            ("home/agent/", 5001, 0o750),
            ("etc/", 0, 0o755),
            ("etc/passwd", 0, 0o644),
            ("etc/group", 0, 0o644),
        ];
        let expected = expected.map(|(path, owner, mode)| (path.to_owned(), owner, mode));
        assert_eq!(entries.collect::<Vec<_>>(), expected);

        let files = files_of(&layer, &["etc/group", "etc/passwd"]).unwrap();
        let expected = [("etc/group", "root:x:0:\n"), ("etc/passwd", "root:x:0:0\n")];
        assert_eq!(files, expected.map(|(path, text)| (path, text.to_owned())));
        assert!(files_of(&layer, &["etc/shadow"]).is_err());
    }
}
