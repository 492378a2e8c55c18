//! Processes that cannot be mistaken for others with the same pid, and whose end is an event.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process held by a pidfd: the kernel gives its pid to nobody else as far as this handle is concerned.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    began: u64,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// The living process of that pid; with `began` only if it is the one that began then.
    pub fn open(pid: i32, began: Option<u64>) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the handle was opened: what is read belongs to the process that the handle holds.
        let Some(seen) = began_of(pid.as_raw_nonzero().get()) else { return Ok(None) };
        if began.is_some_and(|began| began != seen) {
            return Ok(None);
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may change their descriptor; this one cannot"
        )]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        Ok(Some(Self { pid, began: seen, handle }))
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn began(&self) -> u64 {
        self.began
    }

    /// A zombie counts as gone: nothing of it runs.
    pub fn is_alive(&self) -> bool {
        began_of(self.pid()) == Some(self.began)
    }

    /// Whether it was stopped (SIGSTOP): it hears no request to end.
    pub fn is_frozen(&self) -> bool {
        matches!(state_of(self.pid()), Some('T' | 't'))
    }

    /// Asks it to end. As process 1 of its namespace it may not hear.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Keeps it from doing anything more until it is killed.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends it. When it is process 1 of a pid namespace, all others in there end before it does.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Resolves once the process is gone.
    pub async fn gone(&self) -> io::Result<()> {
        self.handle.readable().await?.retain_ready();
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.handle.get_ref().as_fd(), signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(process.pid = self.pid(), %error, "process could not be signalled");
        }
    }
}

/// When the process with this pid began (field 22 of its `stat`), unless it ended already.
pub fn began_of(pid: i32) -> Option<u64> {
    let (state, began) = stat_of(pid)?;
    (!matches!(state, 'Z' | 'X')).then_some(began)
}

fn state_of(pid: i32) -> Option<char> {
    stat_of(pid).map(|(state, _)| state)
}

fn stat_of(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let began = fields.nth(18)?.parse().ok()?;
    Some((state, began))
}

/// The processes that this one started and still has.
pub fn children_of(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_an_event() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(child.id().try_into().unwrap(), None).unwrap().unwrap();
        assert!(process.is_alive());
        process.kill();
        process.gone().await.unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_began_at_another_time_is_a_stranger() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        let began = began_of(pid).unwrap();
        assert!(Process::open(pid, Some(began)).unwrap().is_some());
        assert!(Process::open(pid, Some(began - 1)).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
