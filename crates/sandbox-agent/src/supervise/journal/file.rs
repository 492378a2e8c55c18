//! The journal's files, one per epoch: append-only records of length, checksum and bytes. What the platform has may be cut off at the
//! beginning; then the first record says what there was.

mod record;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use platform_core::id::TurnId;
use platform_core::sandbox::{Epoch, JournalMark};
use serde::{Deserialize, Serialize};

pub(super) use self::record::Record;
use self::record::{ended_turn, size, split_record, started_turn, write_record};

/// This many journals before the current one are kept: as many as a turn may be taken up again, and one more.
const KEPT: usize = platform_core::turn::MAX_RETAKES as usize + 1;

/// What is known of the entries that were cut off.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    /// The number of the last of them.
    pub(super) through: u64,
    /// Turns that were started and not ended.
    started: HashSet<TurnId>,
    pub(super) ended: HashSet<TurnId>,
}

pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
    cut: Cut,
    /// Where the entries begin, and where each of them ends.
    begin: u64,
    ends: VecDeque<u64>,
}

impl Cut {
    fn take(&mut self, record: &Record) {
        if let Some(turn) = started_turn(record) {
            self.started.insert(turn);
        }
        if let Some(turn) = ended_turn(record) {
            self.started.remove(&turn);
            self.ended.insert(turn);
        }
    }
}

impl JournalFile {
    /// Opens the journal of `epoch` and answers what was cut off, and the entries that follow. A new one begins with these entries. A
    /// record that a crash left half written is cut off as well: it was told to nobody.
    pub(super) fn open(
        folder: &Path,
        epoch: Epoch,
        tail: &[Record],
    ) -> io::Result<(Self, Cut, Vec<Record>)> {
        let path = folder.join(name(epoch));
        if !fs::exists(&path)? {
            let mut bytes = Vec::new();
            for record in tail {
                record.write(&mut bytes)?;
            }
            replace(&path, &bytes)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let (cut, records, whole) = read_records(&mut file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        let sizes = records.iter().map(Record::size).sum::<u64>();
        let begin = whole.saturating_sub(sizes);
        let ends = ends(begin, &records);
        Ok((Self { path, file, cut: cut.clone(), begin, ends }, cut, records))
    }

    /// Cuts off the entries up to this number, which the platform has, if that frees at least so many bytes.
    pub(super) fn cut(&mut self, through: u64, at_least: u64) -> io::Result<()> {
        let count = through.saturating_sub(self.cut.through);
        let Some(last) = count.checked_sub(1).and_then(|last| usize::try_from(last).ok()) else {
            return Ok(());
        };
        match self.ends.get(last) {
            Some(end) if end - self.begin >= at_least => {}
            Some(_) | None => return Ok(()),
        }
        self.file.seek(SeekFrom::Start(0))?;
        let (mut cut, mut records, _) = read_records(&mut self.file)?;
        for record in records.drain(..=last) {
            cut.take(&record);
            cut.through += 1;
        }
        let head = Record(serde_json::to_vec(&cut).map_err(io::Error::other)?);
        let mut bytes = Vec::new();
        for record in std::iter::once(&head).chain(&records) {
            record.write(&mut bytes)?;
        }
        let file = replace(&self.path, &bytes)?;
        self.begin = head.size();
        self.ends = ends(self.begin, &records);
        (self.file, self.cut) = (file, cut);
        Ok(())
    }

    /// Writes the records one after the other and returns when the disk has them.
    pub(super) fn append<'body>(
        &mut self,
        bodies: impl Iterator<Item = &'body [u8]>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut end = self.ends.back().copied().unwrap_or(self.begin);
        let mut ends = Vec::new();
        for body in bodies {
            write_record(body, &mut bytes)?;
            end += size(body);
            ends.push(end);
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.ends.extend(ends);
        Ok(())
    }
}

/// Writes a file as a whole, in place of one that is there: a crash leaves either. It is open behind its end.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(true).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name must survive a crash as well.
    File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(file)
}

fn ends(begin: u64, records: &[Record]) -> VecDeque<u64> {
    let mut end = begin;
    let ends = records.iter().map(|record| {
        end += record.size();
        end
    });
    ends.collect()
}

/// What the journals before `epoch` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    /// The turns that were started; `None` without any such journal.
    pub(super) started: Option<HashSet<TurnId>>,
    /// What the last of them wrote and the platform has not taken, as `taken` says. Each journal begins with what its predecessor left,
    /// so it is all there is.
    pub(super) tail: Vec<Record>,
}

