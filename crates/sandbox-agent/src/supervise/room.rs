//! The other room, as seen from here: a socket to `init`, the processes it runs for us. Nothing that comes from there is believed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use platform_messaging::framing::{FrameReader, FrameWriter};
use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{
    self, ListenOn, Ready, RoomFrame, Spawn, Stdin, ToolsStream, WriteFile,
};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::frame;

/// How long `init` may take to answer what it can answer at once.
const ANSWER: Duration = Duration::from_secs(20);

/// Frames for the client's tools that may wait. What comes beyond that is lost: the room must not be able to hold up its own reader.
const WAITING_TOOLS: usize = 1024;

/// Frames of one process that may wait to be taken; then the room waits.
const WAITING_OUTPUT: usize = 64;

#[derive(Clone)]
pub(super) struct Room {
    frames: mpsc::Sender<RoomFrame>,
    expected: Arc<Mutex<Expected>>,
    /// Told whenever a process has ended.
    ended: Arc<Notify>,
}

/// Who waits for which frame of `init`.
#[derive(Default)]
struct Expected {
    last: u32,
    spawned: HashMap<u32, oneshot::Sender<String>>,
    output: HashMap<u32, mpsc::Sender<Output>>,
    written: HashMap<u32, oneshot::Sender<String>>,
    /// What `init` said of itself.
    ready: Ready,
    tools: Option<mpsc::Sender<ToolsStream>>,
}

/// A process in the other room. Dropping it forgets the process but does not end it.
pub(super) struct Process {
    number: u32,
    room: Room,
    output: mpsc::Receiver<Output>,
}

/// What a process says.
pub(super) enum Output {
    Standard(Vec<u8>),
    Error(Vec<u8>),
    Ended(Ended),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    /// The room is gone, and with it every process in it.
    Room,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    #[error("the room's socket {} cannot be opened", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the harness's room is gone")]
    Gone,
    #[error("the harness's room does not answer")]
    Silent,
    /// In the words of `init`.
    #[error("{0}")]
    Refused(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(formatter, "signal {signal}"),
                Err(_) => write!(formatter, "signal {number}"),
            },
            Self::Room => formatter.write_str("its room is gone"),
        }
    }
}

