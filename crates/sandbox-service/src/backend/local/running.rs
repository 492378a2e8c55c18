//! The two rooms of a sandbox as processes: how they are launched, found again, and ended for certain.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::BackendError;
use super::disk::last_lines;
use super::layout::{Room, SandboxFolder};
use super::process::{Process, children_of};
use super::room::Rooms;

/// How long rooms that were asked to end may take before they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel may take to end what was killed.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// A sandbox's rooms, held by handles that no other process can slip under. A room that is gone already is absent.
#[derive(Debug)]
pub struct Running {
    supervise: Option<RunningRoom>,
    harness: Option<RunningRoom>,
}

#[derive(Debug)]
struct RunningRoom {
    /// Process 1 of the room: when it is gone, all of the room is.
    first: Process,
    /// The process outside that waits for the room and takes over its exit status; only where we started it.
    launcher: Option<Mutex<Child>>,
}

/// What bubblewrap tells about the room that it made.
#[derive(Deserialize)]
struct Made {
    #[serde(rename = "child-pid")]
    child_pid: i32,
}

impl Running {
    /// Starts both rooms. When one fails, nothing is left of the other either.
    pub async fn launch(
        launcher: &Path,
        folder: &SandboxFolder,
        rooms: &Rooms<'_>,
    ) -> Result<Self, BackendError> {
        let supervise = launch_room(launcher, folder, rooms, Room::Supervise);
        let harness = launch_room(launcher, folder, rooms, Room::Harness);
        match tokio::join!(supervise, harness) {
            (Ok(supervise), Ok(harness)) => {
                Ok(Self { supervise: Some(supervise), harness: Some(harness) })
            }
            (Err(failure), other) | (other, Err(failure)) => {
                if let Ok(room) = other {
                    room.first.kill();
                }
                Err(failure)
            }
        }
    }

    /// The rooms that the sandbox's pid files name and that still live.
    pub fn find(folder: &SandboxFolder) -> Self {
        let [supervise, harness] = Room::BOTH.map(|room| find_room(folder, room));
        Self { supervise, harness }
    }

    /// Half a sandbox is dead: its other half is gone for good.
    pub fn is_alive(&self) -> bool {
        [&self.supervise, &self.harness]
            .iter()
            .all(|room| room.as_ref().is_some_and(|room| room.first.is_alive()))
    }

    /// Waits until either room has ended, and answers which, and with what status.
    pub async fn first_end(&self) -> (Room, String) {
        tokio::select! {
            status = end_of(self.supervise.as_ref()) => (Room::Supervise, status),
            status = end_of(self.harness.as_ref()) => (Room::Harness, status),
        }
    }

    /// Ends the harness's room at once, and all that runs in it.
    pub fn kill_harness(&self) {
        if let Some(room) = &self.harness {
            room.first.kill();
        }
    }

    /// Ends both rooms, and answers when nothing of them runs any more.
    pub async fn end(&self) -> Result<(), BackendError> {
        for room in self.rooms() {
            room.first.terminate();
        }
        // What is frozen would only go on where it stood if it were woken to hear of its end.
        for room in self.rooms().filter(|room| room.first.is_frozen()) {
            room.first.kill();
        }
        if tokio::time::timeout(GRACE, self.both_gone()).await.is_err() {
            for room in self.rooms() {
                room.first.kill();
            }
            tokio::time::timeout(KILLED_WITHIN, self.both_gone())
                .await
                .map_err(|_elapsed| BackendError::StillAlive)?;
        }
        Ok(())
    }

    /// Whoever waits outside for a room does not count: it may be frozen, and [`end_launchers`] ends it.
    async fn both_gone(&self) {
        for room in self.rooms() {
            room.gone().await;
        }
    }

    fn rooms(&self) -> impl Iterator<Item = &RunningRoom> {
        self.supervise.iter().chain(&self.harness)
    }
}

async fn end_of(room: Option<&RunningRoom>) -> String {
    match room {
        Some(room) => room.end().await,
        None => "it was gone already".to_owned(),
    }
}

