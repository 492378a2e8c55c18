//! The processes of the room: started as asked, their streams carried, every dead one reaped.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{self, Exited, Output, RoomFrame, Spawn, Spawned, Stdin};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::frame;

/// How long the output of a dead process may keep its exit back: a child of its own may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Writes that may wait for a process that does not read; a process with more is treated as having closed its input.
const WAITING_WRITES: usize = 1024;

pub(super) struct Processes {
    running: HashMap<u32, Running>,
    frames: mpsc::Sender<RoomFrame>,
}

struct Running {
    pid: Pid,
    input: Option<mpsc::Sender<Vec<u8>>>,
    ended: oneshot::Sender<Ended>,
}

/// How a process ended.
enum Ended {
    Code(i32),
    Signal(i32),
}

impl Processes {
    pub(super) fn new(frames: mpsc::Sender<RoomFrame>) -> Self {
        Self { running: HashMap::new(), frames }
    }

    /// Starts a process in a process group of its own, with this environment over the room's own, which tells the way out.
    pub(super) async fn spawn(&mut self, spawn: Spawn) {
        let process = spawn.process;
        let error = self.start(spawn).err().unwrap_or_default();
        self.frames.send(frame::room(Body::Spawned(Spawned { process, error }))).await.ok();
    }

    fn start(&mut self, spawn: Spawn) -> Result<(), String> {
        let (program, arguments) = spawn.command.split_first().ok_or("the command is empty")?;
        let failed = |error: std::io::Error| format!("{program} cannot be started: {error}");
        let mut child = Command::new(program)
            .args(arguments)
            .envs(spawn.environment)
            .current_dir(spawn.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;

        let process = spawn.process;
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            let output = ChildStdout::from_std(output).map_err(failed)?;
            readers.push(self.carry_output(process, false, output));
        }
        if let Some(output) = child.stderr.take() {
            let output = ChildStderr::from_std(output).map_err(failed)?;
            readers.push(self.carry_output(process, true, output));
        }
        let (input, writes) = mpsc::channel(WAITING_WRITES);
        if let Some(pipe) = child.stdin.take() {
            tokio::spawn(carry_input(writes, ChildStdin::from_std(pipe).map_err(failed)?));
        }
        let (ended, end) = oneshot::channel();
        tokio::spawn(announce_end(process, end, readers, self.frames.clone()));
        self.running
            .insert(process, Running { pid: Pid::from_raw(pid), input: Some(input), ended });
        Ok(())
    }

    fn carry_output(
        &self,
        process: u32,
        standard_error: bool,
        mut output: impl AsyncRead + Unpin + Send + 'static,
    ) -> JoinHandle<()> {
        let frames = self.frames.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = output.read(&mut buffer).await {
                let data = buffer.get(..count).unwrap_or_default().to_vec();
                let output = Output { process, standard_error, data };
                if frames.send(frame::room(Body::Output(output))).await.is_err() {
                    break;
                }
            }
        })
    }

    pub(super) fn write(&mut self, stdin: Stdin) {
        let Some(running) = self.running.get_mut(&stdin.process) else { return };
        if let Some(input) = &running.input
            && !stdin.data.is_empty()
            && input.try_send(stdin.data).is_err()
        {
            tracing::warn!(process = stdin.process, "a process does not read its input");
            running.input = None;
        }
        if stdin.close {
            running.input = None;
        }
    }

    pub(super) fn signal(&self, wanted: &link::Signal) {
        let Ok(signal) = Signal::try_from(wanted.number) else {
            tracing::warn!(number = wanted.number, "no such signal");
            return;
        };
        if wanted.everything {
            self.signal_all(signal);
        } else if let Some(running) = self.running.get(&wanted.process) {
            tell(signal, signal::killpg(running.pid, signal));
        }
    }

    /// Signals every process of the room but this one.
    ///
    /// As the first process of its own pid namespace it can reach them all at once. Anywhere else that would reach the whole machine,
    /// so there only the groups it started hear it.
    pub(super) fn signal_all(&self, signal: Signal) {
        if nix::unistd::getpid() == Pid::from_raw(1) {
            tell(signal, signal::kill(Pid::from_raw(-1), signal));
            return;
        }
        for running in self.running.values() {
            tell(signal, signal::killpg(running.pid, signal));
        }
    }

    /// Takes every dead child off the kernel's hands: the started ones, and orphans that were left to the first process.
    pub(super) fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, Ended::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, Ended::Signal(signal as i32));
                }
                Ok(
                    WaitStatus::Stopped(..)
                    | WaitStatus::Continued(_)
                    | WaitStatus::PtraceEvent(..)
                    | WaitStatus::PtraceSyscall(_),
                )
                | Err(Errno::EINTR) => {}
                Ok(WaitStatus::StillAlive) | Err(_) => break,
            }
        }
    }

    fn ended(&mut self, pid: Pid, end: Ended) {
        let process = self.running.iter().find(|(_, running)| running.pid == pid);
        let Some(process) = process.map(|(process, _)| *process) else { return };
        if let Some(running) = self.running.remove(&process) {
            running.ended.send(end).ok();
        }
    }
}

fn tell(signal: Signal, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(%signal, %error, "a signal was not delivered"),
    }
}

async fn carry_input(mut writes: mpsc::Receiver<Vec<u8>>, mut pipe: ChildStdin) {
    while let Some(data) = writes.recv().await {
        if pipe.write_all(&data).await.is_err() {
            break;
        }
    }
}

/// The exit comes after the last output, as a reader expects it.
async fn announce_end(
    process: u32,
    end: oneshot::Receiver<Ended>,
    readers: Vec<JoinHandle<()>>,
    frames: mpsc::Sender<RoomFrame>,
) {
    let Ok(ended) = end.await else { return };
    tokio::time::timeout(LAST_WORDS, futures::future::join_all(readers)).await.ok();
    let (code, signal) = match ended {
        Ended::Code(code) => (Some(code), None),
        Ended::Signal(signal) => (None, Some(signal)),
    };
    frames.send(frame::room(Body::Exited(Exited { process, code, signal }))).await.ok();
}
