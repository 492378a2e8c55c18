//! The request log: one JSON line for each model request, the oracle for what an agent really sent.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// What is written of a request. Never its headers: they carry keys.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord<'request> {
    /// RFC 3339, UTC, when the request was complete.
    pub time: String,
    /// The id that the answer carries.
    pub id: &'request str,
    pub path: &'request str,
    pub model: &'request str,
    #[serde(rename = "stream")]
    pub is_streamed: bool,
    pub tools: Vec<&'request str>,
    pub bytes: usize,
    /// The newest text a user wrote.
    pub script: &'request str,
    /// Tool results since then: the number of the reply that is due.
    pub tool_results: usize,
}

/// An append-only file, shared by all workers.
#[derive(Debug)]
pub struct RequestLog {
    file: Mutex<File>,
}

impl RequestLog {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Writes the line before the request is answered, so that whoever has the answer finds it.
    pub fn append(&self, record: &RequestRecord<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}
