//! One websocket: tungstenite reads what comes in through a [`Half`] and keeps the rules of RFC 6455;
//! what goes out goes through the [`Outbox`].

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::outbox::{Half, Outbox};
use super::stream::Stream;
use crate::config::Limits;

/// Read at once from the socket. The default of 128 KiB would be memory for each idle client.
pub(super) const READ_BYTES: usize = 2 * 1024;
/// Control frames that may wait inside tungstenite.
const CONTROL_BYTES: usize = 64 * 1024;
/// How long a close may take to reach the client.
const CLOSING: Duration = Duration::from_secs(2);
/// The same of a client that has let its time pass, or whose login has ended.
const CLOSING_LATE: Duration = Duration::from_millis(500);
/// The same when the place is needed for somebody else.
const CLOSING_FOR_OTHERS: Duration = Duration::from_millis(50);

/// The reading end.
pub(super) type WebSocket = WebSocketStream<Half>;

/// Both ends of an upgraded connection; `read` came in with the upgrade.
pub(super) async fn open(
    stream: Stream,
    read: Vec<u8>,
    limits: &Limits,
) -> (WebSocket, Arc<Outbox>) {
    let outbox = Outbox::new(stream, limits.queue_bytes);
    let (half, config) = (outbox.half(), Some(config(limits)));
    let websocket = WebSocketStream::from_partially_read(half, read, Role::Server, config).await;
    (websocket, outbox)
}

/// What tungstenite is told about the bounds.
pub fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(CONTROL_BYTES)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes))
}

/// The close that a websocket error calls for; `None` when there is nobody left to tell.
pub(super) fn close_for(error: &Error, limits: &Limits) -> Option<(CloseCode, Cow<'static, str>)> {
    Some(match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            let reason = format!("a message has at most {} bytes", limits.message_bytes);
            (CloseCode::Size, reason.into())
        }
        Error::Utf8(_) => (CloseCode::Invalid, "not UTF-8".into()),
        Error::Protocol(_) => (CloseCode::Protocol, "not a websocket frame".into()),
        _ => return None,
    })
}

/// Writes what waits and the close frame, and ends the connection; nothing is taken after it.
pub(super) async fn close(
    websocket: &mut WebSocket,
    outbox: &Outbox,
    code: CloseCode,
    reason: Cow<'static, str>,
) {
    let reason = match reason {
        Cow::Borrowed(text) => Utf8Bytes::from_static(text),
        Cow::Owned(text) => text.into(),
    };
    let frame = CloseFrame { code, reason };
    let patience = match code {
        CloseCode::Again => CLOSING_FOR_OTHERS,
        CloseCode::Normal | CloseCode::Library(4001) => CLOSING_LATE,
        _ => CLOSING,
    };
    end(outbox, patience, async {
        if websocket.close(Some(frame)).await.is_ok() {
            poll_fn(|cx| outbox.poll_written(cx)).await;
            // After an error, such as a message that is too large, tungstenite reads no more.
            while let Some(Ok(message)) = websocket.next().await {
                if message.is_close() {
                    return;
                }
            }
            hang_up(websocket).await;
        }
    })
    .await;
}

/// Writes what waits and tungstenite's answer to the client's close, and ends the connection.
pub(super) async fn leave(websocket: &mut WebSocket, outbox: &Outbox) {
    end(outbox, CLOSING, async {
        // It moves the answer to the outbox, and says that the connection is closed.
        websocket.flush().await.ok();
        poll_fn(|cx| outbox.poll_written(cx)).await;
        hang_up(websocket).await;
    })
    .await;
}

async fn end(outbox: &Outbox, patience: Duration, ending: impl Future<Output = ()>) {
    outbox.close();
    outbox.allow(None);
    if tokio::time::timeout(patience, ending).await.is_err() {
        tracing::debug!("a client did not let itself be closed");
    }
}

/// Says that nothing follows and reads until the client is gone: dropping unread bytes would reset
/// the connection and take the close frame with it.
async fn hang_up(websocket: &mut WebSocket) {
    let stream = websocket.get_mut();
    if stream.shutdown().await.is_ok() {
        let mut unread = [0; READ_BYTES];
        while let Ok(1..) = stream.read(&mut unread).await {}
    }
}
