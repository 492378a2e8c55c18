//! Those who hold the streams open.

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use system_tests::{Client, EventStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const OPENED_AT_ONCE: usize = 32;

/// Streams stay open until this is dropped.
pub struct Readers {
    quick: Vec<EventStream>,
    _slow: Vec<TcpStream>,
}

impl Readers {
    /// Opens a stream per session. The first of every `per_slow_one` is read no further than its beginning; 0: none.
    pub async fn open<'session>(
        client: &Client,
        sessions: impl Iterator<Item = &'session str>,
        per_slow_one: usize,
    ) -> anyhow::Result<Self> {
        let is_slow = |index: &usize| per_slow_one > 0 && index.is_multiple_of(per_slow_one);
        let (slow, quick): (Vec<_>, Vec<_>) =
            sessions.enumerate().partition(|(index, _)| is_slow(index));
        let opening = quick.into_iter().map(|(_, session)| client.stream(session, None));
        let quick = stream::iter(opening).buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
        let opening = slow.into_iter().map(|(_, session)| open_slow(client, session));
        let slow = stream::iter(opening).buffer_unordered(OPENED_AT_ONCE).try_collect().await?;
        Ok(Self { quick, _slow: slow })
    }

    /// Reads until everybody who reads has seen the event of this number.
    pub async fn until(&mut self, number: i64) -> anyhow::Result<()> {
        let reading = self.quick.iter_mut().map(|stream| async move {
            loop {
                let frame = stream.next().await?.context("a stream ended")?;
                ensure!(frame.name != "error", "a stream was ended: {}", frame.data);
                if frame.id == Some(number) {
                    return anyhow::Ok(());
                }
            }
        });
        futures::future::try_join_all(reading).await?;
        Ok(())
    }
}

/// By hand, with a connection that holds little.
async fn open_slow(client: &Client, session: &str) -> anyhow::Result<TcpStream> {
    let (address, key) = client.address_and_key()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16 * 1024)?;
    let mut connection = socket.connect(address.parse()?).await?;
    let request = format!(
        "GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: {key}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut beginning = [0; 12];
    connection.read_exact(&mut beginning).await?;
    ensure!(&beginning == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&beginning));
    Ok(connection)
}
