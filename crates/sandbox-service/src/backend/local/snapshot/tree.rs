//! What is written down about kept files: a list per folder, and a record per snapshot.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::Stat;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Names an object by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectName([u8; 32]);

impl ObjectName {
    pub(super) fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    pub(super) fn of_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let digits = word.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut word = String::with_capacity(64);
        for byte in self.0 {
            write!(word, "{byte:02x}")?;
        }
        formatter.write_str(&word)
    }
}

impl Serialize for ObjectName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::parse(&word).ok_or_else(|| de::Error::custom("not the name of an object"))
    }
}

/// A name or the target of a link as the kernel has it: any bytes but NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) OsString);

/// Bytes are written only for what is no text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenName {
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(OsStr::from_bytes(bytes).to_owned())
    }

    /// The file that a database keeps beside the one of this name.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        let mut name = self.0.clone();
        name.push(suffix);
        Self(name)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self.0.to_str() {
            Some(text) => WrittenName::Text(text.to_owned()),
            None => WrittenName::Bytes(self.0.as_bytes().to_vec()),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match WrittenName::deserialize(deserializer)? {
            WrittenName::Text(text) => text.into(),
            WrittenName::Bytes(bytes) => OsString::from_vec(bytes),
        }))
    }
}

/// Seconds and nanoseconds since 1970, as the file system has them. Any user may set any time on its own files.
pub(super) type Moment = (i64, u32);

/// What changes whenever a file does. Two looks that see the same have seen the same content, if the first of them came late enough after the
/// change: the kernel's clock for files is coarse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified: Moment,
    pub(super) changed: Moment,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: modified(stat),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        }
    }
}

pub(super) fn modified(stat: &Stat) -> Moment {
    (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

/// The content of one folder, sorted by name.
pub(super) type Tree = Vec<Entry>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// The twelve bits of permissions.
    pub(super) mode: u32,
    pub(super) modified: Moment,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Folder {
        tree: ObjectName,
    },
    Link {
        target: Name,
    },
    /// The content is that of the objects, one after the other.
    File {
        /// As it was seen; absent when it had changed so lately that the next look cannot rely on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Identity>,
        size: u64,
        objects: Vec<ObjectName>,
    },
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The folder above the workspace and the home.
    pub(super) tree: ObjectName,
    /// Files, folders and links.
    pub(super) entries: u64,
    /// What was not stored already.
    pub(super) new_bytes: u64,
    /// All that was stored for the session when the snapshot had been taken.
    pub(super) stored_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_reads_back_as_it_was() {
        for bytes in [b"plain".as_slice(), b"\xff\xfe", "gr\u{fc}n".as_bytes(), b"new\nline"] {
            let name = Name::of(bytes);
            let written = serde_json::to_vec(&name).unwrap();
            assert_eq!(serde_json::from_slice::<Name>(&written).unwrap(), name);
        }
    }

    #[test]
    fn an_object_is_named_by_the_sha_256_of_its_content() {
        let name = ObjectName::of(b"abc");
        let word = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(name.to_string(), word);
        assert_eq!(ObjectName::parse(word), Some(name));
        assert_eq!(ObjectName::parse("../../etc/passwd"), None);
    }
}