impl RunningRoom {
    async fn gone(&self) {
        if let Err(error) = self.first.gone().await {
            tracing::error!(process.pid = self.first.pid(), %error, "the end of a room cannot be awaited");
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the room's end and says how it ended.
    async fn end(&self) -> String {
        self.gone().await;
        let Some(launcher) = &self.launcher else { return "its status is unknown".to_owned() };
        match launcher.lock().await.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

async fn launch_room(
    launcher: &Path,
    folder: &SandboxFolder,
    rooms: &Rooms<'_>,
    room: Room,
) -> Result<RunningRoom, BackendError> {
    let started = start_launcher(launcher, folder, rooms, room);
    let mut child = started.map_err(BackendError::disk("starting the launcher"))?;
    let mut told = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output
            .read_to_end(&mut told)
            .await
            .map_err(BackendError::disk("reading from the launcher"))?;
    }
    let first = match serde_json::from_slice::<Made>(&told) {
        Ok(made) => Process::open(made.child_pid, None)
            .map_err(BackendError::disk("holding the room's first process"))?,
        Err(_no_room) => None,
    };
    let Some(first) = first else {
        let _status = child.wait().await;
        return Err(BackendError::Refused(last_lines(&folder.log(room), 10)));
    };
    let written = fs::write(folder.pid_file(room), format!("{}\n", first.pid()))
        .and_then(|()| fs::write(folder.began_file(room), format!("{}\n", first.began())));
    if let Err(error) = written {
        first.kill();
        return Err(BackendError::disk("writing a pid file")(error));
    }
    Ok(RunningRoom { first, launcher: Some(Mutex::new(child)) })
}

fn start_launcher(
    launcher: &Path,
    folder: &SandboxFolder,
    rooms: &Rooms<'_>,
    room: Room,
) -> io::Result<Child> {
    let plan = serde_json::to_vec_pretty(&rooms.plan(room))?;
    fs::write(folder.plan(room), plan)?;
    let log = File::options().create(true).append(true).open(folder.log(room))?;
    Command::new(launcher)
        .arg("launch")
        .arg(folder.plan(room))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
}

fn find_room(folder: &SandboxFolder, room: Room) -> Option<RunningRoom> {
    let pid = read_number(&folder.pid_file(room))?;
    let began = read_number(&folder.began_file(room))?;
    let first = Process::open(i32::try_from(pid).ok()?, Some(began)).ok()??;
    Some(RunningRoom { first, launcher: None })
}

/// What a file of one number says.
pub fn read_number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Ends what a launch left behind that never came as far as a pid file: the launcher, and before it the room under it.
pub async fn end_launchers(folder: &SandboxFolder) -> Result<(), BackendError> {
    for room in Room::BOTH {
        let Ok(text) = fs::read_to_string(folder.launch_file(room)) else { continue };
        let mut numbers = text.split_whitespace();
        let pid = numbers.next().and_then(|pid| pid.parse().ok());
        let began = numbers.next().and_then(|began| began.parse().ok());
        let (Some(pid), Some(began)) = (pid, began) else { continue };
        let opened = Process::open(pid, Some(began));
        let Some(launcher) = opened.map_err(BackendError::disk("holding a launcher"))? else {
            continue;
        };
        // Stopped first, so that it makes no further process after the look.
        launcher.freeze();
        for child in children_of(pid) {
            if let Ok(Some(child)) = Process::open(child, None) {
                child.kill();
            }
        }
        launcher.kill();
        tokio::time::timeout(KILLED_WITHIN, launcher.gone())
            .await
            .map_err(|_elapsed| BackendError::StillAlive)?
            .map_err(BackendError::disk("waiting for a launcher"))?;
    }
    Ok(())
}

/// Ends processes that nothing else led to.
pub async fn end_strays(pids: &[i32]) -> Result<(), BackendError> {
    for pid in pids {
        let opened = Process::open(*pid, None);
        let Some(stray) = opened.map_err(BackendError::disk("holding a process"))? else {
            continue;
        };
        tracing::warn!(process.pid = pid, "a process of a sandbox was left over and is ended");
        stray.kill();
        tokio::time::timeout(KILLED_WITHIN, stray.gone())
            .await
            .map_err(|_elapsed| BackendError::StillAlive)?
            .map_err(BackendError::disk("waiting for a process"))?;
    }
    Ok(())
}
