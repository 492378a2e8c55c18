//! The short-lived program between the service and bubblewrap: `sandbox-service launch <plan>`.
//!
//! It does what must happen in the new process itself and before it is confined: a session of its own, so that the
//! room survives the service; cgroups and limits; mounts that the room's user could not reach; the change of user.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use rustix::fs::{MemfdFlags, memfd_create};

use super::network::{self, Network, NetworkError};
use super::process::began_of;
use super::room::{Mount, RoomPlan};
use super::seccomp;

/// Covered by a file system of the launcher's own, in its own mount namespace.
const STAGE: &str = "/mnt";
/// Makes the kernel, when memory runs out, choose sandboxes before services.
const OOM_SCORE_ADJUSTMENT: &str = "500";

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("the plan {0} cannot be read")]
    Plan(PathBuf, #[source] io::Error),
    #[error("the plan {0} is no plan")]
    PlanContent(PathBuf, #[source] serde_json::Error),
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] io::Error),
    #[error("{0} cannot be opened for a mount")]
    Source(PathBuf, #[source] Errno),
    #[error("the mounts cannot be staged")]
    Stage(#[source] io::Error),
    #[error("{0} failed")]
    System(&'static str, #[source] Errno),
    #[error("the room's network cannot be made")]
    Network(#[from] NetworkError),
    #[error("the filter of system calls cannot be handed over")]
    Filter(#[source] io::Error),
    #[error("bubblewrap (bwrap) cannot be started")]
    Bubblewrap(#[source] io::Error),
}

/// Builds the room and becomes the process that waits for it. Returns only on failure.
pub fn launch(plan_file: &Path) -> LaunchError {
    match prepare(plan_file) {
        Ok(mut bubblewrap) => LaunchError::Bubblewrap(bubblewrap.exec()),
        Err(error) => error,
    }
}

fn prepare(plan_file: &Path) -> Result<Command, LaunchError> {
    let text = fs::read(plan_file).map_err(|e| LaunchError::Plan(plan_file.to_owned(), e))?;
    let plan: RoomPlan = serde_json::from_slice(&text)
        .map_err(|e| LaunchError::PlanContent(plan_file.to_owned(), e))?;

    setsid().map_err(|errno| LaunchError::System("setsid", errno))?;
    let pid = std::process::id();
    let began = i32::try_from(pid).ok().and_then(began_of).unwrap_or_default();
    write(&plan.launch_file, &format!("{pid} {began}\n"))?;
    for cgroup in &plan.cgroups {
        write(cgroup, &pid.to_string())?;
    }
    write(Path::new("/proc/self/oom_score_adj"), OOM_SCORE_ADJUSTMENT)?;
    plan.limits.apply().map_err(|errno| LaunchError::System("setrlimit", errno))?;

    let outside = match plan.network {
        Network::Transparent => Some(network::enter()?),
        Network::LoopbackOnly => None,
    };
    let mut sources: Vec<PathBuf> = plan.mounts.iter().map(|m| m.source.clone()).collect();
    if let Some(user) = plan.user {
        if let Some(staged) = stage(&plan.mounts)? {
            sources = staged;
        }
        become_user(user)?;
    }
    let mut bubblewrap = Command::new(&plan.bubblewrap);
    if let Some(outside) = outside {
        bubblewrap.stdin(outside);
    }
    if plan.filters_system_calls {
        let filter = system_calls_filter().map_err(LaunchError::Filter)?;
        bubblewrap.arg("--seccomp").arg(filter.into_raw_fd().to_string());
    }
    bubblewrap.args(plan.bubblewrap_arguments(&sources)).env_clear().current_dir("/");
    Ok(bubblewrap)
}

fn write(path: &Path, text: &str) -> Result<(), LaunchError> {
    fs::write(path, text).map_err(|error| LaunchError::Write(path.to_owned(), error))
}

/// A file with the filter that bubblewrap inherits and sets last, after all that the filter forbids is done.
fn system_calls_filter() -> io::Result<OwnedFd> {
    let program = seccomp::program().ok_or(io::ErrorKind::Unsupported)?;
    let mut file = File::from(memfd_create("system-calls", MemfdFlags::empty())?);
    file.write_all(&program)?;
    file.rewind()?;
    Ok(file.into())
}

/// Binds every source below [`STAGE`], because the room's user may not be able to walk to where it lies (a data
/// directory below `/root`, say). `None` when this root may not mount: then the sources must be reachable as they are.
fn stage(mounts: &[Mount]) -> Result<Option<Vec<PathBuf>>, LaunchError> {
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => return Ok(None),
        Err(errno) => return Err(LaunchError::System("unshare", errno)),
    }
    let mounting = |errno: Errno| LaunchError::Stage(errno.into());
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(mounting)?;
    // Opened in the new namespace, whose mounts alone can be bound, and before the stage covers what lies below it.
    let sources = mounts.iter().map(open_source).collect::<Result<Vec<_>, _>>()?;
    mount(Some("stage"), STAGE, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755,size=1m"))
        .map_err(mounting)?;
    let mut staged = Vec::with_capacity(sources.len());
    for (index, (source, is_folder)) in sources.iter().enumerate() {
        let target = Path::new(STAGE).join(index.to_string());
        let made =
            if *is_folder { fs::create_dir(&target) } else { File::create(&target).map(drop) };
        made.map_err(LaunchError::Stage)?;
        let source = format!("/proc/self/fd/{}", source.as_raw_fd());
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source.as_str()), &target, none, flags, none).map_err(mounting)?;
        staged.push(target);
    }
    Ok(Some(staged))
}

fn open_source(mount: &Mount) -> Result<(OwnedFd, bool), LaunchError> {
    let failed = |errno| LaunchError::Source(mount.source.clone(), errno);
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let source = open(&mount.source, flags, Mode::empty()).map_err(failed)?;
    Ok((source, mount.source.is_dir()))
}

fn become_user(user: u32) -> Result<(), LaunchError> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[]).map_err(|errno| LaunchError::System("setgroups", errno))?;
    setresgid(gid, gid, gid).map_err(|errno| LaunchError::System("setresgid", errno))?;
    setresuid(uid, uid, uid).map_err(|errno| LaunchError::System("setresuid", errno))
}
