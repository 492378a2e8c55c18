//! The file of certificates that the harness's room trusts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be added to {}", path.display())]
pub(crate) struct TrustError {
    path: PathBuf,
    source: io::Error,
}

/// Adds a certificate, unless the file holds it already. In place, because the room sees this very file and not its folder.
pub(super) fn add(path: &Path, certificate: &str) -> Result<(), TrustError> {
    let certificate = certificate.trim();
    if certificate.is_empty() {
        return Ok(());
    }
    let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
    let added = opened.and_then(|file| append(file, certificate));
    added.map_err(|source| TrustError { path: path.to_owned(), source })
}

fn append(mut file: File, certificate: &str) -> io::Result<()> {
    let mut known = String::new();
    file.read_to_string(&mut known)?;
    if known.contains(certificate) {
        return Ok(());
    }
    // Two certificates on one line would be none.
    let between = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    // In one write, so that whoever reads sees all of it or nothing.
    file.write_all(format!("{between}{certificate}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_added_once_and_begins_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca-certificates.crt");
        std::fs::write(&path, "-----theirs-----").unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        let seen = File::open(&path).unwrap();
        for _ in 0..2 {
            add(&path, "-----ours-----\n").unwrap();
            assert_eq!(read(), "-----theirs-----\n-----ours-----\n");
        }
        add(&path, "-----of another run-----").unwrap();
        assert_eq!(read(), "-----theirs-----\n-----ours-----\n-----of another run-----\n");
        // Whoever opened it before has the same file.
        assert_eq!(io::read_to_string(seen).unwrap(), read());
    }
}
