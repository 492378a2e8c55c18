//! What a snapshot costs, beside `cp -a` of the same files in the same run: one line of JSON per case.
//!
//! `cargo run --release -p sandbox-service --example snapshot_cost [-- <folder>]`; the folder decides which disk is measured.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform_core::id::{SessionId, TurnId};
use sandbox_service::backend::SandboxBackend;
use sandbox_service::backend::local::layout::WorkspaceFolders;
use sandbox_service::backend::local::{LocalBackend, LocalSettings};
use sandbox_service::snapshots::SnapshotLimits;
use serde_json::json;
use uuid::Uuid;

type Failable<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;
const SMALL_FILES: usize = 12;
/// What opencode 1.18 has after its first turn, and what a further turn adds to the log of its database.
const DATABASE_BYTES: usize = 250_000;
const LOG_BYTES: usize = 1_207_192;
const LOG_GROWTH_BYTES: usize = 300_000;
const FOLDERS: usize = 200;
const FILES_OF_FOLDER: usize = 100;
const FILE_BYTES: usize = (500 << 20) / (FOLDERS * FILES_OF_FOLDER);

#[tokio::main]
async fn main() -> Failable<()> {
    let folder = match std::env::args_os().nth(1) {
        Some(below) => tempfile::tempdir_in(below)?,
        None => tempfile::tempdir()?,
    };
    let settings = LocalSettings {
        data: folder.path().to_owned(),
        agent_binary: PathBuf::new(),
        harness_installs: PathBuf::new(),
        launcher: PathBuf::new(),
        user: None,
    };
    let limits = SnapshotLimits { within: Duration::from_mins(5), ..SnapshotLimits::default() };
    let backend = LocalBackend::open(settings)?.with_snapshot_limits(limits);
    measure(&backend, "opencode session", make_session, |files| {
        fs::File::options()
            .append(true)
            .open(files.home.join("opencode.db-wal"))?
            .write_all(&noise(7, LOG_GROWTH_BYTES))?;
        Ok(fs::write(files.workspace.join("written"), noise(8, 2_000))?)
    })
    .await?;
    measure(&backend, "20,000 files, 500 MiB", make_project, |files| {
        Ok(fs::write(files.workspace.join("0/0"), noise(9, FILE_BYTES))?)
    })
    .await
}

/// Takes two snapshots with a change in between, restores the second, and copies the same files each time.
async fn measure(
    backend: &LocalBackend,
    what: &str,
    make: impl Fn(&WorkspaceFolders) -> Failable<()>,
    change: impl Fn(&WorkspaceFolders) -> Failable<()>,
) -> Failable<()> {
    let mut rows = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let (session, fork) = (new_session(), new_session());
        let files = backend.layout().workspace(session);
        fs::create_dir_all(&files.workspace)?;
        fs::create_dir_all(&files.home)?;
        make(&files)?;
        sync();
        for row in rows.iter_mut().take(2) {
            let (copied, _bytes) = copy(backend.layout().root(), &files)?;
            let began = Instant::now();
            let kept = backend.take_snapshot(session, turn(), Arc::default()).await?;
            row.push(Row { took: began.elapsed(), copied, bytes: kept.new_bytes });
            change(&files)?;
            sync();
        }
        let last = turn();
        backend.take_snapshot(session, last, Arc::default()).await?;
        let (copied, bytes) = copy(backend.layout().root(), &files)?;
        let began = Instant::now();
        backend.restore_snapshot(fork, session, last).await?;
        let [_, _, restores] = &mut rows;
        restores.push(Row { took: began.elapsed(), copied, bytes });
        backend.remove_workspace(session).await?;
        backend.remove_workspace(fork).await?;
        sync();
    }
    for (row, step) in rows.into_iter().zip(["first turn", "second turn", "restore"]) {
        report(what, step, row);
    }
    Ok(())
}

struct Row {
    took: Duration,
    copied: Duration,
    bytes: u64,
}

fn report(what: &str, step: &str, mut rows: Vec<Row>) {
    rows.sort_by_key(|row| row.took);
    let bytes = rows.iter().map(|row| row.bytes).max().unwrap_or_default();
    let took = median(rows.iter().map(|row| row.took).collect());
    let copied = median(rows.iter().map(|row| row.copied).collect());
    let line = json!({
        "what": what,
        "step": step,
        "milliseconds": round(took.as_secs_f64() * 1e3),
        "cp_milliseconds": round(copied.as_secs_f64() * 1e3),
        "ratio_to_cp": round(took.as_secs_f64() / copied.as_secs_f64()),
        "bytes": bytes,
    });
    println!("{line}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Copies workspace and home as a person would, and answers how long that took and how many bytes there are.
fn copy(root: &Path, files: &WorkspaceFolders) -> Failable<(Duration, u64)> {
    let target = root.join("copy");
    fs::create_dir(&target)?;
    let began = Instant::now();
    let done =
        Command::new("cp").arg("-a").args([&files.workspace, &files.home]).arg(&target).status()?;
    let took = began.elapsed();
    if !done.success() {
        return Err("cp failed".into());
    }
    let bytes = all_bytes(&target)?;
    fs::remove_dir_all(&target)?;
    sync();
    Ok((took, bytes))
}

fn all_bytes(folder: &Path) -> Failable<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { all_bytes(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

fn make_session(files: &WorkspaceFolders) -> Failable<()> {
    fs::write(files.home.join("opencode.db"), noise(1, DATABASE_BYTES))?;
    fs::write(files.home.join("opencode.db-wal"), noise(2, LOG_BYTES))?;
    for number in 0..SMALL_FILES {
        fs::write(files.workspace.join(number.to_string()), noise(100 + number as u64, 3_000))?;
    }
    Ok(())
}

fn make_project(files: &WorkspaceFolders) -> Failable<()> {
    for folder in 0..FOLDERS {
        let below = files.workspace.join(folder.to_string());
        fs::create_dir(&below)?;
        for file in 0..FILES_OF_FOLDER {
            let seed = (folder * FILES_OF_FOLDER + file) as u64;
            fs::write(below.join(file.to_string()), noise(seed, FILE_BYTES))?;
        }
    }
    Ok(())
}

/// Bytes that no two seeds share.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// What one step wrote is not left to be written during the next.
fn sync() {
    rustix::fs::sync();
}

fn new_session() -> SessionId {
    SessionId::from_uuid(Uuid::now_v7())
}

fn turn() -> TurnId {
    TurnId::from_uuid(Uuid::now_v7())
}
