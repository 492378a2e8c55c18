//! The network of a harness's room: a namespace whose every way leads over a cable into a second one, where `init` answers.
//!
//! ```text
//!  the agent's namespace                      the outside: every address is its own
//!  lo    127.0.0.1, ::1                       lo     0.0.0.0/0, ::/0 local
//!  eth0  192.0.2.2 ───────── cable ────────── cable  192.0.2.1
//!        default via 192.0.2.1                sockets of `init`: names (53), web (80, 443), what the session adds
//! ```
//!
//! Neither has a device that leads to the machine. A connection to any address arrives at a socket of `init`, which finds the
//! address that was meant as the socket's own, and hands it to the sandbox's door with it. No packet filter is needed, the agent's
//! own ports and loopback stay its own, and it has no capability over either namespace, because they belong to the user namespace
//! around its own. The sockets of the outside are made here and handed to `init` over its standard input, since nothing that has
//! entered the room can make another one there.

mod netlink;

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socket_with, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

use netlink::{Device, LOOPBACK, Routing};

/// Numbers that no device which the kernel adds by itself takes.
const CABLE: Device<'static> = Device { index: 70, name: "cable" };
const ETHERNET: Device<'static> = Device { index: 71, name: "eth0" };

/// Of the block that is set aside for documentation (RFC 5737): nothing that an agent wants to reach has such an address.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PREFIX: u8 = 30;
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6c61, 0x70, 0, 0, 0, 0, 1);
const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6c61, 0x70, 0, 0, 0, 0, 2);
const PREFIX_V6: u8 = 126;

/// TCP sockets of the outside: for names, for the web, and for the ports that a session adds.
const TCP_SOCKETS: usize = 3 + 32;

const SETTINGS: &str = "/proc/sys/net";

/// What the harness's room has of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Everything leads to `init`, and from there to the door.
    Transparent,
    /// Nothing but a loopback: programs reach the door only when they ask for the proxy by its address.
    LoopbackOnly,
}

/// Which network rooms get on this machine, and why.
#[derive(Debug, Clone)]
pub struct Networks {
    kind: Network,
    report: String,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("no network namespace may be made")]
    Namespace(#[source] Errno),
    #[error("the user namespace's {0} cannot be written")]
    User(&'static str, #[source] io::Error),
    #[error("the network setting {0} cannot be written")]
    Setting(&'static str, #[source] io::Error),
    #[error("{0} failed")]
    Step(&'static str, #[source] io::Error),
}

impl Networks {
    /// Finds out by trying, in a process of its own: `launcher probe-network`.
    pub fn probe(launcher: &Path) -> Self {
        let tried = Command::new(launcher)
            .arg("probe-network")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output();
        let failure = match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match failure {
            None => Self {
                kind: Network::Transparent,
                report: "network namespaces: every connection leads to the proxy".to_owned(),
            },
            Some(why) => Self {
                kind: Network::LoopbackOnly,
                report: format!(
                    "loopback only: what ignores the proxy's variables reaches nothing, because {why}"
                ),
            },
        }
    }

    pub fn kind(&self) -> Network {
        self.kind
    }

    /// For logs and a sandbox's notes.
    pub fn report(&self) -> &str {
        &self.report
    }
}

/// Puts this process, which must have one thread, into a network namespace of the agent's kind, and answers the socket from which
/// `init` takes the sockets of the outside.
pub fn enter() -> Result<OwnedFd, NetworkError> {
    if nix::unistd::geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::Namespace)?;
    } else {
        enter_user_namespace()?;
    }
    let has_v6 = Path::new(SETTINGS).join("ipv6").exists();
    let outside = Routing::open().map_err(step("opening the routing socket"))?;
    set("ipv4/ip_unprivileged_port_start", "0")?;
    if has_v6 {
        // An answer to a question about names comes from the address that was asked.
        set("ipv6/ip_nonlocal_bind", "1")?;
        set_quiet()?;
    }
    let sockets = outside_sockets(has_v6).map_err(step("making the outside's sockets"))?;
    let outside_namespace =
        File::open("/proc/self/ns/net").map_err(step("opening the outside's namespace"))?;

    unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::Namespace)?;
    let inside = Routing::open().map_err(step("opening the routing socket"))?;
    set("ipv4/ip_unprivileged_port_start", "0")?;
    if has_v6 {
        set_quiet()?;
    }
    connect(&inside, &outside, outside_namespace.as_fd(), has_v6)
        .map_err(step("connecting the two namespaces"))?;
    hand_over(&sockets).map_err(step("handing the outside's sockets over"))
}

/// Without root a user namespace gives the right to make others. Starting bubblewrap gives it up again.
fn enter_user_namespace() -> Result<(), NetworkError> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(NetworkError::Namespace)?;
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ];
    for (name, text) in files {
        fs::write(PathBuf::from("/proc/self").join(name), text)
            .map_err(|error| NetworkError::User(name, error))?;
    }
    Ok(())
}

fn connect(
    inside: &Routing,
    outside: &Routing,
    outside_namespace: BorrowedFd<'_>,
    has_v6: bool,
) -> io::Result<()> {
    inside.add_cable(ETHERNET, CABLE, outside_namespace)?;
    let mut ends = vec![(IpAddr::from(INSIDE), IpAddr::from(OUTSIDE), PREFIX, libc::AF_INET)];
    if has_v6 {
        ends.push((INSIDE_V6.into(), OUTSIDE_V6.into(), PREFIX_V6, libc::AF_INET6));
    }
    for (here, there, prefix, _) in &ends {
        inside.add_address(ETHERNET, *here, *prefix)?;
        outside.add_address(CABLE, *there, *prefix)?;
    }
    for (routing, device) in [(inside, ETHERNET), (outside, CABLE)] {
        routing.bring_up(LOOPBACK)?;
        routing.bring_up(device)?;
    }
    for (here, there, _, family) in ends {
        inside.add_default_route(ETHERNET, there)?;
        outside.except_from_local(CABLE, here)?;
        outside.make_all_local(u8::try_from(family).unwrap_or_default())?;
    }
    Ok(())
}

/// No addresses that devices give themselves, and nothing that is announced.
fn set_quiet() -> Result<(), NetworkError> {
    set("ipv6/conf/default/addr_gen_mode", "1")?;
    set("ipv6/conf/default/accept_ra", "0")
}

/// The setting of this process's network namespace.
fn set(name: &'static str, value: &str) -> Result<(), NetworkError> {
    fs::write(Path::new(SETTINGS).join(name), value)
        .map_err(|error| NetworkError::Setting(name, error))
}

/// One for datagrams, then those for connections. Each takes both kinds of address where the machine has both.
fn outside_sockets(has_v6: bool) -> io::Result<Vec<OwnedFd>> {
    let family = if has_v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let kinds = std::iter::once(SocketType::DGRAM)
        .chain(std::iter::repeat_n(SocketType::STREAM, TCP_SOCKETS));
    kinds
        .map(|kind| {
            let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
            if has_v6 {
                sockopt::set_ipv6_v6only(&socket, false)?;
            }
            Ok(socket)
        })
        .collect()
}

/// One message with all sockets waits in the socket that is answered.
fn hand_over(sockets: &[OwnedFd]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TCP_SOCKETS + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(&ours, &[IoSlice::new(b"!")], &mut control, SendFlags::empty())?;
    Ok(theirs)
}

fn step(what: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Step(what, source)
}
