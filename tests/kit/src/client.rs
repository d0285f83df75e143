//! A SysAdm client for tests: it says exactly what it is told and shows exactly what comes.
//!
//! It shares no code with `sysadmctl` on purpose, so that a misreading of the protocol shows up as
//! a difference. Every wait has a bound; when it passes, the test fails and says what was missing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use it, and a panic is how a test says what did not come"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::tls::believing;

/// How long every wait lasts at most, unless the caller says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Where the daemon is, and what to log in with.
#[derive(Debug, Clone)]
pub enum Target {
    /// A unix socket; the kernel says who we are.
    Unix(PathBuf),
    /// TCP with TLS. Any certificate is believed. Without a token nobody logs in.
    Tls {
        /// Address and port.
        addr: SocketAddr,
        /// What `rpc/auth_token` is sent.
        token: Option<String>,
    },
    /// TCP without TLS.
    Plain {
        /// Address and port.
        addr: SocketAddr,
        /// What `rpc/auth_token` is sent.
        token: Option<String>,
    },
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// One connection. Dropping it breaks the connection without a goodbye, as a crash does.
pub struct SysAdmClient {
    socket: WebSocketStream<Box<dyn Bytes>>,
    calls: u64,
    /// What came while an answer was awaited, oldest first.
    early: VecDeque<Value>,
}

/// What a connection brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// A message.
    Message(Value),
    /// The end: the close code (1006 when there was none) and the reason.
    Closed(u16, String),
}

impl SysAdmClient {
    /// Connects and logs in when there is a token.
    ///
    /// # Errors
    /// A sentence, when there is no connection, no websocket or no login.
    pub async fn connect(target: Target) -> Result<Self, String> {
        Self::connect_with(target, &[]).await
    }

    /// The same with more headers in the upgrade.
    ///
    /// # Errors
    /// A sentence, when there is no connection, no websocket or no login.
    pub async fn connect_with(target: Target, headers: &[(&str, &str)]) -> Result<Self, String> {
        Self::connect_at(target, "/", headers).await
    }

    /// The same at this path.
    ///
    /// # Errors
    /// A sentence, when there is no connection, no websocket or no login.
    pub async fn connect_at(
        target: Target,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        let (stream, token): (Box<dyn Bytes>, _) = match target {
            Target::Unix(path) => (Box::new(in_time(UnixStream::connect(path)).await?), None),
            Target::Plain { addr, token } => {
                (Box::new(in_time(TcpStream::connect(addr)).await?), token)
            }
            Target::Tls { addr, token } => (Box::new(tls(addr).await?), token),
        };
        Self::over(stream, token, path, headers).await
    }

    /// The same, and over TCP the kernel keeps at most about `receive_bytes` that the test has not
    /// read (`SO_RCVBUF`): so a client that does not read is soon one that is too slow.
    ///
    /// # Errors
    /// A sentence, when there is no connection, no websocket or no login.
    pub async fn connect_narrow(target: Target, receive_bytes: u32) -> Result<Self, String> {
        Self::connect_narrow_at(target, receive_bytes, "/").await
    }

    /// The same at this path.
    ///
    /// # Errors
    /// A sentence, when there is no connection, no websocket or no login.
    pub async fn connect_narrow_at(
        target: Target,
        receive_bytes: u32,
        path: &str,
    ) -> Result<Self, String> {
        let (stream, token): (Box<dyn Bytes>, _) = match target {
            Target::Unix(_) => return Self::connect_at(target, path, &[]).await,
            Target::Plain { addr, token } => (Box::new(narrow(addr, receive_bytes).await?), token),
            Target::Tls { addr, token } => {
                let stream = narrow(addr, receive_bytes).await?;
                (Box::new(tls_over(stream, addr, believing()).await?), token)
            }
        };
        Self::over(stream, token, path, &[]).await
    }

    /// Over TLS with these settings: whoever the client's certificate says.
    ///
    /// # Errors
    /// A sentence, when there is no connection or no websocket.
    pub async fn connect_showing(addr: SocketAddr, config: ClientConfig) -> Result<Self, String> {
        Self::over(Box::new(tls_with(addr, config).await?), None, "/", &[]).await
    }