impl Room {
    /// Waits for `init` and takes exactly one connection: what the agent starts later finds no socket to speak on. The other room may be
    /// another user's, of the same group.
    pub(super) async fn accept(path: &Path, is_shared_by_group: bool) -> Result<Self, RoomError> {
        let opening = |source| RoomError::Open { path: path.to_owned(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(opening(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(opening)?;
        if is_shared_by_group {
            std::fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(opening)?;
        }
        let (socket, _) = listener.accept().await.map_err(opening)?;
        drop(listener);
        std::fs::remove_file(path).map_err(opening)?;

        let (incoming, outgoing) = socket.into_split();
        let (frames, waiting) = mpsc::channel(32);
        let room = Self { frames, expected: Arc::default(), ended: Arc::default() };
        tokio::spawn(write_frames(waiting, outgoing));
        tokio::spawn(read_frames(incoming, Arc::clone(&room.expected), Arc::clone(&room.ended)));
        Ok(room)
    }

    /// Starts a process and answers once it runs.
    pub(super) async fn spawn(
        &self,
        command: Vec<String>,
        environment: BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Process, RoomError> {
        let (started, is_started) = oneshot::channel();
        let (sender, output) = mpsc::channel(WAITING_OUTPUT);
        let number = {
            let mut expected = self.expected();
            expected.last += 1;
            let number = expected.last;
            expected.spawned.insert(number, started);
            expected.output.insert(number, sender);
            number
        };
        let directory = directory.to_string_lossy().into_owned();
        let environment = environment.into_iter().collect();
        self.send(Body::Spawn(Spawn { process: number, command, environment, directory })).await?;
        answer(is_started).await?;
        Ok(Process { number, room: self.clone(), output })
    }

    /// Puts a file into the room, in place of any that is there.
    pub(super) async fn write_file(&self, path: &Path, content: &str) -> Result<(), RoomError> {
        let (written, is_written) = oneshot::channel();
        let request = {
            let mut expected = self.expected();
            expected.last += 1;
            let request = expected.last;
            expected.written.insert(request, written);
            request
        };
        let path = path.to_string_lossy().into_owned();
        let content = content.as_bytes().to_vec();
        self.send(Body::WriteFile(WriteFile { request, path, content, mode: 0o644 })).await?;
        answer(is_written).await
    }

    /// What the harness says to the server of the client's tools, for the one who asks first.
    pub(super) fn take_tools_streams(&self) -> Option<mpsc::Receiver<ToolsStream>> {
        let mut expected = self.expected();
        if expected.tools.is_some() {
            return None;
        }
        let (sender, streams) = mpsc::channel(WAITING_TOOLS);
        expected.tools = Some(sender);
        Some(streams)
    }

    pub(super) async fn tools_input(&self, stream: ToolsStream) -> Result<(), RoomError> {
        self.send(Body::ToolsInput(stream)).await
    }

    /// The command with which the harness reaches the client's tools. Known once a process was started; `None` when there is no way.
    pub(super) fn tools_command(&self) -> Option<(String, [String; 3])> {
        let Ready { program, tools_socket, .. } = self.expected().ready.clone();
        if program.is_empty() || tools_socket.is_empty() {
            return None;
        }
        Some((program, ["tools".to_owned(), "--socket".to_owned(), tools_socket]))
    }

    /// Lets programs that know no proxy out on these ports too.
    pub(super) async fn listen_on(&self, ports: &[u16]) -> Result<(), RoomError> {
        let ports = ports.iter().copied().map(u32::from).collect();
        self.send(Body::ListenOn(ListenOn { ports })).await
    }

    /// Signals every process of the room but `init`.
    pub(super) async fn signal_everything(&self, signal: Signal) -> Result<(), RoomError> {
        let number = signal as i32;
        self.send(Body::Signal(link::Signal { process: 0, number, everything: true })).await
    }

    /// Ends every process by this signal, and waits for that no longer than the grace. The room's own end takes the rest.
    pub(super) async fn end_everything(&self, signal: Signal, grace: Duration) {
        let end = async {
            self.signal_everything(signal).await?;
            loop {
                let ended = self.ended.notified();
                if self.expected().output.is_empty() {
                    break Ok::<(), RoomError>(());
                }
                ended.await;
            }
        };
        timeout(grace, end).await.ok();
    }

    async fn send(&self, body: Body) -> Result<(), RoomError> {
        self.frames.send(frame::room(body)).await.map_err(|_| RoomError::Gone)
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// What it says next. May be dropped at any await point without losing anything.
    pub(super) async fn next(&mut self) -> Output {
        self.output.recv().await.unwrap_or(Output::Ended(Ended::Room))
    }

    pub(super) async fn write(&self, data: &[u8]) -> Result<(), RoomError> {
        for chunk in data.chunks(frame::CHUNK) {
            let (process, data) = (self.number, chunk.to_vec());
            self.room.send(Body::Stdin(Stdin { process, data, close: false })).await?;
        }
        Ok(())
    }
}

/// `init` answers with an error text that is empty when all went well.
async fn answer(answer: oneshot::Receiver<String>) -> Result<(), RoomError> {
    let error = timeout(ANSWER, answer).await.map_err(|_| RoomError::Silent)?;
    match error.map_err(|_| RoomError::Gone)? {
        error if error.is_empty() => Ok(()),
        error => Err(RoomError::Refused(error)),
    }
}

async fn write_frames(mut waiting: mpsc::Receiver<RoomFrame>, socket: OwnedWriteHalf) {
    let mut writer = FrameWriter::new(socket, frame::LONGEST);
    while let Some(frame) = waiting.recv().await {
        if let Err(error) = writer.send(&frame).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the room hung up");
            break;
        }
    }
}

/// Hands each frame to whoever waits for it. At the room's end everything that waits is told by its channel's end.
async fn read_frames(socket: OwnedReadHalf, expected: Arc<Mutex<Expected>>, end: Arc<Notify>) {
    let mut reader = FrameReader::<RoomFrame, _>::new(socket, frame::LONGEST);
    let lock = || expected.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let body = match reader.next().await {
            Ok(Some(frame)) => frame.body,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the room is lost");
                break;
            }
        };
        match body {
            Some(Body::Spawned(spawned)) => {
                if let Some(waiting) = lock().spawned.remove(&spawned.process) {
                    waiting.send(spawned.error).ok();
                }
            }
            Some(Body::FileWritten(written)) => {
                if let Some(waiting) = lock().written.remove(&written.request) {
                    waiting.send(written.error).ok();
                }
            }
            Some(Body::Output(output)) => {
                let waiting = lock().output.get(&output.process).cloned();
                let said = if output.standard_error {
                    Output::Error(output.data)
                } else {
                    Output::Standard(output.data)
                };
                if let Some(waiting) = waiting {
                    waiting.send(said).await.ok();
                }
            }
            Some(Body::Exited(exited)) => {
                let waiting = lock().output.remove(&exited.process);
                end.notify_one();
                let ended = match (exited.signal, exited.code) {
                    (Some(signal), _) => Ended::Signal(signal),
                    (None, code) => Ended::Code(code.unwrap_or_default()),
                };
                if let Some(waiting) = waiting {
                    waiting.send(Output::Ended(ended)).await.ok();
                }
            }
            Some(Body::ToolsOutput(stream)) => {
                let tools = lock().tools.clone();
                if tools.is_none_or(|tools| tools.try_send(stream).is_err()) {
                    tracing::warn!("the harness floods its tools");
                }
            }
            Some(Body::Ready(ready)) => {
                tracing::info!(version = ready.version, "room ready");
                lock().ready = ready;
            }
            Some(
                Body::Spawn(_)
                | Body::Stdin(_)
                | Body::Signal(_)
                | Body::WriteFile(_)
                | Body::ToolsInput(_)
                | Body::ListenOn(_),
            )
            | None => {
                tracing::warn!("a frame that init may not send was ignored");
            }
        }
    }
    *lock() = Expected::default();
    end.notify_one();
}
