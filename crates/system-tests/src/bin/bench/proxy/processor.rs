//! What a process has used: processor time, and the most memory at once.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The time for which its threads have run, in the kernel too.
pub fn processor_time(process: i32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // One that ends meanwhile has done none of the work that is measured.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let run = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += run.context("schedstat cannot be read")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Begins to measure [`most_resident_mebibytes`] anew.
pub fn forget_most_resident(process: i32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{process}/clear_refs"), "5")?)
}

pub fn most_resident_mebibytes(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024)
}