    async fn over(
        stream: Box<dyn Bytes>,
        token: Option<String>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        let uri: Uri = format!("ws://localhost{path}").parse().map_err(|_| "no path")?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let upgrade = ClientRequestBuilder::new(uri);
        let upgrade = headers
            .iter()
            .fold(upgrade, |upgrade, (name, value)| upgrade.with_header(*name, *value));
        let handshake = client_async_with_config(upgrade, stream, Some(config));
        let (socket, _) = in_time(handshake).await?;
        let mut client = Self { socket, calls: 0, early: VecDeque::new() };
        if let Some(token) = token {
            let answer = client.call("rpc", "auth_token", json!({ "token": token })).await;
            answer.map_err(|refusal| format!("the login was refused: {refusal}"))?;
        }
        Ok(client)
    }

    /// Asks and waits for the answer with the same `id`; `Err` holds the `args` of an error.
    /// What comes in between is kept for [`Self::next`].
    ///
    /// # Errors
    /// The `args` of the error message.
    ///
    /// # Panics
    /// When the connection ends or no answer comes in time.
    pub async fn call(&mut self, namespace: &str, name: &str, args: Value) -> Result<Value, Value> {
        let id = self.send(namespace, name, args).await;
        self.answer(&id).await
    }

    /// Asks without waiting; the `id` it was given.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub async fn send(&mut self, namespace: &str, name: &str, args: Value) -> String {
        self.try_send(namespace, name, args).await.expect("the request is sent")
    }

    /// The same to a daemon that may die at any moment: `None` when it is gone.
    pub async fn try_send(&mut self, namespace: &str, name: &str, args: Value) -> Option<String> {
        self.calls += 1;
        let id = format!("kit-{}", self.calls);
        let request = json!({"namespace": namespace, "name": name, "id": id, "args": args});
        self.try_send_raw(&request.to_string()).await.then_some(id)
    }

    /// Waits for the answer to this `id`.
    ///
    /// # Errors
    /// The `args` of the error message.
    ///
    /// # Panics
    /// When the connection ends or no answer comes in time.
    pub async fn answer(&mut self, id: &str) -> Result<Value, Value> {
        let answers = |message: &Value| {
            message["id"] == id && matches!(message["name"].as_str(), Some("response" | "error"))
        };
        let early = self.early.iter().position(answers);
        let mut answer = match early.and_then(|place| self.early.remove(place)) {
            Some(answer) => answer,
            None => loop {
                let message = self.read(&format!("the answer to {id}")).await;
                if answers(&message) {
                    break message;
                }
                self.early.push_back(message);
            },
        };
        let args = answer["args"].take();
        if answer["namespace"] == "error" { Err(args) } else { Ok(args) }
    }

    /// `events/subscribe` with these `args`.
    ///
    /// # Errors
    /// The `args` of the error message.
    ///
    /// # Panics
    /// When the connection ends or no answer comes in time.
    pub async fn subscribe(&mut self, args: Value) -> Result<Value, Value> {
        self.call("events", "subscribe", args).await
    }

    /// Sends this text as it is.
    ///
    /// # Panics
    /// When it cannot be sent in time.
    pub async fn send_raw(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// The same to a daemon that may die at any moment: whether it could be sent.
    pub async fn try_send_raw(&mut self, text: &str) -> bool {
        in_time(self.socket.send(Message::text(text))).await.is_ok()
    }

    /// Sends any frame, such as a binary one or a ping.
    ///
    /// # Panics
    /// When it cannot be sent in time.
    pub async fn send_message(&mut self, message: Message) {
        in_time(self.socket.send(message)).await.expect("the frame is sent");
    }

    /// The next message that no call has taken, in the order in which they came.
    ///
    /// # Panics
    /// When the connection ends or nothing comes in time.
    pub async fn next(&mut self) -> Value {
        match self.early.pop_front() {
            Some(message) => message,
            None => self.read("a message").await,
        }
    }

    /// The next message of namespace `events` that is an event or a gap; others are passed over.
    ///
    /// # Panics
    /// When the connection ends or none comes in time.
    pub async fn event(&mut self) -> Value {
        loop {
            let message = self.next().await;
            let pushed = message["name"] != "response" && message["name"] != "heartbeat";
            if message["namespace"] == "events" && pushed {
                return message;
            }
        }
    }

    /// The next `count` events.
    ///
    /// # Panics
    /// When the connection ends or one of them does not come in time.
    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.event().await);
        }
        events
    }

    /// What comes within `wait`, a message or the end; `None` when nothing does. For tests that
    /// expect silence.
    pub async fn came_within(&mut self, wait: Duration) -> Option<Came> {
        match self.early.pop_front() {
            Some(message) => Some(Came::Message(message)),
            None => timeout(wait, self.receive()).await.ok(),
        }
    }

    /// Reads on until the connection ends: the close code (1006 when there was none) and reason.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn closed(&mut self) -> (u16, String) {
        let end = async {
            loop {
                if let Came::Closed(code, reason) = self.receive().await {
                    return (code, reason);
                }
            }
        };
        timeout(PATIENCE, end).await.expect("the daemon closes the connection in time")
    }

    /// Closes with a goodbye.
    pub async fn close(mut self) {
        // When the other side is gone already, that is closed too.
        timeout(PATIENCE, self.socket.close(None)).await.ok();
    }

    /// The text of the next message exactly as it comes; messages kept by a call are not seen.
    ///
    /// # Panics
    /// When the connection ends or nothing comes in time.
    pub async fn text(&mut self) -> String {
        let text = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(_)) => {}
                    other => panic!("expected a text, but got {other:?}"),
                }
            }
        };
        timeout(PATIENCE, text).await.expect("a message comes in time")
    }

    async fn read(&mut self, awaited: &str) -> Value {
        match timeout(PATIENCE, self.receive()).await {
            Ok(Came::Message(message)) => message,
            Ok(Came::Closed(code, reason)) => {
                panic!("expected {awaited}, but the connection ended: {code} {reason}")
            }
            Err(elapsed) => {
                panic!("expected {awaited}, but nothing came for {PATIENCE:?}: {elapsed}")
            }
        }
    }

    async fn receive(&mut self) -> Came {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text);
                    return Came::Message(message.expect("the daemon sends JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return frame.map_or(Came::Closed(1005, String::new()), |frame| {
                        Came::Closed(frame.code.into(), frame.reason.to_string())
                    });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Came::Closed(1006, error.to_string()),
                None => return Came::Closed(1006, String::new()),
            }
        }
    }
}

/// A TLS connection that believes every certificate, with nothing said on it yet.
///
/// # Errors
/// A sentence, when there is none.
pub async fn tls(addr: SocketAddr) -> Result<TlsStream<TcpStream>, String> {
    tls_with(addr, believing()).await
}

/// A TLS connection with these settings, with nothing said on it yet.
///
/// # Errors
/// A sentence, when there is none.
pub async fn tls_with(
    addr: SocketAddr,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, String> {
    tls_over(in_time(TcpStream::connect(addr)).await?, addr, config).await
}

/// The same over a stream that is there.
///
/// # Errors
/// A sentence, when there is none.
pub async fn tls_over(
    stream: TcpStream,
    addr: SocketAddr,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, String> {
    let tls = TlsConnector::from(Arc::new(config));
    in_time(tls.connect(ServerName::from(addr.ip()), stream)).await
}

async fn narrow(addr: SocketAddr, receive_bytes: u32) -> Result<TcpStream, String> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| error.to_string())?;
    socket.set_recv_buffer_size(receive_bytes).map_err(|error| error.to_string())?;
    in_time(socket.connect(addr)).await
}

async fn in_time<T, E: std::fmt::Display>(
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(PATIENCE, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing happened for {PATIENCE:?}")),
    }
}
