//! A process that cannot be mistaken for another one with the same pid.

use std::fs;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Linux shows times to user space in hundredths of a second on every architecture (`USER_HZ`).
const MILLISECONDS_PER_TICK: u64 = 10;

/// A pid together with the moment its process began (field 22 of `/proc/<pid>/stat`): pids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    pid: i32,
    began: u64,
}

impl ProcessIdentity {
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

    pub(crate) fn recorded(pid: i32, began: u64) -> Self {
        Self { pid, began }
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    pub(crate) fn began(self) -> u64 {
        self.began
    }

    /// When it began, by the wall clock.
    pub(crate) fn began_at(self) -> Option<SystemTime> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot =
            stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let since_boot = Duration::from_millis(self.began.checked_mul(MILLISECONDS_PER_TICK)?);
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot) + since_boot)
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of_pid(self.pid) == Some(self)
    }

    /// Signals the process alone. One that is gone needs no signal.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between looking and signalling: then all is well.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Ends the process and, when it leads a process group, all of the group.
    pub(crate) fn kill_group(self) {
        if self.is_alive() {
            let pid = Pid::from_raw(self.pid);
            if killpg(pid, Signal::SIGKILL).is_err() {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_process_with_the_same_pid_is_a_stranger() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = ProcessIdentity::of_pid(pid).unwrap();
        assert!(identity.is_alive());

        let earlier = ProcessIdentity::recorded(pid, identity.began() - 1);
        assert!(!earlier.is_alive());
        earlier.signal(Signal::SIGKILL);
        assert!(identity.is_alive(), "a stranger was killed");

        identity.signal(Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
