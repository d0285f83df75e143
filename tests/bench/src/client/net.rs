//! The client's one epoll loop.

use std::io::ErrorKind;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::conn::{Buffers, Conn};
use crate::Res;

/// No progress for this long means that a server lost something.
const PATIENCE: Duration = Duration::from_secs(20);

/// The loop's own state; the connections belong to the work.
pub(crate) struct Net {
    poll: Poll,
    events: Events,
    /// Shared by all connections.
    pub(crate) buffers: Buffers,
}

impl Net {
    /// An empty loop.
    pub(crate) fn new() -> Res<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            buffers: Buffers::new(),
        })
    }

    /// Watches `conn`; [`Self::wait`] names it `token`.
    pub(crate) fn watch(&self, conn: &mut Conn, token: usize) -> Res<()> {
        self.watch_socket(&mut conn.pipe.socket, token)
    }

    /// The same for a socket that carries no frames.
    pub(crate) fn watch_socket(&self, socket: &mut TcpStream, token: usize) -> Res<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        Ok(self.poll.registry().register(socket, Token(token), both)?)
    }

    /// Waits for something and fills `ready` with the tokens that have it.
    ///
    /// # Errors
    /// When nothing comes for 20 s.
    pub(crate) fn wait(&mut self, ready: &mut Vec<usize>) -> Res<()> {
        ready.clear();
        loop {
            match self.poll.poll(&mut self.events, Some(PATIENCE)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        if self.events.is_empty() {
            return Err("nothing came for 20 s".into());
        }
        ready.extend(self.events.iter().map(|event| event.token().0));
        Ok(())
    }
}