/// Reads the earlier journals, and removes very old ones.
pub(super) fn earlier(
    folder: &Path,
    epoch: Epoch,
    taken: Option<JournalMark>,
) -> io::Result<Earlier> {
    let mut journals = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let of = epoch_of(&entry.file_name().to_string_lossy()).filter(|of| *of < epoch);
        if let Some(of) = of {
            journals.insert(of, entry.path());
        }
    }
    let mut earlier = Earlier::default();
    for (age, (of, path)) in journals.into_iter().rev().enumerate() {
        if age >= KEPT {
            fs::remove_file(path)?;
            continue;
        }
        let (cut, records, _) = read_records(&mut File::open(path)?)?;
        let started = cut.started.into_iter().chain(records.iter().filter_map(started_turn));
        earlier.started.get_or_insert_with(HashSet::new).extend(started);
        if age == 0 {
            let through = match taken {
                Some(taken) if taken.epoch == of => taken.through,
                Some(taken) if taken.epoch > of => u64::MAX,
                Some(_) | None => 0,
            };
            let through = through.saturating_sub(cut.through);
            let through = usize::try_from(through).unwrap_or(usize::MAX);
            earlier.tail = records.into_iter().skip(through).collect();
        }
    }
    Ok(earlier)
}

fn name(epoch: Epoch) -> String {
    format!("journal-{epoch}.log")
}

fn epoch_of(name: &str) -> Option<Epoch> {
    name.strip_prefix("journal-")?.strip_suffix(".log")?.parse().ok().map(Epoch)
}

/// What was cut off, the whole entries that follow, and where the last of them ends.
fn read_records(file: &mut File) -> io::Result<(Cut, Vec<Record>, u64)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((body, after)) = split_record(rest) {
        records.push(Record(body.to_vec()));
        rest = after;
    }
    let whole = u64::try_from(bytes.len() - rest.len()).map_err(io::Error::other)?;
    let cut = records.first().and_then(|record| serde_json::from_slice::<Cut>(&record.0).ok());
    if cut.is_some() {
        records.remove(0);
    }
    Ok((cut.unwrap_or_default(), records, whole))
}

#[cfg(test)]
mod tests {
    use platform_core::id::Id;
    use platform_core::journal::Entry;
    use platform_core::turn::StopReason;
    use uuid::Uuid;

    use super::record::HEADER;
    use super::*;

    fn open(folder: &Path) -> (JournalFile, Vec<Record>) {
        let (file, _, records) = JournalFile::open(folder, Epoch(1), &[]).unwrap();
        (file, records)
    }

    fn turn(number: u128) -> TurnId {
        Id::from_uuid(Uuid::from_u128(number))
    }

    fn started(number: u128) -> Vec<u8> {
        serde_json::to_vec(&Entry::TurnStarted { turn_id: turn(number) }).unwrap()
    }

    fn ended(number: u128) -> Vec<u8> {
        let (turn_id, stop_reason) = (turn(number), StopReason::EndTurn);
        serde_json::to_vec(&Entry::TurnEnded { turn_id, stop_reason, message: None }).unwrap()
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
    fn what_is_cut_off_is_gone_but_its_turns_and_the_numbers_of_the_rest_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = open(folder.path());
        let bodies = [started(1), ended(1), started(2), b"four".to_vec(), b"five".to_vec()];
        file.append(bodies.iter().map(Vec::as_slice)).unwrap();
        file.cut(3, 1).unwrap();
        file.append([&b"six"[..]].into_iter()).unwrap();
        file.cut(4, 1).unwrap();
        file.append([&b"seven"[..]].into_iter()).unwrap();

        let (_, cut, kept) = JournalFile::open(folder.path(), Epoch(1), &[]).unwrap();
        assert_eq!(cut.through, 4);
        assert_eq!(cut.ended, HashSet::from([turn(1)]));
        assert_eq!(kept, records(&[b"five", b"six", b"seven"]));
        let taken = Some(JournalMark { epoch: Epoch(1), through: 5 });
        let earlier = earlier(folder.path(), Epoch(2), taken).unwrap();
        assert_eq!(earlier.started, Some(HashSet::from([turn(2)])));
        assert_eq!(earlier.tail, records(&[b"six", b"seven"]));
    }

    #[test]
    fn nothing_is_cut_off_for_too_little_or_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, _) = open(folder.path());
        file.append([&b"one"[..], b"two"].into_iter()).unwrap();
        file.cut(1, 100).unwrap();
        file.cut(0, 0).unwrap();
        file.cut(9, 0).unwrap();
        assert_eq!(open(folder.path()).1, records(&[b"one", b"two"]));
    }

    #[test]
    fn journals_too_old_to_matter_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for epoch in 1..=8 {
            JournalFile::open(folder.path(), Epoch(epoch), &[]).unwrap();
        }
        let earlier = earlier(folder.path(), Epoch(9), None).unwrap();
        assert_eq!(earlier.started, Some(HashSet::new()));
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .filter_map(|entry| epoch_of(&entry.unwrap().file_name().to_string_lossy()))
            .collect();
        left.sort();
        assert_eq!(left, [Epoch(5), Epoch(6), Epoch(7), Epoch(8)]);
    }
}
