//! One HTTP request on a connection of its own, byte for byte as the test wants it.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::harness::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status; 0 when the connection ended without an answer.
    pub(crate) status: u16,
    /// The head's lines after the first, as they came.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Reply {
    /// The body's JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A header, its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut wanted = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        wanted.next().map(|(_, value)| value.trim())
    }
}

/// A request with a body, headers as `Name: value` lines.
pub(crate) fn request(method: &str, path: &str, headers: &[String], body: &str) -> Vec<u8> {
    let mut headers = headers.join("\r\n");
    if !headers.is_empty() {
        headers.push_str("\r\n");
    }
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    format!("{head}{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Sends bytes over TLS and reads until the end.
pub(crate) async fn over_tls(addr: SocketAddr, bytes: &[u8]) -> Reply {
    over(kit::client::tls(addr).await.expect("a connection"), bytes).await
}

/// Sends bytes on the unix socket and reads until the end.
pub(crate) async fn over_unix(socket: &std::path::Path, bytes: &[u8]) -> Reply {
    over(UnixStream::connect(socket).await.expect("a connection"), bytes).await
}

/// Sends bytes over any stream and reads until the end.
pub(crate) async fn over(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Reply {
    send(&mut stream, bytes).await;
    answer(&mut stream).await.expect("an answer in time")
}

/// The same, and what comes is nobody's text.
pub(crate) async fn bytes_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> Vec<u8> {
    send(&mut stream, bytes).await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    answer
}

/// Sends bytes; [`answer`] is what comes.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // The other side may refuse before it has read everything; its answer tells more.
    drop(timeout(PATIENCE, stream.write_all(bytes)).await);
    drop(timeout(PATIENCE, stream.flush()).await);
}

/// Reads until the end; `None` when it does not come in time.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<Reply> {
    let mut answer = Vec::new();
    // An end without a goodbye is an end.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.ok().map(drop)?;
    Some(parse(&String::from_utf8_lossy(&answer)))
}

fn parse(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let (first, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}
