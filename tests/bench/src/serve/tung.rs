//! The peer for fan-out: the broadcast server of tokio-tungstenite's own examples, default settings, one task per
//! client, the message shared and not serialized again. Only its unbounded channels got a bound.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::TryStreamExt;
use futures_util::{SinkExt, StreamExt, future, pin_mut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::Res;

/// Four times the messages the client ever has in flight.
const QUEUE: usize = 1024;

type Peers = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Message>>>>;

/// Serves until the process ends.
pub(crate) async fn run(addr: SocketAddr) -> Res<()> {
    let peers = Peers::default();
    let listener = TcpListener::bind(addr).await?;
    while let Ok((stream, addr)) = listener.accept().await {
        #[allow(clippy::disallowed_methods, reason = "as the peer's example does; no shutdown")]
        tokio::spawn(connection(Arc::clone(&peers), stream, addr));
    }
    Ok(())
}

async fn connection(peers: Peers, stream: TcpStream, addr: SocketAddr) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let Some(Ok(hello)) = socket.next().await else { return };
    let listens = hello.to_text().is_ok_and(|text| text == "sub");
    if socket.send(Message::text("ok")).await.is_err() {
        return;
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Kept by a publisher too: a channel without a sender would end its task.
    let kept = sender.clone();
    if listens {
        peers.lock().unwrap_or_else(PoisonError::into_inner).insert(addr, sender);
    }
    let (outgoing, incoming) = socket.split();
    let broadcast = incoming.try_for_each(|message| {
        spread(&peers, &message);
        future::ready(Ok(()))
    });
    let queued =
        futures_util::stream::unfold(receiver, async |mut r| r.recv().await.map(|m| (m, r)));
    let forward = queued.map(Ok::<_, Error>).forward(outgoing);
    pin_mut!(broadcast, forward);
    future::select(broadcast, forward).await;
    drop(kept);
    peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&addr);
}

fn spread(peers: &Peers, message: &Message) {
    if !message.is_text() {
        return;
    }
    for peer in peers.lock().unwrap_or_else(PoisonError::into_inner).values() {
        // A full queue means a client that has stopped reading; ours never does.
        let _full = peer.try_send(message.clone());
    }
}
