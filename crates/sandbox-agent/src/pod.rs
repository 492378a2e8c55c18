//! What a pod needs of this program before and beside its two rooms.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// For the room's user and for `supervise`, which have this group in common: what is made in it stays the group's.
const FOLDER_MODE: u32 = 0o2770;
/// `supervise` adds to it, everyone reads it.
const TRUST_MODE: u32 = 0o664;
const PROGRAM_MODE: u32 = 0o755;
const PROGRAM: &str = "sandbox-agent";
/// What outlives the pod.
const FOLDERS: [&str; 3] = ["workspace", "home", "journal"];

#[derive(clap::Args)]
pub(crate) struct Installation {
    /// The folder that the pod's containers share.
    folder: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Preparation {
    /// The volume that outlives the pod.
    #[arg(long, default_value = "/volume")]
    volume: PathBuf,
    /// The authorities that the image trusts.
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt")]
    authorities: PathBuf,
    /// The file of what the harness's room will trust.
    #[arg(long, default_value = "/run/trust/ca-certificates.crt")]
    trust: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Probe {
    /// The file that `supervise` keeps as long as it has a link.
    #[arg(long, default_value = "/run/supervise/linked")]
    linked_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error("this program cannot be copied to {}", path.display())]
    Install { path: PathBuf, source: io::Error },
    #[error("the folder {} cannot be made", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("nothing can be written to {}, which this user or its group has to be allowed to", path.display())]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("{} cannot be copied to {}", from.display(), to.display())]
    Trust { from: PathBuf, to: PathBuf, source: io::Error },
    #[error("there is no link")]
    NoLink,
}

/// Copies this program, in one step, over one that an earlier start left.
pub(crate) fn install(installation: &Installation) -> Result<(), PodError> {
    let path = installation.folder.join(PROGRAM);
    let copied = || {
        let half = installation.folder.join(format!(".{PROGRAM}"));
        fs::copy(std::env::current_exe()?, &half)?;
        fs::set_permissions(&half, Permissions::from_mode(PROGRAM_MODE))?;
        fs::rename(half, &path)
    };
    copied().map_err(|source| PodError::Install { path: path.clone(), source })
}

/// May be repeated: what is in the folders stays, and the file begins anew with what the image trusts.
pub(crate) fn prepare(preparation: &Preparation) -> Result<(), PodError> {
    let Preparation { volume, authorities, trust } = preparation;
    for name in FOLDERS {
        make_folder(&volume.join(name))?;
    }
    let failed = |source| PodError::Trust { from: authorities.clone(), to: trust.clone(), source };
    let bundle = match fs::read(authorities) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::warn!(file = %authorities.display(), "the image trusts no authorities");
            Vec::new()
        }
        read => read.map_err(failed)?,
    };
    fs::write(trust, bundle).map_err(failed)?;
    fs::set_permissions(trust, Permissions::from_mode(TRUST_MODE)).map_err(failed)
}

fn make_folder(path: &Path) -> Result<(), PodError> {
    let failed = |source| PodError::Folder { path: path.to_owned(), source };
    match fs::create_dir(path) {
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    access(path, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| PodError::NotWritable { path: path.to_owned(), source: errno.into() })
}

/// Whether `supervise` has its link.
pub(crate) fn answer(probe: &Probe) -> Result<(), PodError> {
    if probe.linked_file.exists() { Ok(()) } else { Err(PodError::NoLink) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_program_is_copied_so_that_every_container_can_run_it() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            install(&Installation { folder: folder.path().to_owned() }).unwrap();
        }
        let copied = folder.path().join("sandbox-agent");
        assert_eq!(mode(&copied), 0o755);
        let length = |path: &Path| fs::metadata(path).unwrap().len();
        assert_eq!(length(&copied), length(&std::env::current_exe().unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_volume_that_was_used_before_keeps_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("volume")).unwrap();
        fs::write(path("roots"), "theirs\n").unwrap();
        let preparation = Preparation {
            volume: path("volume"),
            authorities: path("roots"),
            trust: path("trust.crt"),
        };
        prepare(&preparation).unwrap();
        for name in FOLDERS {
            assert_eq!(mode(&path("volume").join(name)), 0o2770, "{name}");
        }
        fs::write(path("volume/workspace/file"), "kept").unwrap();
        fs::write(path("trust.crt"), "theirs\nof the run before\n").unwrap();
        prepare(&preparation).unwrap();
        assert_eq!(fs::read_to_string(path("volume/workspace/file")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(path("trust.crt")).unwrap(), "theirs\n");
        assert_eq!(mode(&path("trust.crt")), 0o664);

        let bare = Preparation { authorities: path("none"), ..preparation };
        prepare(&bare).unwrap();
        assert_eq!(fs::read_to_string(path("trust.crt")).unwrap(), "");
    }

    #[test]
    fn a_volume_that_cannot_be_written_to_is_named() {
        let preparation = Preparation {
            volume: "/proc".into(),
            authorities: "/dev/null".into(),
            trust: "/dev/null".into(),
        };
        let failed = prepare(&preparation).unwrap_err();
        assert_eq!(failed.to_string(), "the folder /proc/workspace cannot be made");
    }
}
