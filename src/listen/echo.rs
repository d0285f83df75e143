//! The websocket stack with nobody behind it: whoever is connected gets back what it sends. The
//! conformance suite in `tests/conformance` drives it.

use std::future::poll_fn;

use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::outbox::Outbox;
use super::socket;
use super::stream::Stream;
use crate::config::Limits;
use crate::wire::frame;

/// What begins a binary message in one frame; a text's frame differs in nothing else.
const BINARY: u8 = 0x82;

/// Serves one upgraded connection as a conversation does, within these limits, until it ends.
pub async fn echo(stream: TcpStream, limits: Limits) {
    let (mut websocket, outbox) = socket::open(Stream::Plain(stream), Vec::new(), &limits).await;
    loop {
        let heard = tokio::select! {
            biased;
            heard = websocket.next(), if outbox.has_room() => heard,
            end = poll_fn(|cx| outbox.poll_drive(cx)) => match end {
                None => continue,
                Some(_) => return,
            },
        };
        match heard {
            Some(Ok(Message::Close(_))) => return socket::leave(&mut websocket, &outbox).await,
            Some(Ok(message)) => answer(&outbox, &message),
            Some(Err(error)) => {
                if let Some((code, reason)) = socket::close_for(&error, &limits) {
                    socket::close(&mut websocket, &outbox, code, reason).await;
                }
                return;
            }
            None => return,
        }
    }
}

fn answer(outbox: &Outbox, message: &Message) {
    match message {
        Message::Text(text) => outbox.answer_later(frame::of(text)),
        Message::Binary(bytes) => {
            let mut answer = Vec::with_capacity(bytes.len() + 10);
            frame::text(&mut answer, |out| out.extend_from_slice(bytes));
            if let Some(first) = answer.first_mut() {
                *first = BINARY;
            }
            outbox.answer_later(answer);
        }
        _ => {}
    }
}
