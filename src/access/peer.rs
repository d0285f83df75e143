//! Where somebody connects from.

use std::fmt;
use std::net::IpAddr;

use super::Source;

/// The other end of a connection, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address.
    Net(IpAddr),
    /// A user of this machine, on the unix socket.
    Local(u32),
}

impl Peer {
    /// Reads what [`Peer`] is written as.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("uid:") {
            Some(uid) => uid.parse().ok().map(Self::Local),
            None => text.parse().ok().map(Self::Net),
        }
    }

    /// Under which failures are counted.
    pub fn source(self) -> Source {
        match self {
            Self::Net(address) => Source::from(address),
            Self::Local(uid) => Source::local(uid),
        }
    }

    /// The address, if it is one; an IPv4 address that is written as IPv6 as what it is.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Net(address) => Some(address.to_canonical()),
            Self::Local(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    /// An address without a port, or `uid:0`: what a session is bound to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => write!(f, "{}", address.to_canonical()),
            Self::Local(uid) => write!(f, "uid:{uid}"),
        }
    }
}
