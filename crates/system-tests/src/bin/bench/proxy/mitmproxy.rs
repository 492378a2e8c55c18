//! mitmproxy, once for each kind of work, each time with as little else to do as its options allow.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use system_tests::upstream::{Authority, SECRET};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::leg::{Entrance, Leg, Named};

/// Imports of a Python program on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_mins(1);
const PLACEHOLDER: &str = "Bearer placeholder";

/// Three processes, which end when this is dropped.
pub struct Mitmproxy {
    running: [(SocketAddr, Child); 3],
    folder: TempDir,
}

impl Mitmproxy {
    pub async fn start(program: &Path, authority: &Authority) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let replace = format!("/~q/authorization/Bearer {SECRET}");
        // The first one makes the authority that all of them use.
        let tunnel = start(program, &folder, authority, &["--ignore-hosts", ".*"]).await?;
        let terminated = start(program, &folder, authority, &[]).await?;
        let replaced = start(program, &folder, authority, &["--modify-headers", &replace]).await?;
        Ok(Self { running: [tunnel, terminated, replaced], folder })
    }

    pub fn legs(&self, upstream: Named<'_>, authority: &Authority) -> anyhow::Result<[Leg; 3]> {
        let [tunnel, terminated, replaced] = &self.running;
        let own: PathBuf = self.folder.path().join("mitmproxy-ca-cert.pem");
        let leg = |running: &(SocketAddr, Child), roots: &Path| {
            let leg = Leg::through("mitmproxy", Entrance::Proxy(running.0), upstream, roots)?;
            let process = running.1.id().context("mitmdump has ended")?;
            anyhow::Ok(leg.carried_by(i32::try_from(process)?))
        };
        Ok([
            leg(tunnel, &authority.own())?,
            leg(terminated, &own)?,
            leg(replaced, &own)?.with_authorization(PLACEHOLDER.to_owned()),
        ])
    }
}

async fn start(
    program: &Path,
    folder: &TempDir,
    authority: &Authority,
    options: &[&str],
) -> anyhow::Result<(SocketAddr, Child)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let trusted = format!("ssl_verify_upstream_trusted_ca={}", authority.own().display());
    let mut process = Command::new(program)
        .args([
            "--quiet",
            "--listen-host",
            "127.0.0.1",
            "--listen-port",
            &address.port().to_string(),
        ])
        .args(["--set", &format!("confdir={}", folder.path().display()), "--set", &trusted])
        // As ours does it: bodies pass by and are not collected.
        .args(["--set", "stream_large_bodies=1", "--set", "connection_strategy=lazy"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))?;
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(process.try_wait()?.is_none(), "mitmdump ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(STARTED_WITHIN, listening).await.context("mitmdump does not listen")??;
    Ok((address, process))
}
