//! A client of a stream: it knows nothing but `CloudEvents`, and holds the daemon to it.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use sysadmd::wire::cloudevents::{CloudEvent, parse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{Door, PATIENCE};

pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// One stream.
pub(crate) struct Stream {
    socket: WebSocketStream<Box<dyn Bytes>>,
}

impl Stream {
    /// Opens one on the unix socket.
    pub(crate) async fn open(door: &Door, query: &str) -> Self {
        let stream = UnixStream::connect(&door.socket).await.expect("a connection");
        Self::over(Box::new(stream), query, &[]).await.expect("a stream")
    }

    /// Opens one over TLS with this token.
    pub(crate) async fn remote(door: &Door, query: &str, token: &str) -> Self {
        let stream = kit::client::tls(door.tls()).await.expect("a connection");
        let login = format!("Bearer {token}");
        let headers = [("Authorization", login.as_str())];
        Self::over(Box::new(stream), query, &headers).await.expect("a stream")
    }

    /// Opens one with these headers beside the usual ones; the status of a refusal.
    pub(crate) async fn over(
        stream: Box<dyn Bytes>,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let url = format!("ws://localhost/cloudevents{query}");
        let mut request = url.into_client_request().expect("a URL");
        let spoken = "cloudevents.json".parse().expect("a header");
        request.headers_mut().insert("Sec-WebSocket-Protocol", spoken);
        for (name, value) in headers {
            if value.is_empty() {
                request.headers_mut().remove(*name);
            } else {
                request.headers_mut().insert(*name, value.parse().expect("a header"));
            }
        }
        let opened = timeout(PATIENCE, client_async(request, stream)).await.expect("an answer");
        match opened {
            Ok((socket, answer)) => {
                let spoken = answer.headers().get("Sec-WebSocket-Protocol");
                assert_eq!(spoken.expect("a subprotocol"), "cloudevents.json");
                Ok(Self { socket })
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Says something.
    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("it is sent");
    }

    /// The next event, or the code and reason of the end.
    pub(crate) async fn came(&mut self) -> Result<(CloudEvent, Value), (u16, String)> {
        loop {
            let came = timeout(PATIENCE, self.socket.next()).await.expect("something comes");
            match came {
                Some(Ok(Message::Text(text))) => {
                    let event = parse(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
                    return Ok((event, serde_json::from_str(&text).expect("JSON")));
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a reason");
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                other => return Err((1006, format!("{other:?}"))),
            }
        }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Value {
        self.came().await.expect("the stream goes on").1
    }

    /// The next event that is no heartbeat.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] != "cloudevents.heartbeat" {
                return event;
            }
        }
    }

    /// Reads so many ticks; their numbers and the last cursor.
    pub(crate) async fn ticks(&mut self, count: usize) -> (Vec<u64>, String) {
        let (mut numbers, mut cursor) = (Vec::new(), String::new());
        while numbers.len() < count {
            let event = self.event().await;
            numbers.push(super::tick(&event));
            event["cursor"].as_str().expect("a cursor").clone_into(&mut cursor);
        }
        (numbers, cursor)
    }

    /// Reads to the end: its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(end) = self.came().await {
                return end;
            }
        }
    }
}
