//! Where a subscription's bytes go: the seam between the bus and whatever holds a socket.

use std::fmt::Debug;
use std::task::{Context, Poll};

use bytes::Bytes;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The bytes are on their way, or wait in the outlet's bounded queue.
    Taken,
    /// The queue is full; nothing was taken.
    Full,
    /// The client is gone.
    Gone,
}

/// A client's end. An offer never blocks and never waits.
pub trait Outlet: Debug + Send + Sync {
    /// Takes the bytes whole or not at all.
    fn offer(&self, bytes: &Bytes) -> Offer;

    /// Ready with `true` when there is room again, with `false` when the client is gone.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool>;

    /// Closes the connection because the client was too slow and had asked for that.
    fn close_slow(&self);
}
