//! A websocket by hand, so that it can break every rule.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// Opcodes of RFC 6455.
pub(crate) const CONTINUE: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Any stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An upgraded connection.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    /// Read and not looked at yet.
    read: Vec<u8>,
}

impl Raw {
    /// On the unix socket.
    pub(crate) async fn unix(socket: &Path) -> Self {
        Self::upgrade(Box::new(UnixStream::connect(socket).await.expect("a connection"))).await
    }

    /// Over TLS, logged in as nobody.
    pub(crate) async fn tls(addr: SocketAddr) -> Self {
        Self::upgrade(Box::new(kit::client::tls(addr).await.expect("a connection"))).await
    }

    async fn upgrade(stream: Box<dyn Stream>) -> Self {
        let mut raw = Self { stream, read: Vec::new() };
        raw.push(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
        let end = |read: &[u8]| read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        while end(&raw.read).is_none() {
            assert!(raw.more().await, "the upgrade was refused");
        }
        let head = raw.take(end(&raw.read).map_or(0, |end| end + 4));
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        raw
    }

    /// Logs in.
    pub(crate) async fn login(&mut self, token: &str) {
        let request = json!({"namespace": "rpc", "name": "auth_token", "id": "login",
            "args": {"token": token}});
        self.send(TEXT, request.to_string().as_bytes()).await;
        let answer = self.message().await;
        assert_eq!(answer["name"], "response", "{answer}");
    }

    /// One whole message in one frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.frame(true, opcode, payload).await;
    }

    /// One whole message in frames of so many bytes.
    pub(crate) async fn send_in_pieces(&mut self, payload: &[u8], bytes: usize) {
        let last = payload.len().div_ceil(bytes).saturating_sub(1);
        for (place, piece) in payload.chunks(bytes).enumerate() {
            self.frame(place == last, if place == 0 { TEXT } else { CONTINUE }, piece).await;
        }
    }

    /// One frame, masked with zeros.
    pub(crate) async fn frame(&mut self, is_last: bool, opcode: u8, payload: &[u8]) {
        let mut bytes = head(is_last, opcode, payload.len() as u64);
        bytes.extend_from_slice(payload);
        self.push(&bytes).await;
    }

    /// The head of a frame whose payload is said to have so many bytes.
    pub(crate) async fn header(&mut self, opcode: u8, length: u64) {
        self.push(&head(true, opcode, length)).await;
    }

    /// Bytes as they are. When nobody takes them any more that shows in what comes back.
    pub(crate) async fn push(&mut self, bytes: &[u8]) {
        let push = async {
            drop(self.stream.write_all(bytes).await);
            drop(self.stream.flush().await);
        };
        timeout(PATIENCE, push).await.expect("the daemon reads on or closes");
    }

    /// The next text message's JSON.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            let (opcode, payload) = self.next().await.expect("a message, not the end");
            if opcode == TEXT {
                return serde_json::from_slice(&payload).expect("the daemon sends JSON");
            }
        }
    }

    /// Reads on until the connection is closed: the code; 1006 when it just ends.
    pub(crate) async fn close_code(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.next().await {
            if opcode == CLOSE {
                return payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            }
        }
        1006
    }

    /// The next frame's opcode and payload; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((head, length)) = self.frame_here() {
                let frame = self.take(head + length);
                return Some((frame[0] & 0x0f, frame[head..].to_vec()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The lengths of the head and the payload of a frame that is there in whole.
    fn frame_here(&self) -> Option<(usize, usize)> {
        let (head, length) = match *self.read.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(*self.read.get(2..)?.first_chunk()?))),
            127 => {
                let long = u64::from_be_bytes(*self.read.get(2..)?.first_chunk()?);
                (10, usize::try_from(long).ok()?)
            }
            short => (2, usize::from(short)),
        };
        (self.read.len() >= head + length).then_some((head, length))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.read.drain(..count).collect()
    }

    async fn more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await;
        let count = read.expect("the daemon says something or closes").unwrap_or(0);
        self.read.extend_from_slice(&bytes[..count]);
        count > 0
    }
}

fn head(is_last: bool, opcode: u8, length: u64) -> Vec<u8> {
    let mut head = vec![if is_last { 0x80 } else { 0 } | opcode];
    match (u16::try_from(length), length) {
        (_, 0..126) => head.push(0x80 | u8::try_from(length).unwrap_or(0)),
        (Ok(short), _) => {
            head.push(0xfe);
            head.extend_from_slice(&short.to_be_bytes());
        }
        (Err(_), _) => {
            head.push(0xff);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}
