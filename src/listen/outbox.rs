//! The writing end of one websocket connection, shared by its own task, the calls it waits for and
//! the bus.
//!
//! Frames arrive whole and are written in order. Whoever brings bytes to an idle connection writes
//! them at once, without waking the connection's task: that is what makes a delivery cost one
//! system call. What the socket does not take waits here, within a bound, until the task can write
//! again.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use crate::bus::{Offer, Outlet};

/// Buffers handed to one `writev`; more gains nothing measurable.
const SLICES_MAX: usize = 32;

/// The writing end.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Bytes that may wait before offers are refused.
    limit: usize,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    waiting: usize,
    /// The connection's task does not read until there is room.
    was_full: bool,
    /// The stream may hold encrypted bytes that were not written yet.
    unflushed: bool,
    end: Option<End>,
    /// Bytes that may still be read before [`Outbox::allow`] is called again; `None`: any number.
    allowance: Option<usize>,
    /// The connection's task, to be woken when there is something only it can do.
    owner: Option<Waker>,
    /// Subscriptions that wait for room.
    for_room: Vec<Waker>,
}

/// Why nothing more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The socket failed or was closed.
    Broken,
    /// The client was too slow and had asked to be closed for that.
    TooSlow,
    /// The close frame is next, and nothing may follow it.
    Closing,
}

impl Outbox {
    /// Over this stream.
    pub(crate) fn new(stream: Stream, limit: usize) -> Arc<Self> {
        let state = State {
            stream,
            queue: VecDeque::new(),
            waiting: 0,
            was_full: false,
            unflushed: false,
            end: None,
            allowance: None,
            owner: None,
            for_room: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), limit })
    }

    /// The end that tungstenite reads from and writes its control frames to.
    pub(crate) fn half(self: &Arc<Self>) -> Half {
        Half(Arc::clone(self))
    }

    /// Lets so many more bytes be read, or any number. Beyond it reading fails with
    /// [`io::ErrorKind::FileTooLarge`]: what a stranger sends is not even collected.
    pub(crate) fn allow(&self, bytes: Option<usize>) {
        self.state().allowance = bytes;
    }

    /// Takes an answer, whatever waits already; calls in flight are bounded elsewhere.
    pub(crate) fn answer(&self, frame: Vec<u8>) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.bring(&Bytes::from(frame));
    }

    /// Takes an answer from the connection's own task, which writes when it has read all there is.
    pub(crate) fn answer_later(&self, frame: Vec<u8>) {
        self.state().push(Bytes::from(frame));
    }

    /// Whether another message may be read from the client; if not, [`Outbox::poll_drive`] says when.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.state();
        state.was_full = state.waiting >= self.limit;
        !state.was_full
    }

    /// Whether something can still be brought.
    pub(crate) fn is_open(&self) -> bool {
        self.state().end.is_none()
    }

    /// Writes what waits; for the connection's own task. Ready when there is room again after
    /// [`Outbox::has_room`] found none, or when it is over.
    pub(crate) fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let mut state = self.state();
        if state.end.is_some() {
            return Poll::Ready(state.end);
        }
        state.write(cx);
        if let Some(end) = state.end {
            return Poll::Ready(Some(end));
        }
        if state.waiting < self.limit / 2 {
            state.for_room.drain(..).for_each(Waker::wake);
            if state.was_full {
                return Poll::Ready(None);
            }
        }
        state.owner = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when everything is written or nothing more can be.
    pub(crate) fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        state.write(cx);
        let over = state.end == Some(End::Broken);
        if over || state.is_idle() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// From here on only control frames are taken.
    pub(crate) fn close(&self) {
        self.end(End::Closing);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        self.state().finish(end);
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    fn push(&mut self, bytes: Bytes) {
        self.waiting += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Writes at once when nothing waits before it, without a detour through the queue. What the
    /// socket does not take is the owner's, who can wait for it.
    fn bring(&mut self, bytes: &Bytes) {
        if !self.is_idle() {
            return self.push(bytes.clone());
        }
        let cx = &mut Context::from_waker(Waker::noop());
        let count = match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(0) | Err(_)) => return self.finish(End::Broken),
            Poll::Ready(Ok(count)) => count,
            Poll::Pending => 0,
        };
        if count < bytes.len() {
            self.push(bytes.slice(count..));
        }
        if matches!(self.stream, Stream::Tls(_)) {
            self.unflushed = true;
            self.write(cx);
        }
        if (!self.is_idle() || self.end.is_some())
            && let Some(owner) = self.owner.take()
        {
            owner.wake();
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        while !self.queue.is_empty() {
            match self.write_some(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return self.finish(End::Broken),
                Poll::Ready(Ok(count)) => self.written(count),
                Poll::Pending => return,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => self.finish(End::Broken),
                Poll::Pending => {}
            }
        }
    }

    fn write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if let [only] = self.queue.make_contiguous() {
            return stream.poll_write(cx, only);
        }
        let slices: Vec<IoSlice<'_>> =
            self.queue.iter().take(SLICES_MAX).map(|bytes| IoSlice::new(bytes)).collect();
        stream.poll_write_vectored(cx, &slices)
    }

    fn written(&mut self, mut count: usize) {
        self.waiting -= count;
        self.unflushed = matches!(self.stream, Stream::Tls(_));
        while let Some(front) = self.queue.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.queue.pop_front();
        }
        // An idle connection keeps no queue: there may be ten thousand of them.
        self.queue = VecDeque::new();
    }

    fn finish(&mut self, end: End) {
        match end {
            End::Broken => {
                self.end = Some(end);
                self.queue.clear();
                self.unflushed = false;
            }
            End::TooSlow | End::Closing => {
                self.end.get_or_insert(end);
            }
        }
        if end == End::TooSlow {
            // It will ask again for what it did not get; so the goodbye reaches it soon. The first
            // piece may have been written in part.
            self.queue.truncate(1);
        }
        self.waiting = self.queue.iter().map(Bytes::len).sum();
        self.for_room.drain(..).chain(self.owner.take()).for_each(Waker::wake);
    }
}

