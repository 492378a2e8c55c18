//! Answers questions about names on every address of the outside, by datagram and by connection.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::question::answer;
use super::{SharedNames, lock};
use crate::init::forward;

/// Ours are shorter, and so are the questions of every program.
const LONGEST_DATAGRAM: usize = 1500;
/// Connections for questions at the same time.
const MOST_CONNECTIONS: usize = 16;
const IDLE: Duration = Duration::from_secs(10);

/// A question by datagram: the answer has to come from the address that was asked.
struct Asked {
    message: Vec<u8>,
    by: SockaddrStorage,
    at: Option<in6_pktinfo>,
}

pub(super) fn serve_datagrams(socket: UdpSocket, names: SharedNames) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    if socket.local_addr()?.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    tokio::spawn(async move {
        loop {
            match socket.async_io(Interest::READABLE, || receive(&socket)).await {
                Ok(asked) => {
                    let answer = answer(&asked.message, &mut lock(&names));
                    if let Some(answer) = answer {
                        reply(&socket, &asked, &answer);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a question about a name was not heard");
                    tokio::time::sleep(forward::RETRY).await;
                }
            }
        }
    });
    Ok(())
}

fn receive(socket: &tokio::net::UdpSocket) -> io::Result<Asked> {
    let mut message = vec![0; LONGEST_DATAGRAM];
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let (length, by, at) = {
        let mut parts = [IoSliceMut::new(&mut message)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let at = received.cmsgs()?.find_map(|control| asked_at(&control));
        (received.bytes, received.address, at)
    };
    message.truncate(length);
    let by = by.ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Asked { message, by, at })
}

fn asked_at(control: &ControlMessageOwned) -> Option<in6_pktinfo> {
    let ControlMessageOwned::Ipv6PacketInfo(info) = control else { return None };
    // Through which device is for the routes to say.
    Some(in6_pktinfo { ipi6_ifindex: 0, ..*info })
}

/// Whoever asked asks again if the answer is lost.
fn reply(socket: &tokio::net::UdpSocket, asked: &Asked, answer: &[u8]) {
    let from = asked.at.as_ref().map(ControlMessage::Ipv6PacketInfo);
    let parts = [IoSlice::new(answer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = sendmsg(socket.as_raw_fd(), &parts, from.as_slice(), flags, Some(&asked.by));
    if let Err(error) = sent {
        tracing::debug!(%error, "a question about a name was not answered");
    }
}

pub(super) fn serve_connections(listener: TcpListener, names: SharedNames) -> io::Result<()> {
    forward::serve_each(listener, MOST_CONNECTIONS, move |connection| {
        let names = Arc::clone(&names);
        async move {
            if let Err(error) = converse(connection, &names).await {
                tracing::debug!(%error, "a connection for questions broke");
            }
        }
    })
}

/// Each message is preceded by its length.
async fn converse(mut connection: TcpStream, names: &SharedNames) -> io::Result<()> {
    loop {
        let asked = tokio::time::timeout(IDLE, read_message(&mut connection)).await??;
        let Some(message) = asked else { return Ok(()) };
        let answer = answer(&message, &mut lock(names));
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or_default();
        connection.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
    }
}

async fn read_message(connection: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match connection.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length.into()];
    connection.read_exact(&mut message).await?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::outside::names::Names;

    const QUESTION: &[u8] = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";

    fn names() -> SharedNames {
        SharedNames::default()
    }

    #[tokio::test]
    async fn a_datagram_is_answered_from_where_it_was_asked() {
        // As in a sandbox: one socket for every address of both kinds.
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        serve_datagrams(socket, names()).unwrap();
        for at in ["127.0.0.1", "127.8.8.8", "::1"] {
            let client = tokio::net::UdpSocket::bind("[::]:0").await.unwrap();
            let at: std::net::IpAddr = at.parse().unwrap();
            let at = match at {
                std::net::IpAddr::V4(at) => at.to_ipv6_mapped(),
                std::net::IpAddr::V6(at) => at,
            };
            // A connected socket hears nobody but the address that it asked.
            client.connect((at, port)).await.unwrap();
            client.send(QUESTION).await.unwrap();
            let mut told = [0; 512];
            let length = client.recv(&mut told).await.unwrap();
            let expected = answer(QUESTION, &mut Names::default()).unwrap();
            assert_eq!(told[..length], expected, "{at}");
        }
    }

    #[tokio::test]
    async fn a_connection_carries_one_question_after_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve_connections(listener, names()).unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let expected = answer(QUESTION, &mut Names::default()).unwrap();
        for _ in 0..2 {
            client.write_u16(u16::try_from(QUESTION.len()).unwrap()).await.unwrap();
            client.write_all(QUESTION).await.unwrap();
            let length = client.read_u16().await.unwrap();
            let mut told = vec![0; length.into()];
            client.read_exact(&mut told).await.unwrap();
            assert_eq!(told, expected);
        }
    }
}
