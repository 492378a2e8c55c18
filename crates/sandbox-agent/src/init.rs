//! The first process of the harness's room. It lives among what the agent runs, so it holds nothing worth stealing and decides nothing.

mod files;
mod forward;
mod outside;
mod processes;
mod tools;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform_messaging::framing::{FrameError, FrameReader, FrameWriter};
use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{FileWritten, Ready, RoomFrame};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::files::Folders;
use self::forward::Forward;
use self::outside::{Outside, OutsideError};
use self::processes::Processes;
use self::tools::Tools;
use crate::frame;

/// How long `supervise` may take to open the room's socket.
const ROOM_OPENS_WITHIN: Duration = Duration::from_mins(1);
/// How long `supervise`, which hears the same signal in a pod, may take to end what it started. It hangs up then.
const FAREWELL: Duration = Duration::from_secs(8);
const ROOM_RETRY: Duration = Duration::from_millis(5);

#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The socket that both rooms share.
    #[arg(long)]
    room: PathBuf,
    /// Carries TCP connections to a unix socket: `127.0.0.1:4000=/run/egress/proxy.sock`.
    #[arg(long)]
    forward: Vec<Forward>,
    /// The room has a network whose far end comes over standard input. What arrives there is asked for at this socket.
    #[arg(long)]
    outside_leads_to: Option<PathBuf>,
    /// The room's network is not ours. Names are answered on its loopback, and what is connected to by name is asked for at this socket.
    #[arg(long, conflicts_with = "outside_leads_to")]
    names_lead_to: Option<PathBuf>,
    /// The home of the room; files may be written below it.
    #[arg(long, default_value = "/home/agent")]
    home: PathBuf,
    /// The workspace; files may be written below it.
    #[arg(long, default_value = "/workspace")]
    workspace: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("{address} cannot be listened on")]
    Listen { address: String, source: io::Error },
    #[error("what programs connect to without a proxy leads nowhere")]
    Outside(#[from] OutsideError),
    #[error("the room's socket {} cannot be reached", path.display())]
    Room { path: PathBuf, source: io::Error },
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    #[error("the other room is no longer understood")]
    Frame(#[from] FrameError),
}

/// Runs until the other room hangs up, which it is given a moment for when a signal asks for the end; what was started ends with it.
pub(crate) async fn run(settings: Settings) -> Result<(), InitError> {
    for forward in settings.forward {
        forward.listen().await?;
    }
    let mut outside = match (settings.outside_leads_to, settings.names_lead_to) {
        (Some(door), _) => Some(Outside::open(door)?),
        (None, Some(door)) => Some(Outside::of_names(door)?),
        (None, None) => None,
    };
    let mut children = signal(SignalKind::child()).map_err(InitError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(InitError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(InitError::Signals)?;

    let (incoming, outgoing) = connect(&settings.room).await?.into_split();
    let mut incoming = FrameReader::<RoomFrame, _>::new(incoming, frame::LONGEST);
    let (frames, waiting) = mpsc::channel(32);
    let writer = tokio::spawn(write_frames(waiting, outgoing));
    let (tools, tools_socket) = match Tools::listen(&settings.room, frames.clone()) {
        Ok((tools, path)) => (Some(tools), path),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no tools can be offered");
            (None, PathBuf::new())
        }
    };
    let folders = Folders::new([settings.home, settings.workspace]);
    let mut processes = Processes::new(frames.clone());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let ready = Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: std::env::current_exe().map(|path| text(&path)).unwrap_or_default(),
        tools_socket: text(&tools_socket),
    };
    send(&frames, Body::Ready(ready)).await;

    let mut ends_at = None;
    let outcome = loop {
        tokio::select! {
            frame = incoming.next() => match frame {
                Ok(Some(RoomFrame { body: Some(body) })) => {
                    let hands = Hands {
                        processes: &mut processes,
                        tools: tools.as_ref(),
                        outside: outside.as_mut(),
                        folders: &folders,
                    };
                    carry_out(body, hands, &frames).await;
                }
                Ok(Some(RoomFrame { body: None })) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            },
            _ = children.recv() => processes.reap(),
            _ = terminate.recv() => ends_at = ends_at.or(Some(Instant::now() + FAREWELL)),
            _ = interrupt.recv() => ends_at = ends_at.or(Some(Instant::now() + FAREWELL)),
            () = sleep_until(ends_at.unwrap_or_else(Instant::now)), if ends_at.is_some() => break Ok(()),
        }
    };
    processes.signal_all(nix::sys::signal::Signal::SIGKILL);
    writer.abort();
    outcome
}

/// By what the wishes of the other room are carried out.
struct Hands<'a> {
    processes: &'a mut Processes,
    tools: Option<&'a Tools>,
    outside: Option<&'a mut Outside>,
    folders: &'a Folders,
}

async fn carry_out(body: Body, hands: Hands<'_>, frames: &mpsc::Sender<RoomFrame>) {
    let Hands { processes, tools, outside, folders } = hands;
    match body {
        Body::ListenOn(wanted) => {
            if let Some(outside) = outside {
                outside.listen_on_all(&wanted.ports);
            }
        }
        Body::Spawn(spawn) => processes.spawn(spawn).await,
        Body::Stdin(stdin) => processes.write(stdin),
        Body::Signal(signal) => processes.signal(&signal),
        Body::WriteFile(file) => {
            let request = file.request;
            let error = folders.write(&file).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            send(frames, Body::FileWritten(FileWritten { request, error })).await;
        }
        Body::ToolsInput(stream) => {
            if let Some(tools) = tools {
                tools.write(stream);
            }
        }
        Body::Ready(_)
        | Body::Spawned(_)
        | Body::Output(_)
        | Body::Exited(_)
        | Body::FileWritten(_)
        | Body::ToolsOutput(_) => tracing::warn!("a frame for the other side was ignored"),
    }
}

/// The two rooms start at the same time, so the socket may come a moment later.
async fn connect(path: &Path) -> Result<UnixStream, InitError> {
    let deadline = Instant::now() + ROOM_OPENS_WITHIN;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(source) if Instant::now() >= deadline => {
                return Err(InitError::Room { path: path.to_owned(), source });
            }
            Err(_) => tokio::time::sleep(ROOM_RETRY).await,
        }
    }
}

async fn write_frames(mut waiting: mpsc::Receiver<RoomFrame>, socket: OwnedWriteHalf) {
    let mut writer = FrameWriter::new(socket, frame::LONGEST);
    while let Some(frame) = waiting.recv().await {
        if let Err(error) = writer.send(&frame).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the other room hung up");
            break;
        }
    }
}

/// The writer only ends when the room does, and then the answer has no reader.
async fn send(frames: &mpsc::Sender<RoomFrame>, body: Body) {
    frames.send(frame::room(body)).await.ok();
}
