//! The socket at which the harness reaches the client's tools: bytes go to the other room and back, unread.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_messaging::proto::link::room_frame::Body;
use platform_messaging::proto::link::{RoomFrame, ToolsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::frame;

const CHUNK: usize = 16 * 1024;

/// Frames that may wait for a harness that does not read; then its connection is over.
const WAITING: usize = 1024;

const RETRY: Duration = Duration::from_millis(50);

pub(super) struct Tools {
    connections: Connections,
}

type Connections = Arc<Mutex<HashMap<u32, mpsc::Sender<Vec<u8>>>>>;

impl Tools {
    /// Opens the socket beside the one of the room: a home may become another one while the room runs.
    pub(super) fn listen(
        room: &Path,
        frames: mpsc::Sender<RoomFrame>,
    ) -> io::Result<(Self, PathBuf)> {
        let path = room.with_file_name("tools.sock");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        let connections = Connections::default();
        tokio::spawn(accept(listener, Arc::clone(&connections), frames));
        Ok((Self { connections }, path))
    }

    /// Hands on what the other room says. One that cannot keep up with it is hung up on.
    pub(super) fn write(&self, stream: ToolsStream) {
        let mut connections = lock(&self.connections);
        let Some(connection) = connections.get(&stream.connection) else { return };
        let is_lost = !stream.data.is_empty() && connection.try_send(stream.data).is_err();
        if is_lost || stream.ended {
            connections.remove(&stream.connection);
        }
    }
}

async fn accept(listener: UnixListener, connections: Connections, frames: mpsc::Sender<RoomFrame>) {
    let mut last = 0;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                last += 1;
                tokio::spawn(carry(last, socket, Arc::clone(&connections), frames.clone()));
            }
            // Out of descriptors: the connections under way give theirs back.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept failed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn carry(
    connection: u32,
    socket: UnixStream,
    connections: Connections,
    frames: mpsc::Sender<RoomFrame>,
) {
    let (input, output) = socket.into_split();
    let (sender, waiting) = mpsc::channel(WAITING);
    lock(&connections).insert(connection, sender);
    tokio::select! {
        () = read(connection, input, &frames) => {}
        () = write(waiting, output) => {}
    }
    lock(&connections).remove(&connection);
    let end = ToolsStream { connection, data: Vec::new(), ended: true };
    frames.send(frame::room(Body::ToolsOutput(end))).await.ok();
}

async fn read(connection: u32, mut input: OwnedReadHalf, frames: &mpsc::Sender<RoomFrame>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = input.read(&mut buffer).await {
        let data = buffer.get(..count).unwrap_or_default().to_vec();
        let stream = ToolsStream { connection, data, ended: false };
        if frames.send(frame::room(Body::ToolsOutput(stream))).await.is_err() {
            break;
        }
    }
}

async fn write(mut waiting: mpsc::Receiver<Vec<u8>>, mut output: OwnedWriteHalf) {
    while let Some(data) = waiting.recv().await {
        if output.write_all(&data).await.is_err() {
            break;
        }
    }
}

fn lock(connections: &Connections) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Vec<u8>>>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}
