//! An outlet for whoever reads the log itself and only wants to know when there is something in it.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Face, Offer, Outlet, Wording};

/// Rings once, at the first recorded event of a subscription that has this as its outlet and face.
/// A new subscription needs a new one.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

/// One byte for whatever is in the log: only that there is something counts.
static RING: Wording = Wording {
    name: "bell",
    event: |event, _, _, frames| frames.extend(event.seq.map(|_| b'!')),
    gap: |_, _, _, frames| frames.push(b'!'),
};

impl Bell {
    /// The face of a subscription that rings it.
    pub fn face() -> Face {
        Face::new(&RING, "")
    }

    /// The outlet of a subscription that rings it.
    pub fn outlet(&self) -> Arc<dyn Outlet> {
        Arc::new(self.clone())
    }

    /// Returns when it has rung.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Outlet for Bell {
    fn offer(&self, _: &Bytes) -> Offer {
        self.0.notify_one();
        Offer::Gone
    }

    fn poll_room(&self, _: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(true)
    }

    fn close_slow(&self) {
        // The log could not be read: whoever waits reads it and is told.
        self.0.notify_one();
    }
}
