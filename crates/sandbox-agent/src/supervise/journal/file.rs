//! The journal's files, one per epoch: append-only records of length, checksum and bytes.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use platform_core::id::TurnId;
use platform_core::journal::Entry;
use platform_core::sandbox::Epoch;

/// Journals of this many epochs before the current one are kept: as many as a turn may be taken up again, and one more.
const EPOCHS_KEPT: u64 = platform_core::turn::MAX_RETAKES as u64 + 1;

/// Length and CRC-32 of the bytes that follow, both 32-bit big endian.
const HEADER: usize = 8;

/// The bytes of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record(pub(super) Vec<u8>);

pub(super) struct JournalFile {
    file: File,
}

impl JournalFile {
    /// Opens or creates the journal of `epoch` and answers the records it has. A record that a crash left half written is cut off: it
    /// was told to nobody.
    pub(super) fn open(folder: &Path, epoch: Epoch) -> io::Result<(Self, Vec<Record>)> {
        let path = folder.join(name(epoch));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let (records, whole) = read_records(&mut file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        // The file's name must survive a crash as well.
        File::open(folder)?.sync_all()?;
        Ok((Self { file }, records))
    }

    /// Writes the records one after the other and returns when the disk has them.
    pub(super) fn append<'body>(
        &mut self,
        bodies: impl Iterator<Item = &'body [u8]>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        for body in bodies {
            let length = u32::try_from(body.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

/// The turns that journals before `epoch` say were started; `None` without any such journal. Very old ones are removed.
pub(super) fn turns_started_before(
    folder: &Path,
    epoch: Epoch,
) -> io::Result<Option<HashSet<TurnId>>> {
    let mut turns = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(earlier) = epoch_of(&entry.file_name().to_string_lossy()) else { continue };
        if earlier >= epoch {
            continue;
        }
        if earlier.0.saturating_add(EPOCHS_KEPT) < epoch.0 {
            fs::remove_file(entry.path())?;
            continue;
        }
        let (records, _) = read_records(&mut File::open(entry.path())?)?;
        turns.get_or_insert_with(HashSet::new).extend(records.iter().filter_map(started_turn));
    }
    Ok(turns)
}

fn started_turn(record: &Record) -> Option<TurnId> {
    match serde_json::from_slice(&record.0).ok()? {
        Entry::TurnStarted { turn_id } => Some(turn_id),
        Entry::TurnEnded { .. } | Entry::Event { .. } | Entry::HarnessSession { .. } => None,
    }
}

fn name(epoch: Epoch) -> String {
    format!("journal-{epoch}.log")
}

fn epoch_of(name: &str) -> Option<Epoch> {
    name.strip_prefix("journal-")?.strip_suffix(".log")?.parse().ok().map(Epoch)
}

/// The whole records from the start, and where the last of them ends.
fn read_records(file: &mut File) -> io::Result<(Vec<Record>, u64)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((body, after)) = split_record(rest) {
        records.push(Record(body.to_vec()));
        rest = after;
    }
    let whole = u64::try_from(bytes.len() - rest.len()).map_err(io::Error::other)?;
    Ok((records, whole))
}

/// The first record's bytes and what comes after it, unless it is not whole.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (length, checksum) = header.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let checksum = u32::from_be_bytes(checksum.try_into().ok()?);
    let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (crc32fast::hash(body) == checksum).then_some((body, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> (JournalFile, Vec<Record>) {
        JournalFile::open(folder, Epoch(1)).unwrap()
    }

    fn records(bodies: &[&[u8]]) -> Vec<Record> {
        bodies.iter().map(|body| Record(body.to_vec())).collect()
    }

    #[test]
    fn records_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, none) = open(folder.path());
        assert_eq!(none, []);
        file.append([&b"one"[..], b"", b"three"].into_iter()).unwrap();
        assert_eq!(open(folder.path()).1, records(&[b"one", b"", b"three"]));
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_dropped_and_the_next_one_takes_its_place() {
        let whole = HEADER + 3;
        for cut in whole + 1..2 * whole {
            let folder = tempfile::tempdir().unwrap();
            let (mut file, _) = open(folder.path());
            file.append([&b"one"[..], b"two"].into_iter()).unwrap();
            file.file.set_len(cut as u64).unwrap();

            let (mut file, kept) = open(folder.path());
            assert_eq!(kept, records(&[b"one"]), "cut at {cut}");
            file.append([&b"new"[..]].into_iter()).unwrap();
            assert_eq!(open(folder.path()).1, records(&[b"one", b"new"]), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_whose_bytes_changed_is_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = open(folder.path());
        file.append([&b"one"[..], b"two"].into_iter()).unwrap();
        let path = folder.path().join("journal-1.log");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(folder.path()).1, records(&[b"one"]));
    }

    #[test]
    fn journals_too_old_to_matter_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for epoch in 1..=8 {
            JournalFile::open(folder.path(), Epoch(epoch)).unwrap();
        }
        assert_eq!(turns_started_before(folder.path(), Epoch(9)).unwrap(), Some(HashSet::new()));
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .filter_map(|entry| epoch_of(&entry.unwrap().file_name().to_string_lossy()))
            .collect();
        left.sort();
        assert_eq!(left, [Epoch(5), Epoch(6), Epoch(7), Epoch(8)]);
    }
}
