//! Where connections arrive that programs make without knowing a proxy, and names are answered.
//!
//! It is the far end of the room's network, where every address arrives that is not the room's own: its sockets lie in a network namespace
//! that nothing in the room can enter, and the launcher made them and handed them over. In a pod, whose network is not ours, names are
//! answered with addresses of the loopback network instead, and only what has a name arrives.

mod names;
mod question;
mod resolver;
mod through;

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, bind, listen, recvmsg,
    sockopt,
};

use self::names::{Block, Names};
use super::forward;

/// Where names are asked for.
const NAMES: u16 = 53;
/// Where programs go that know no proxy; a session may add others.
const WEB: [u16; 2] = [80, 443];
const BACKLOG: i32 = 1024;
/// Of one port at the same time. The room's descriptors are the agent's, but `init` must keep some.
const MOST_CONNECTIONS: usize = 256;
/// As many sockets as one message can carry.
const MOST_SOCKETS: usize = 253;

type SharedNames = Arc<Mutex<Names>>;

/// What a connection to an address means, as `host:port`.
type Meaning = fn(SocketAddr, &mut Names) -> Option<String>;

pub(super) struct Outside {
    door: Arc<PathBuf>,
    names: SharedNames,
    ports: BTreeSet<u16>,
    sockets: Sockets,
}

/// Where further ports are listened on.
enum Sockets {
    /// At the far end of the room's network, by sockets that have no port yet.
    FarEnd { spare: Vec<OwnedFd> },
    /// On the room's own loopback network, where the addresses lie that stand for names.
    Loopback,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OutsideError {
    #[error("the outside's sockets do not come over standard input")]
    Sockets(#[source] io::Error),
    #[error("there are too few sockets")]
    TooFewSockets,
    #[error("port {port} of the outside cannot be listened on")]
    Listen { port: u16, source: io::Error },
}

impl Outside {
    /// Takes the sockets that wait in standard input, and answers on them from now on.
    pub(super) fn open(door: PathBuf) -> Result<Self, OutsideError> {
        let sockets = take_sockets(io::stdin()).map_err(OutsideError::Sockets)?;
        Self::on(sockets, door)
    }

    fn on(sockets: Vec<OwnedFd>, door: PathBuf) -> Result<Self, OutsideError> {
        let mut sockets = sockets.into_iter();
        let datagrams = sockets.next().ok_or(OutsideError::TooFewSockets)?;
        let connections = sockets.next().ok_or(OutsideError::TooFewSockets)?;
        give_port(&datagrams, NAMES).map_err(failed(NAMES))?;
        let listener = listener(connections, NAMES).map_err(failed(NAMES))?;
        let sockets = Sockets::FarEnd { spare: sockets.collect() };
        let names = SharedNames::default();
        Self::serve(sockets, names, UdpSocket::from(datagrams), listener, door)
    }

    /// Answers names with addresses of the loopback network from now on, and takes connections there.
    pub(super) fn of_names(door: PathBuf) -> Result<Self, OutsideError> {
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), NAMES);
        let datagrams = UdpSocket::bind(here).map_err(failed(NAMES))?;
        let listener = TcpListener::bind(here).map_err(failed(NAMES))?;
        let names = Arc::new(Mutex::new(Names::in_block(Block::LOOPBACK)));
        Self::serve(Sockets::Loopback, names, datagrams, listener, door)
    }

    fn serve(
        sockets: Sockets,
        names: SharedNames,
        datagrams: UdpSocket,
        listener: TcpListener,
        door: PathBuf,
    ) -> Result<Self, OutsideError> {
        resolver::serve_datagrams(datagrams, Arc::clone(&names)).map_err(failed(NAMES))?;
        resolver::serve_connections(listener, Arc::clone(&names)).map_err(failed(NAMES))?;
        let ports = BTreeSet::from([NAMES]);
        let mut outside = Self { door: Arc::new(door), names, ports, sockets };
        for port in WEB {
            outside.listen_on(port)?;
        }
        Ok(outside)
    }

    /// Takes connections to these ports of any address too. A port that cannot be had is logged.
    pub(super) fn listen_on_all(&mut self, ports: &[u32]) {
        for port in ports {
            let listening = match u16::try_from(*port) {
                Ok(port) => self.listen_on(port),
                Err(_) => continue,
            };
            if let Err(error) = listening {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(port, error, "connections to a port lead nowhere");
            }
        }
    }

    fn listen_on(&mut self, port: u16) -> Result<(), OutsideError> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        let (listener, meant): (_, Meaning) = match &mut self.sockets {
            Sockets::FarEnd { spare } => {
                let socket = spare.pop().ok_or(OutsideError::TooFewSockets)?;
                (listener(socket, port), through::meant)
            }
            Sockets::Loopback => {
                (TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)), through::name_meant)
            }
        };
        let listener = listener.map_err(failed(port))?;
        let (door, names) = (Arc::clone(&self.door), Arc::clone(&self.names));
        forward::serve_each(listener, MOST_CONNECTIONS, move |connection| {
            let (door, names) = (Arc::clone(&door), Arc::clone(&names));
            async move {
                let address = connection.local_addr();
                let meant = address.ok().and_then(|at| meant(at, &mut lock(&names)));
                let Some(meant) = meant else { return };
                if let Err(error) = through::carry(connection, &meant, &door).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(meant, error, "a connection ended early");
                }
            }
        })
        .map_err(failed(port))?;
        self.ports.insert(port);
        Ok(())
    }
}

fn failed(port: u16) -> impl FnOnce(io::Error) -> OutsideError {
    move |source| OutsideError::Listen { port, source }
}

/// The sockets of one message, in their order. What is started later inherits none of them.
fn take_sockets(from: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 1];
    recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            sockets.extend(received);
        }
    }
    Ok(sockets)
}

fn listener(socket: OwnedFd, port: u16) -> io::Result<TcpListener> {
    give_port(&socket, port)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// That port of every address.
fn give_port(socket: &OwnedFd, port: u16) -> io::Result<()> {
    let any: IpAddr = match sockopt::socket_domain(socket)? {
        AddressFamily::INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    Ok(bind(socket, &SocketAddr::new(any, port))?)
}

fn lock(names: &SharedNames) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
