//! What newcomers were refused for, counted for whoever tells about it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

/// Newcomers that could not be let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many times, since the start.
    pub count: u64,
    /// What there was too little of, the last time.
    pub want: Want,
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// File descriptors or memory: the system refused a connection.
    #[default]
    Files,
    /// Places: all connections that may be are there, and nobody has to make room.
    Places,
}

/// Notes that somebody was refused.
pub(super) fn note(refused: &watch::Sender<Refused>, want: Want) {
    refused.send_modify(|refused| *refused = Refused { count: refused.count + 1, want });
}

/// Whether the system has no room for another connection. The other errors of `accept` are about
/// the one connection that is gone again.
pub(super) fn is_want(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// Whether somebody waits to be accepted.
pub(super) fn is_awaited(listener: BorrowedFd<'_>) -> bool {
    let mut look = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut look, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
