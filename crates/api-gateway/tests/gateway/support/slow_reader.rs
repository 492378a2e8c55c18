//! A reader of an event stream behind a connection that holds little.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);
const RECEIVE_BUFFER: u32 = 16 * 1024;

pub struct SlowReader {
    connection: TcpStream,
    text: String,
}

impl SlowReader {
    pub async fn open(url: &str, path: &str, key: &str) -> Self {
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let mut connection = socket.connect(address).await.unwrap();
        // By HTTP/1.0 the body comes as it is, without chunks.
        let request = format!("GET {path} HTTP/1.0\r\nauthorization: Bearer {key}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self { connection, text: String::new() };
        reader.read_until("retry: 2000\n\n").await;
        reader
    }

    /// Reads on until the text was there; panics when the stream ends before.
    pub async fn read_until(&mut self, text: &str) {
        let mut from = 0;
        while !self.text[from..].contains(text) {
            from = self.text.len().saturating_sub(text.len());
            assert!(self.read().await, "the stream ended before {text:?}");
        }
    }

    /// Reads about that many bytes.
    pub async fn read_some(&mut self, bytes: usize) {
        let enough = self.text.len() + bytes;
        while self.text.len() < enough && self.read().await {}
    }

    /// Reads to the end of the stream; everything that came.
    pub async fn read_to_end(mut self) -> String {
        while self.read().await {}
        self.text
    }

    /// The numbers of the events that came.
    pub fn numbers(text: &str) -> Vec<i64> {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(|id| id.parse().unwrap()).collect()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    async fn read(&mut self) -> bool {
        let mut piece = vec![0; RECEIVE_BUFFER as usize];
        let read = tokio::time::timeout(PATIENCE, self.connection.read(&mut piece)).await;
        let length = read.expect("something within the time").unwrap();
        self.text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        length > 0
    }
}
