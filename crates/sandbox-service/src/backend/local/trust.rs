//! What programs in the harness's room go by on their way out: the proxy's address, and the certificates that they may trust.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::layout::SandboxFolder;

/// Where programs look for the machine's own certificates; in the room the sandbox's bundle lies over it.
pub(super) const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

const PROXY: &str = "http://127.0.0.1:3128";
/// What the agent runs on its own loopback, and the model gateway there, are not the proxy's business.
const WITHOUT_PROXY: &str = "localhost,127.0.0.1,::1";
/// The sandbox's own authority alone.
const AUTHORITY: &str = "/run/egress/ca.pem";
/// The machine's authorities, then the sandbox's own.
const BUNDLE: &str = "/run/egress/ca-bundle.pem";

/// Each tool set asks a variable of its own for the file of authorities that takes the place of its built-in ones.
const BUNDLE_VARIABLES: [&str; 14] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "npm_config_cafile",
];

/// The variables of the harness's room, which everything that runs there inherits.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];
    let exceptions = ["NO_PROXY", "no_proxy"];
    proxies
        .map(|name| (name, PROXY))
        .into_iter()
        .chain(exceptions.map(|name| (name, WITHOUT_PROXY)))
        .chain(BUNDLE_VARIABLES.map(|name| (name, BUNDLE)))
        // Node adds to its own, and reads nothing of the proxy's variables unless told to.
        .chain([("NODE_EXTRA_CA_CERTS", AUTHORITY), ("NODE_USE_ENV_PROXY", "1")])
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

    #[test]
    fn calls_to_the_room_s_own_loopback_do_not_go_through_the_proxy() {
        let of = |wanted: &str| variables().find(|(name, _)| *name == wanted).unwrap().1;
        assert_eq!(of("http_proxy"), of("HTTPS_PROXY"));
        assert!(of("no_proxy").split(',').any(|exception| exception == "127.0.0.1"));
        assert!(of("NO_PROXY").split(',').any(|exception| exception == "localhost"));
    }
}