impl Outlet for Outbox {
    fn offer(&self, bytes: &Bytes) -> Offer {
        let mut state = self.state();
        if state.end.is_some() {
            return Offer::Gone;
        }
        if state.waiting >= self.limit {
            return Offer::Full;
        }
        state.bring(bytes);
        Offer::Taken
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.end.is_some() {
            return Poll::Ready(false);
        }
        if state.waiting < self.limit / 2 {
            return Poll::Ready(true);
        }
        state.for_room.retain(|waker| !waker.will_wake(cx.waker()));
        state.for_room.push(cx.waker().clone());
        Poll::Pending
    }

    fn close_slow(&self) {
        self.end(End::TooSlow);
    }
}

/// What tungstenite sees of the connection.
#[derive(Debug)]
pub(crate) struct Half(Arc<Outbox>);

impl Drop for Half {
    fn drop(&mut self) {
        self.0.end(End::Broken);
    }
}

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        let before = buf.filled().len();
        let polled = Pin::new(&mut state.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if let Some(left) = state.allowance {
            let Some(less) = left.checked_sub(read) else {
                return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
            };
            state.allowance = Some(less);
        }
        polled
    }
}

/// Tungstenite writes whole frames, and only control frames: they join the queue.
impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.state().push(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.state().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn whoever_found_no_room_is_told_however_slowly_it_comes() {
        const KIB: usize = 1024;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(Stream::Unix(ours), 1024 * KIB);
        outbox.answer_later(vec![0; 4096 * KIB]);
        assert!(!outbox.has_room());
        let told = poll_fn(|cx| outbox.poll_drive(cx));
        // A socket holds less than half the limit, so the queue is seen between half and full.
        let reading = async {
            let mut piece = vec![0; 32 * KIB];
            while theirs.readable().await.is_ok() {
                theirs.try_read(&mut piece).ok();
            }
        };
        tokio::select! {
            end = told => assert_eq!(end, None),
            () = reading => panic!("the other end is still there"),
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("nobody told of the room"),
        }
        assert!(outbox.has_room());
    }
}
