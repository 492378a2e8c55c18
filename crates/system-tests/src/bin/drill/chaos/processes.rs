//! Processes of this machine, by their parents.

use std::collections::BTreeMap;
use std::fs;

use local_stack::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process that was found, and that is signalled only while it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pid: i32,
    began: u64,
    pub(crate) command: String,
}

/// The process and everything that descends from it.
pub(crate) fn tree(root: i32) -> Vec<Found> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Some((parent, _)) = parent_and_beginning(pid)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        waiting.extend(children.remove(&pid).unwrap_or_default());
        found.extend(alone(pid));
    }
    found
}

pub(crate) fn alone(pid: i32) -> Vec<Found> {
    let Some((_, began)) = parent_and_beginning(pid) else { return Vec::new() };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    vec![Found { pid, began, command }]
}

pub(crate) fn pids(found: &[Found]) -> Vec<i32> {
    found.iter().map(|found| found.pid).collect()
}

pub(crate) fn signal(found: &[Found], signal: Signal) {
    for Found { pid, began, .. } in found {
        if parent_and_beginning(*pid).is_some_and(|(_, now)| now == *began) {
            // It may end between looking and signalling: then there is nobody to signal.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }
}

/// Fields 4 and 22 of `/proc/<pid>/stat`; `None` for a process that has ended.
fn parent_and_beginning(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some((parent, began))
}
