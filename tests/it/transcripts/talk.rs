//! Connections of a played client: opened as the conversation says, on an address of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use kit::client::tls_over;
use kit::tls::believing;
use kit::transcript::{Body, Connect, Names, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::harness::PATIENCE;
use crate::http::Reply;

/// Any stream of bytes.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// The ways to whoever plays the server.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    pub(super) tcp: SocketAddr,
    /// Where there is none, TCP is taken instead.
    pub(super) unix: Option<PathBuf>,
    /// The client's own address: logins that fail cost an address time, and it is nobody else's.
    pub(super) source: Ipv4Addr,
}

impl Ways {
    pub(super) async fn open(&self, unix: bool) -> Result<Box<dyn Bytes>, String> {
        let failed = |error: std::io::Error| format!("there is no connection: {error}");
        if let (true, Some(path)) = (unix, &self.unix) {
            return Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?));
        }
        let socket = TcpSocket::new_v4().map_err(failed)?;
        socket.bind((self.source, 0).into()).map_err(failed)?;
        let stream = socket.connect(self.tcp).await.map_err(failed)?;
        Ok(Box::new(tls_over(stream, self.tcp, believing()).await?))
    }
}

/// A websocket.
pub(super) struct Talker(WebSocketStream<Box<dyn Bytes>>);

/// What comes on one.
#[derive(Debug)]
pub(super) enum Came {
    Text(String),
    Closed(u16),
}

/// What an upgrade leads to.
pub(super) enum Opened {
    Websocket(Box<Talker>),
    Refused(Reply),
}

impl Talker {
    pub(super) async fn connect(
        ways: &Ways,
        connect: &Connect,
        names: &Names,
    ) -> Result<Opened, String> {
        let stream = ways.open(connect.unix).await?;
        let uri = format!("ws://localhost{}", names.fill(&connect.path));
        let uri: Uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
        let mut upgrade = ClientRequestBuilder::new(uri);
        if let Some(subprotocol) = &connect.subprotocol {
            upgrade = upgrade.with_sub_protocol(subprotocol.clone());
        }
        for (name, value) in &connect.headers {
            upgrade = upgrade.with_header(name.clone(), names.fill(value));
        }
        let handshake = timeout(PATIENCE, client_async_with_config(upgrade, stream, None)).await;
        match handshake.map_err(|_| "the upgrade is not answered".to_owned())? {
            Ok((socket, _)) => Ok(Opened::Websocket(Box::new(Self(socket)))),
            Err(Error::Http(refusal)) => {
                let headers = refusal.headers().iter();
                let head = headers.map(|(name, value)| {
                    format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
                });
                Ok(Opened::Refused(Reply {
                    status: refusal.status().as_u16(),
                    head: head.collect::<Vec<_>>().join("\r\n"),
                    body: String::from_utf8_lossy(refusal.body().as_deref().unwrap_or(b"")).into(),
                }))
            }
            Err(error) => Err(format!("there is no websocket: {error}")),
        }
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.0.send(message)).await;
        sent.map_err(|_| "it is not read".to_owned())?.map_err(|error| error.to_string())
    }

    pub(super) async fn close(&mut self, code: u16) -> Result<(), String> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// The next message, or the end.
    pub(super) async fn next(&mut self) -> Result<Came, String> {
        let came = timeout(PATIENCE, self.receive()).await;
        came.map_err(|_| format!("nothing came for {PATIENCE:?}"))
    }

    /// What comes within this time.
    pub(super) async fn within(&mut self, wait: Duration) -> Option<Came> {
        timeout(wait, self.receive()).await.ok()
    }

    async fn receive(&mut self) -> Came {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Came::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => {
                    return Came::Text(String::from_utf8_lossy(&bytes).into_owned());
                }
                Some(Ok(Message::Close(frame))) => {
                    return Came::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Came::Closed(1006),
            }
        }
    }
}

/// The bytes of a request.
pub(super) fn bytes_of(request: &Request, names: &mut Names) -> Result<Vec<u8>, String> {
    let body = match &request.body {
        Body::Nothing => Vec::new(),
        Body::Json(json) => names.say(json).to_string().into_bytes(),
        Body::Text(text) => names.fill(text).into_bytes(),
        Body::Base64(text) => STANDARD.decode(text).map_err(|error| error.to_string())?,
    };
    let path = names.fill(&request.path);
    let mut head = vec![format!("{} {path} HTTP/1.1", request.method)];
    head.extend(["Host: localhost", "Connection: close"].map(str::to_owned));
    for (name, value) in &request.headers {
        head.push(format!("{name}: {}", names.fill(value)));
    }
    if let Some((user, password)) = &request.basic {
        let pair = STANDARD.encode(names.fill(&format!("{user}:{password}")));
        head.push(format!("Authorization: Basic {pair}"));
    }
    let head = head.join("\r\n") + "\r\n";
    if request.chunked {
        let (front, back) = body.split_at(body.len() / 2);
        let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in [front, back].into_iter().filter(|chunk| !chunk.is_empty()) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        return Ok(bytes);
    }
    let mut bytes = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The connections of a conversation, by the name that its steps give them.
pub(super) type Talkers = BTreeMap<String, Talker>;
