//! Where the local backend keeps things on disk.

use std::path::{Path, PathBuf};

use platform_core::id::{SandboxId, SessionId};
use uuid::Uuid;

/// The data directory and everything below it.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// One of the two rooms of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Holds link, token and journal.
    Supervise,
    /// Holds the harness and whatever the agent runs. Nothing in it is believed.
    Harness,
}

impl Room {
    pub const BOTH: [Self; 2] = [Self::Supervise, Self::Harness];

    /// The word in file names: the sandbox-agent's subcommand of that room.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Supervise => "supervise",
            Self::Harness => "init",
        }
    }
}

/// Whose files a workspace folder holds: a session's, or those of a sandbox that still waits for its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceName(Uuid);

impl From<SessionId> for WorkspaceName {
    fn from(session: SessionId) -> Self {
        Self(session.uuid())
    }
}

impl From<SandboxId> for WorkspaceName {
    fn from(sandbox: SandboxId) -> Self {
        Self(sandbox.uuid())
    }
}

/// What outlives a sandbox.
#[derive(Debug, Clone)]
pub struct WorkspaceFolders {
    pub root: PathBuf,
    pub workspace: PathBuf,
    pub home: PathBuf,
    /// Only the supervise room sees it.
    pub journal: PathBuf,
}

/// What goes with a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxFolder {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every replica listens here; the folder is mounted into each supervise room, so that any of them can be dialled.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where the replicas of this service, and whoever sweeps, leave their marks.
    pub fn replicas(&self) -> PathBuf {
        self.root.join("replicas")
    }

    pub fn workspaces(&self) -> PathBuf {
        self.root.join("workspaces")
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Small files that stand in for the host's own below `/etc`.
    pub fn system(&self) -> PathBuf {
        self.root.join("system")
    }

    pub fn workspace(&self, name: impl Into<WorkspaceName>) -> WorkspaceFolders {
        let WorkspaceName(uuid) = name.into();
        let root = self.workspaces().join(uuid.simple().to_string());
        WorkspaceFolders {
            workspace: root.join("workspace"),
            home: root.join("home"),
            journal: root.join("journal"),
            root,
        }
    }

    /// Where the files of a session are made that goes on from another one's, before they are its workspace.
    pub fn restoring(&self, session: SessionId) -> PathBuf {
        self.root.join("restoring").join(session.uuid().simple().to_string())
    }

    pub fn sandbox(&self, sandbox: SandboxId) -> SandboxFolder {
        SandboxFolder { root: self.sandboxes().join(sandbox.uuid().simple().to_string()) }
    }
}

impl SandboxFolder {
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The socket between the two rooms lies here; both see the folder.
    pub fn room(&self) -> PathBuf {
        self.root.join("room")
    }

    pub fn egress(&self) -> PathBuf {
        self.root.join("egress")
    }

    /// Where vault-proxy listens for this sandbox.
    pub fn egress_socket(&self) -> PathBuf {
        self.egress().join("proxy.sock")
    }

    /// The authority whose certificates vault-proxy shows to this sandbox.
    pub fn authority(&self) -> PathBuf {
        self.egress().join("ca.pem")
    }

    /// The machine's authorities, and the sandbox's own.
    pub fn bundle(&self) -> PathBuf {
        self.egress().join("ca-bundle.pem")
    }

    /// Who the sandbox is, with its token. Only the supervise room sees it.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.json")
    }

    pub fn log(&self, room: Room) -> PathBuf {
        self.file(room, "log")
    }

    /// The first process of the room: leader of its session and process group, and process 1 inside.
    pub fn pid_file(&self, room: Room) -> PathBuf {
        self.file(room, "pid")
    }

    /// When that process began, in the kernel's own count: a pid alone may be another's by now.
    pub fn began_file(&self, room: Room) -> PathBuf {
        self.file(room, "began")
    }

    /// The process outside that waits for the room. Written before there is a room, so that no crash leaves one unknown.
    pub fn launch_file(&self, room: Room) -> PathBuf {
        self.file(room, "launch")
    }

    pub fn plan(&self, room: Room) -> PathBuf {
        self.file(room, "plan.json")
    }

    fn file(&self, room: Room, kind: &str) -> PathBuf {
        self.root.join(format!("{}.{kind}", room.as_word()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_named_by_its_session_and_a_sandbox_by_itself() {
        let layout = Layout::new("/data");
        let uuid: Uuid = "01935a7e-7c1b-7e2a-8f00-0123456789ab".parse().unwrap();
        let bare = "01935a7e7c1b7e2a8f000123456789ab";

        let workspace = layout.workspace(SessionId::from_uuid(uuid));
        assert_eq!(workspace.journal, Path::new("/data/workspaces").join(bare).join("journal"));

        let sandbox = layout.sandbox(SandboxId::from_uuid(uuid));
        let folder = Path::new("/data/sandboxes").join(bare);
        assert_eq!(sandbox.egress_socket(), folder.join("egress/proxy.sock"));
        assert_eq!(sandbox.pid_file(Room::Harness), folder.join("init.pid"));
        assert_eq!(sandbox.log(Room::Supervise), folder.join("supervise.log"));
    }
}
