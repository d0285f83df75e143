//! One websocket of a conversation.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use kit::transcript::script::{Departure, Out, Websocket};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::serve::Stand;

/// The code that a client which departed from the script is closed with.
const DEPARTED: u16 = 4000;
/// Bytes of a reason, as RFC 6455 allows.
const REASON: usize = 123;

/// The answer to an upgrade.
pub(crate) fn switching(headers: &HeaderMap, subprotocol: Option<&str>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let answers = response.headers_mut();
    answers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accept) = key.and_then(|key| key.parse().ok()) {
        answers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(subprotocol) = subprotocol.and_then(|it| HeaderValue::from_str(it).ok()) {
        answers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    response
}

/// Talks until either side ends it.
pub(crate) async fn talk(
    upgrading: OnUpgrade,
    stand: Arc<Stand>,
    websocket: Websocket,
    mut out: mpsc::Receiver<Out>,
) {
    let Ok(upgraded) = upgrading.await else { return };
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    loop {
        let said = tokio::select! {
            biased;
            Some(said) = out.recv() => match said {
                Out::Text(text) => Message::text(text),
                Out::Close(code) => closing(code, ""),
            },
            came = socket.next() => match came {
                Some(Ok(Message::Text(text))) => match say(&stand, &websocket, text.as_str()) {
                    Ok(()) => continue,
                    Err(departed) => departed,
                },
                Some(Ok(Message::Binary(bytes))) => {
                    match say(&stand, &websocket, &String::from_utf8_lossy(&bytes)) {
                        Ok(()) => continue,
                        Err(departed) => departed,
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    drop(stand.act(|script| script.closed(&websocket, code)));
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => {
                    drop(stand.act(|script| script.closed(&websocket, 1006)));
                    return;
                }
            },
        };
        if socket.send(said).await.is_err() {
            return;
        }
    }
}

fn say(stand: &Stand, websocket: &Websocket, text: &str) -> Result<(), Message> {
    let said = stand.act(|script| script.said(websocket, text));
    said.map_err(|Departure(at)| closing(DEPARTED, &at))
}

fn closing(code: u16, reason: &str) -> Message {
    let mut end = reason.len().min(REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason[..end].into() }))
}
