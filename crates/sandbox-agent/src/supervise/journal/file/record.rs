//! One record of a journal's file: length, checksum and bytes.

use std::io;

use platform_core::id::TurnId;
use platform_core::journal::Entry;

/// Length and CRC-32 of the bytes that follow, both 32-bit big endian.
pub(super) const HEADER: usize = 8;

/// The bytes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervise::journal) struct Record(pub(in crate::supervise::journal) Vec<u8>);

impl Record {
    /// How much of the file it takes.
    pub(super) fn size(&self) -> u64 {
        size(&self.0)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        write_record(&self.0, bytes)
    }
}

pub(super) fn size(body: &[u8]) -> u64 {
    u64::try_from(HEADER + body.len()).unwrap_or(u64::MAX)
}

pub(super) fn write_record(body: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    bytes.extend_from_slice(body);
    Ok(())
}

/// The first record's bytes and what comes after it, unless it is not whole.
pub(super) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (length, checksum) = header.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let checksum = u32::from_be_bytes(checksum.try_into().ok()?);
    let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (crc32fast::hash(body) == checksum).then_some((body, after))
}

pub(super) fn started_turn(record: &Record) -> Option<TurnId> {
    match serde_json::from_slice(&record.0).ok()? {
        Entry::TurnStarted { turn_id } => Some(turn_id),
        Entry::TurnEnded { .. }
        | Entry::Event { .. }
        | Entry::ActionResumed { .. }
        | Entry::HarnessSession { .. } => None,
    }
}

pub(super) fn ended_turn(record: &Record) -> Option<TurnId> {
    match serde_json::from_slice(&record.0).ok()? {
        Entry::TurnEnded { turn_id, .. } => Some(turn_id),
        Entry::TurnStarted { .. }
        | Entry::Event { .. }
        | Entry::ActionResumed { .. }
        | Entry::HarnessSession { .. } => None,
    }
}
