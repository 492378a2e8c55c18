//! A PostgreSQL cluster of the stack's own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::cache::run;
use crate::data_directory::{DataDirectory, write_private};
use crate::failure::StackError;
use crate::plan::Plan;
use crate::process::{Part, ProcessIdentity, ProcessSpecification, Readiness};

/// Where Debian keeps one folder for each major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; then it runs as the user that its package makes.
const UNPRIVILEGED: &str = "postgres";
const ORPHAN_INTERVAL: Duration = Duration::from_millis(20);
const ORPHAN_PATIENCE: Duration = Duration::from_secs(20);
/// Fast, and lost in a power cut: only for tests. What was committed still outlives a kill of PostgreSQL, which is why commits
/// stay synchronous: tests do kill it.
const NOT_DURABLE: [&str; 2] = ["fsync=off", "full_page_writes=off"];

/// Makes the cluster with its database `platform` unless it is there, and says how it is started.
pub(super) async fn specification(
    plan: &Plan,
    data: &DataDirectory,
) -> Result<ProcessSpecification, StackError> {
    let folder = data.make_folder("postgres", 0o700)?;
    let cluster = folder.join("data");
    let programs = programs(&cluster)?;
    let identity = identity(&folder).await?;
    if !cluster.exists() {
        initialise(plan, &folder, &programs, &identity).await?;
    }
    orphans_ended(&cluster).await;
    let port = plan.port(Part::Postgres.as_str())?.to_string();
    let mut command = identity;
    command.push(programs.join("postgres").into());
    command.extend(["-D".into(), cluster.into_os_string()]);
    command.extend(["-p".into(), OsString::from(&port)]);
    let settings =
        ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300"];
    let settings = settings.into_iter().chain(NOT_DURABLE.into_iter().filter(|_| !plan.durable));
    for setting in settings {
        command.extend(["-c".into(), OsString::from(setting)]);
    }
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-d", "platform", "-U", "lap", "-q"];
    Ok(ProcessSpecification {
        name: Part::Postgres.into(),
        command,
        environment: plan.basics.clone(),
        working_directory: PathBuf::from("/"),
        readiness: Readiness::Command {
            program: programs.join("pg_isready"),
            arguments: arguments.map(str::to_owned).to_vec(),
        },
        patience: Duration::from_mins(2),
    })
}

/// The programs of the cluster's own version, or the newest for a new cluster.
fn programs(cluster: &Path) -> Result<PathBuf, StackError> {
    let missing = || StackError::ProgramMissing("PostgreSQL".to_owned());
    let version = match fs::read_to_string(cluster.join("PG_VERSION")) {
        Ok(version) => version.trim().parse().map_err(|_| missing())?,
        Err(_) => newest_version().ok_or_else(missing)?,
    };
    let programs = Path::new(VERSIONS).join(version.to_string()).join("bin");
    if programs.join("postgres").exists() { Ok(programs) } else { Err(missing()) }
}

fn newest_version() -> Option<u32> {
    let entries = fs::read_dir(VERSIONS).ok()?;
    let versions = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let version = entry.file_name().to_str()?.parse().ok()?;
        entry.path().join("bin/postgres").exists().then_some(version)
    });
    versions.max()
}

/// The start of each command line: nothing, or what changes to the unprivileged user.
async fn identity(folder: &Path) -> Result<Vec<OsString>, StackError> {
    if !Uid::effective().is_root() {
        return Ok(Vec::new());
    }
    let user = User::from_name(UNPRIVILEGED).ok().flatten();
    let user = user.ok_or_else(|| StackError::ProgramMissing("the user postgres".to_owned()))?;
    chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .map_err(StackError::file("give away", folder))?;
    let change = |more: &[&str]| {
        let fixed = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
        fixed.iter().chain(more).map(OsString::from).collect::<Vec<_>>()
    };
    let plain = change(&[]);
    if reaches(&plain, folder).await {
        return Ok(plain);
    }
    // A clone below a home that only root may enter: let PostgreSQL pass through, still without writing there.
    Ok(change(&["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]))
}

async fn reaches(identity: &[OsString], folder: &Path) -> bool {
    let Some((program, arguments)) = identity.split_first() else { return true };
    let mut command = Command::new(program);
    command.args(arguments).args(["test", "-x"]).arg(folder);
    run(command).await.is_ok()
}

/// Waits for the workers of a killed server. They notice its death by themselves, and as long as one of them
/// holds the old shared memory a new server refuses to start.
async fn orphans_ended(cluster: &Path) {
    let Some((server, segment)) = last_server(cluster) else { return };
    if ProcessIdentity::of_pid(server).is_some() {
        return;
    }
    let waiting = async {
        while is_attached(segment) {
            sleep(ORPHAN_INTERVAL).await;
        }
    };
    // If they do not end, the new server's own message says it best.
    let _ = timeout(ORPHAN_PATIENCE, waiting).await;
}

/// The pid and the shared memory segment that a server, running or killed, left in `postmaster.pid`: its first
/// line, and the second word of its seventh.
fn last_server(cluster: &Path) -> Option<(i32, u64)> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let server = lines.next()?.trim().parse().ok()?;
    let segment = lines.nth(5)?.split_whitespace().nth(1)?.parse().ok()?;
    Some((server, segment))
}

/// Whether any process still uses the segment: the seventh column counts them.
fn is_attached(segment: u64) -> bool {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    segments.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_it = columns.next().is_some_and(|id| id.parse() == Ok(segment));
        is_it && columns.nth(4).is_some_and(|users| users != "0")
    })
}

/// Makes the cluster beside its place and renames it when it is whole.
async fn initialise(
    plan: &Plan,
    folder: &Path,
    programs: &Path,
    identity: &[OsString],
) -> Result<(), StackError> {
    let fresh = folder.join("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(StackError::file("remove", &fresh))?;
    }
    let password_file = folder.join("password");
    write_private(&password_file, plan.setting("LAP_POSTGRES_PASSWORD").unwrap_or_default())?;
    if Uid::effective().is_root() {
        let user = User::from_name(UNPRIVILEGED).ok().flatten().map(|user| user.uid.as_raw());
        chown(&password_file, user, None).map_err(StackError::file("give away", &password_file))?;
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let as_owner = |script: &str| {
        let mut words =
            identity.iter().cloned().chain(["sh", "-c", script, "sh"].map(OsString::from));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(&fresh).arg(&password_file).current_dir("/");
        command.env_clear().env("PATH", &path).env("LANG", "C.UTF-8");
        command
    };
    run(as_owner(
        "exec initdb -D \"$1\" -U lap --auth=scram-sha-256 --pwfile=\"$2\" -E UTF8 --locale=C.UTF-8",
    ))
    .await?;
    // Single-user mode needs neither a server nor a password.
    run(as_owner("echo 'CREATE DATABASE platform' | postgres --single -D \"$1\" postgres")).await?;
    fs::remove_file(&password_file).map_err(StackError::file("remove", &password_file))?;
    let cluster = folder.join("data");
    fs::rename(&fresh, &cluster).map_err(StackError::file("rename", &fresh))
}
