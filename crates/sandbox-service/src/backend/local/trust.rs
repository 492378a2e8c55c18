//! The certificates that programs in the harness's room may trust, as files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::layout::SandboxFolder;
use crate::backend::programs;

/// Where programs look for the machine's own certificates; in the room the sandbox's bundle lies over it.
pub(super) const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The sandbox's own authority alone.
const AUTHORITY: &str = "/run/egress/ca.pem";
/// The machine's authorities, then the sandbox's own.
const BUNDLE: &str = "/run/egress/ca-bundle.pem";

/// The variables of the harness's room, which everything that runs there inherits.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    programs::variables(BUNDLE, AUTHORITY)
}

/// The certificates that this machine trusts. A machine without any gives its sandboxes none.
pub(super) fn roots(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "sandboxes get no certificates of this machine");
        String::new()
    })
}

/// Writes both files of the sandbox: its authority, and the bundle.
pub(super) fn write(folder: &SandboxFolder, roots: &str, authority: &str) -> io::Result<()> {
    let bundle = join(roots, authority);
    for (path, text) in [(folder.authority(), authority), (folder.bundle(), &bundle)] {
        fs::write(&path, text)?;
        // For the room's user, whatever this process gives its files.
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Whether the machine has its own bundle in the usual place, so that the sandbox's can lie over it. Behind a link it is where the room
/// may have nothing.
pub(super) fn can_cover_system_bundle() -> bool {
    fs::canonicalize(SYSTEM_BUNDLE).is_ok_and(|real| real == Path::new(SYSTEM_BUNDLE))
}

/// The machine's own first. Two certificates on one line would be none.
fn join(roots: &str, authority: &str) -> String {
    let roots = roots.trim_end();
    let between = if roots.is_empty() { "" } else { "\n" };
    format!("{roots}{between}{authority}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_certificates_come_first_and_each_begins_a_line() {
        let ours = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";
        let joined = join("-----BEGIN CERTIFICATE-----\ntheirs\n-----END CERTIFICATE-----", ours);
        let lines: Vec<_> = joined.lines().collect();
        assert_eq!(lines[1], "theirs");
        assert_eq!(
            lines[3..],
            ["-----BEGIN CERTIFICATE-----", "ours", "-----END CERTIFICATE-----"]
        );
        assert_eq!(join("", ours), ours);
    }
}
