//! A place on the way between one process and its database or broker, where the way can be cut.

use std::io;
use std::net::Ipv4Addr;

use local_stack::{Detour, Part, ProcessName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to those who come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections are reset, and new ones are, too.
    Reset,
    /// Nothing arrives and nobody hears why; what was on the way arrives later.
    Silent,
}

/// One process's way to one other.
#[derive(Debug)]
pub(crate) struct Crossing {
    pub(crate) detour: Detour,
    pub(crate) process: ProcessName,
    pub(crate) to: Part,
    way: watch::Sender<Way>,
}

impl Crossing {
    /// Opens the way at a port of its own. It lasts as long as the drill's process.
    pub(crate) async fn open(process: ProcessName, to: Part) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let detour = Detour::new(process, to, listener.local_addr()?.port());
        let (way, current) = watch::channel(Way::Open);
        tokio::spawn(serve(listener, detour.clone(), current));
        Ok(Self { detour, process, to, way })
    }

    pub(crate) fn make(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn serve(listener: TcpListener, detour: Detour, way: watch::Receiver<Way>) {
    loop {
        // Out of descriptors: the next one may be taken.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Some(port) = detour.destination() else { continue };
        tokio::spawn(lead(stream, port, way.clone()));
    }
}

async fn lead(mut near: TcpStream, port: u16, mut way: watch::Receiver<Way>) {
    let arrived = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let Ok(mut far) = arrived else { return };
    let is_cut = {
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        let there = pass(near_in, far_out, way.clone());
        let back = pass(far_in, near_out, way.clone());
        tokio::select! {
            _ = way.wait_for(|way| *way == Way::Reset) => true,
            _ = async { tokio::join!(there, back) } => false,
        }
    };
    if is_cut {
        // With this, closing sends a reset.
        let _ = near.set_zero_linger();
        let _ = far.set_zero_linger();
    }
}

async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut way: watch::Receiver<Way>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let _ = way.wait_for(|way| *way != Way::Silent).await;
        match buffer.get(..count) {
            Some(read) if count > 0 => to.write_all(read).await?,
            Some(_) | None => return to.shutdown().await,
        }
    }
}
