//! One connection that a program made to an address, not knowing of a proxy: to the door with it, under the name that was meant.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::names::Names;
use crate::init::forward;

/// How long the door may take to say whether it takes a connection.
const ANSWER: Duration = Duration::from_secs(75);
const LONGEST_ANSWER: usize = 8 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

#[derive(Debug, thiserror::Error)]
pub(super) enum ThroughError {
    #[error("the door cannot be reached, or the connection broke")]
    Connection(#[from] io::Error),
    #[error("the door does not answer")]
    Silent,
    #[error("the door refused: {0}")]
    Refused(String),
}

/// What a connection to this address means, as `host:port`. `None`: nothing that is outside.
pub(super) fn meant(address: SocketAddr, names: &mut Names) -> Option<String> {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    if names.stand_at(ip) {
        return name_meant(address, names);
    }
    if ip.is_loopback() || ip.is_unspecified() {
        return None;
    }
    Some(SocketAddr::new(ip, port).to_string())
}

/// The same where only names lead outside.
pub(super) fn name_meant(address: SocketAddr, names: &mut Names) -> Option<String> {
    let IpAddr::V4(ip) = address.ip().to_canonical() else { return None };
    names.name_of(ip).map(|name| format!("{name}:{}", address.port()))
}

/// Carries a connection through the door until both sides have said all.
pub(super) async fn carry(
    mut inside: TcpStream,
    meant: &str,
    door: &Path,
) -> Result<(), ThroughError> {
    inside.set_nodelay(true)?;
    let mut outside = forward::connect(door).await?;
    let request =
        format!("CONNECT {meant} HTTP/1.1\r\nHost: {meant}\r\nX-Lap-Path: transparent\r\n\r\n");
    outside.write_all(request.as_bytes()).await?;
    let answer = tokio::time::timeout(ANSWER, read_answer(&mut outside)).await;
    let first = answer.map_err(|_elapsed| ThroughError::Silent)??;
    inside.write_all(&first).await?;
    forward::copy_both_ways(&mut inside, &mut outside).await?;
    Ok(())
}

/// What the other side says first, if it came along with the door's consent.
async fn read_answer(outside: &mut UnixStream) -> Result<Vec<u8>, ThroughError> {
    let mut said = Vec::new();
    let end = loop {
        let end = said.windows(HEAD_END.len()).position(|window| window == HEAD_END);
        if let Some(end) = end {
            break end + HEAD_END.len();
        }
        if said.len() > LONGEST_ANSWER || outside.read_buf(&mut said).await? == 0 {
            return Err(ThroughError::Refused("no answer that could be read".to_owned()));
        }
    };
    let first = said.split_off(end);
    let line = String::from_utf8_lossy(&said);
    let line = line.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) == Some("200") {
        Ok(first)
    } else {
        Err(ThroughError::Refused(line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::init::outside::names::Block;

    #[test]
    fn an_address_that_stands_for_a_name_means_the_name() {
        let mut names = Names::default();
        let api = names.address_of("api.example");
        let mut of = |address: &str| meant(address.parse().unwrap(), &mut names);
        assert_eq!(of(&format!("{api}:443")).as_deref(), Some("api.example:443"));
        assert_eq!(of(&format!("[::ffff:{api}]:22")).as_deref(), Some("api.example:22"));
        assert_eq!(of("198.19.0.1:443"), None, "forgotten, or never given");
    }

    #[test]
    fn other_addresses_mean_themselves_and_loopback_nothing() {
        let mut names = Names::default();
        let mut of = |address: &str| meant(address.parse().unwrap(), &mut names);
        assert_eq!(of("[::ffff:1.1.1.1]:80").as_deref(), Some("1.1.1.1:80"));
        assert_eq!(of("[2001:db8::1]:443").as_deref(), Some("[2001:db8::1]:443"));
        assert_eq!(of("169.254.169.254:80").as_deref(), Some("169.254.169.254:80"));
        for here in
            ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80"]
        {
            assert_eq!(of(here), None, "{here}");
        }
    }

    #[test]
    fn where_only_names_lead_outside_every_other_address_means_nothing() {
        let mut names = Names::in_block(Block::LOOPBACK);
        let api = names.address_of("api.example");
        let mut of = |address: &str| name_meant(address.parse().unwrap(), &mut names);
        assert_eq!(of(&format!("{api}:443")).as_deref(), Some("api.example:443"));
        for other in ["127.0.0.1:80", "127.64.9.9:80", "10.244.0.7:80", "[::1]:80"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    /// A connection that is on its way through a door of the test's own.
    async fn carried() -> (TcpStream, UnixStream, tokio::task::JoinHandle<Result<(), ThroughError>>)
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door.sock");
        let door = UnixListener::bind(&path).unwrap();
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let program = TcpStream::connect(near.local_addr().unwrap()).await.unwrap();
        let (inside, _) = near.accept().await.unwrap();
        let carrying = tokio::spawn(async move { carry(inside, "a.example:443", &path).await });
        let (mut outside, _) = door.accept().await.unwrap();
        let expected = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nX-Lap-Path: transparent\r\n\r\n";
        let mut request = vec![0; expected.len()];
        outside.read_exact(&mut request).await.unwrap();
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        (program, outside, carrying)
    }

    #[tokio::test]
    async fn a_side_that_has_said_all_still_hears_the_other() {
        let (mut program, mut outside, carrying) = carried().await;
        // In pieces, and with the first words of the other side right behind.
        outside.write_all(b"HTTP/1.1 200 Connection").await.unwrap();
        program.write_all(b"question").await.unwrap();
        program.shutdown().await.unwrap();
        outside.write_all(b" established\r\nX: y\r\n\r\nwelcome, ").await.unwrap();
        let mut question = Vec::new();
        outside.read_to_end(&mut question).await.unwrap();
        outside.write_all(b"answer").await.unwrap();
        drop(outside);
        let mut answer = Vec::new();
        program.read_to_end(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(question).unwrap(), "question");
        assert_eq!(String::from_utf8(answer).unwrap(), "welcome, answer");
        carrying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_the_door_refuses_is_closed_without_a_word() {
        for refusal in ["HTTP/1.1 403 Forbidden\r\n\r\nno", "HTTP/1.1 20", "garbage\r\n\r\n"] {
            let (mut program, mut outside, carrying) = carried().await;
            outside.write_all(refusal.as_bytes()).await.unwrap();
            drop(outside);
            let mut answer = Vec::new();
            program.read_to_end(&mut answer).await.ok();
            assert_eq!(answer, b"", "{refusal}");
            assert!(matches!(carrying.await.unwrap(), Err(ThroughError::Refused(_))), "{refusal}");
        }
    }
}
