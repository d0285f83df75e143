//! The instrument: one thread, non-blocking sockets, the same code for every server.
//!
//! Connections are opened one after the other with blocking calls ([`setup`]), then handed to one epoll loop ([`net`]).
//! What differs between servers is only what a message looks like ([`dialect`]).

pub(crate) mod conn;
pub(crate) mod dialect;
pub(crate) mod http;
pub(crate) mod net;
pub(crate) mod setup;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use self::dialect::Dialect;

/// Where to connect, and how to speak there.
#[derive(Clone)]
pub(crate) struct Target {
    /// Address.
    pub(crate) addr: SocketAddr,
    /// TLS settings, for the server's TLS address.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The path of the websocket.
    pub(crate) path: &'static str,
    /// What the messages look like.
    pub(crate) dialect: Dialect,
    /// Our daemon's token.
    pub(crate) token: Option<String>,
}
