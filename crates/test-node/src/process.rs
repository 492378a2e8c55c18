//! Long-lived parts of the node, found again by their pid files.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directory::{NodeDirectory, append_to, tail, write};
use crate::failure::NodeError;

const INTERVAL: Duration = Duration::from_millis(50);
/// How long a part may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// One program that is to run.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// A pid together with the moment its process began (field 22 of `/proc/<pid>/stat`): pids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: i32,
    began: u64,
}

impl Part {
    /// Starts the part unless it runs. Answers whether it was started.
    pub(crate) fn ensure(&self, directory: &NodeDirectory) -> Result<bool, NodeError> {
        if Process::recorded(directory, self.name).is_some() {
            return Ok(false);
        }
        let path = directory.log(self.name);
        let log = append_to(&path)?;
        let errors = log.try_clone().map_err(NodeError::file("open", &path))?;
        // A session of its own, so that the end of the terminal is not the end of the node.
        let spawned = Command::new("setsid")
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        let child = spawned.map_err(NodeError::file("start", &self.program))?;
        let identity = i32::try_from(child.id()).ok().and_then(Process::of_pid);
        let process = identity.ok_or_else(|| self.ended(directory))?;
        let recorded = format!("{} {}\n", process.pid, process.began);
        write(&directory.pid_file(self.name), &recorded)?;
        Ok(true)
    }

    /// Waits until `is_ready`, as long as the part lives.
    pub(crate) fn wait(
        &self,
        directory: &NodeDirectory,
        patience: Duration,
        mut is_ready: impl FnMut() -> Result<(), String>,
    ) -> Result<(), NodeError> {
        let deadline = Instant::now() + patience;
        loop {
            let Err(last) = is_ready() else { return Ok(()) };
            if Process::recorded(directory, self.name).is_none() {
                return Err(self.ended(directory));
            }
            if Instant::now() > deadline {
                let what = format!("{} is ready", self.name);
                let last = format!("{last}\n{}", tail(&directory.log(self.name), 20));
                return Err(NodeError::NotSo { what, patience, last });
            }
            thread::sleep(INTERVAL);
        }
    }

    fn ended(&self, directory: &NodeDirectory) -> NodeError {
        let log = directory.log(self.name);
        let tail = tail(&log, 20);
        NodeError::EndedWhileStarting { part: self.name, log, tail }
    }
}

impl Process {
    /// The process that has this pid now. A process that ended but was not reaped yet is none.
    pub(crate) fn of_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name stands in parentheses and may contain anything.
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace();
        let state = fields.next()?;
        let began = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, began })
    }

    /// The living process of a part.
    pub(crate) fn recorded(directory: &NodeDirectory, name: &str) -> Option<Self> {
        let text = fs::read_to_string(directory.pid_file(name)).ok()?;
        let (pid, began) = text.trim().split_once(' ')?;
        let process = Self { pid: pid.parse().ok()?, began: began.parse().ok()? };
        process.is_alive().then_some(process)
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// Asks the process to end, and ends it by force when it does not.
    pub(crate) fn stop(self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while self.is_alive() {
            if Instant::now() > deadline {
                self.signal(Signal::SIGKILL);
            }
            thread::sleep(INTERVAL);
        }
    }

    fn is_alive(self) -> bool {
        Self::of_pid(self.pid) == Some(self)
    }

    fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between looking and signalling: then all is well.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Every living process whose command line has this word.
pub(crate) fn with_argument(argument: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|word| word == argument.as_bytes())
    })
    .filter_map(Process::of_pid)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, script: &str) -> Part {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Part { name, program: "/bin/sh".into(), arguments }
    }

    #[test]
    fn a_part_that_runs_is_not_started_again_and_one_that_was_stopped_is() {
        let folder = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::create(&folder.path().join("n")).unwrap();
        let part = part("sleeper", "exec sleep 60");
        assert!(part.ensure(&directory).unwrap());
        assert!(!part.ensure(&directory).unwrap());
        let process = Process::recorded(&directory, "sleeper").unwrap();
        process.stop();
        assert_eq!(Process::recorded(&directory, "sleeper"), None);
        assert!(part.ensure(&directory).unwrap());
        Process::recorded(&directory, "sleeper").unwrap().stop();
    }

    #[test]
    fn a_part_that_ends_while_it_is_waited_for_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::create(&folder.path().join("n")).unwrap();
        let part = part("failing", "echo the reason; exit 1");
        let waited = part
            .ensure(&directory)
            .and_then(|_| part.wait(&directory, Duration::from_secs(30), || Err(String::new())));
        let Err(NodeError::EndedWhileStarting { tail, .. }) = waited else { panic!("{waited:?}") };
        assert_eq!(tail, "the reason");
    }

    #[test]
    fn a_pid_file_of_an_earlier_process_with_the_same_pid_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::create(&folder.path().join("n")).unwrap();
        let own = Process::of_pid(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = format!("{} {}\n", own.pid, own.began - 1);
        fs::write(directory.pid_file("stranger"), earlier).unwrap();
        assert_eq!(Process::recorded(&directory, "stranger"), None);
    }
}
