//! Floor 7: sockets, TLS, the HTTP upgrade and routes.
//!
//! It knows addresses, connections and their bounds. It must not know what a request means:
//! `wire` reads it and `dispatch` answers it. `daemon` opens the listeners.

mod admission;
mod cloudevents;
mod consul;
pub(crate) mod conversation;
mod dockercloud;
mod echo;
pub(crate) mod http;
mod jsonrpc;
mod outbox;
pub(crate) mod pages;
mod probes;
mod refused;
pub(crate) mod rest;
mod routes;
pub(crate) mod socket;
mod stream;
mod timers;
pub mod tls;

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::access::Peer;
use crate::config;
use crate::dispatch::Dispatch;
use crate::lifecycle::{Part, Tasks};

use admission::{Admission, Place};
use consul::Lists;
use conversation::Guest;
use pages::Pages;
use probes::Ready;
use stream::Stream;
use tls::Tls;

#[doc(hidden)]
pub use echo::echo;
pub use refused::{Refused, Want};

/// How long to wait after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves every face on every listener. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Listen {
    dispatch: Dispatch,
    tasks: Tasks,
    tls: Tls,
    admission: Admission,
    refused: watch::Sender<Refused>,
    pages: Pages,
    lists: Lists,
    ready: Ready,
}

/// A TCP listener that is open until it is closed or the daemon stops.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    end: Part,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections; those that are there stay.
    pub fn close(&self) {
        self.end.set();
    }
}

impl Listen {
    /// Nothing is open yet.
    pub fn new(dispatch: Dispatch, tasks: Tasks, tls: Tls, access: &config::Access) -> Self {
        let own = dispatch.identity().hostname.clone();
        let pages = Pages::new(&access.origins, access.hosts.iter().cloned().chain([own]));
        let admission = Admission::new(dispatch.identity().limits, tasks.stop_signal());
        let (refused, lists) = (watch::Sender::default(), Lists::default());
        let ready = Ready::default();
        let listen = Self { dispatch, tasks, tls, admission, refused, pages, lists, ready };
        listen.heed_authorities();
        listen
    }

    /// Cuts whoever came by a certificate as soon as other authorities are believed.
    fn heed_authorities(&self) {
        let (access, stop) = (self.dispatch.access().clone(), self.tasks.stop_signal());
        let mut authorities = self.tls.authorities();
        self.tasks.spawn(async move {
            let mut believed = *authorities.borrow_and_update();
            loop {
                tokio::select! {
                    () = stop.wait() => return,
                    changed = authorities.changed() => if changed.is_err() { return },
                }
                let now = *authorities.borrow_and_update();
                (believed..now).for_each(|before| access.distrust(before));
                believed = now;
            }
        });
    }

    /// Newcomers that could not be let in.
    pub fn refused(&self) -> watch::Receiver<Refused> {
        self.refused.subscribe()
    }

    /// Opens a TCP listener, with TLS or on loopback without.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn tcp(&self, address: SocketAddr, with_tls: bool) -> io::Result<Listener> {
        self.serve_tcp(TcpListener::bind(address).await?, with_tls)
    }

    /// The same with one that somebody else has opened.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn tcp_of(&self, listener: net::TcpListener, with_tls: bool) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        self.serve_tcp(TcpListener::from_std(listener)?, with_tls)
    }

    fn serve_tcp(&self, listener: TcpListener, with_tls: bool) -> io::Result<Listener> {
        let address = listener.local_addr()?;
        let listen = self.clone();
        let end = self.tasks.stop_signal().part();
        let stop = end.signal();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = listen.accept_tcp(listener, with_tls) => {}
            }
        });
        Ok(Listener { address, end })
    }

    /// Opens the unix socket, in place of one that nobody listens on any more. The file is removed
    /// when the daemon stops.
    ///
    /// # Errors
    /// When it cannot be made, or another process listens there.
    pub fn unix(&self, path: &Path) -> io::Result<()> {
        let listener = bind_unix(path)?;
        self.serve_unix(listener, Some(path.to_path_buf()));
        Ok(())
    }

    /// The same with one that somebody else has opened, and whose file is theirs.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn unix_of(&self, listener: unix::net::UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.serve_unix(UnixListener::from_std(listener)?, None);
        Ok(())
    }

    fn serve_unix(&self, listener: UnixListener, own_file: Option<PathBuf>) {
        let listen = self.clone();
        let stop = self.tasks.stop_signal();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = listen.accept_unix(listener) => {}
            }
            if let Some(path) = own_file {
                remove_socket(&path);
            }
        });
    }

    async fn accept_tcp(&self, listener: TcpListener, with_tls: bool) {
        loop {
            self.admission.calm().await;
            match listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer, with_tls),
                Err(error) => self.hold_on(&error, listener.as_fd()).await,
            }
        }
    }

    /// After `accept` failed: not at once again, and not without making room.
    async fn hold_on(&self, error: &io::Error, listener: BorrowedFd<'_>) {
        // For want of files it fails also when nobody waits.
        if refused::is_want(error) && refused::is_awaited(listener) {
            refused::note(&self.refused, Want::Files);
            self.admission.make_room();
        }
        tracing::debug!(%error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Without a place the connection is closed without a word.
    fn admit(&self, stream: TcpStream, from: SocketAddr, with_tls: bool) {
        let peer = Peer::Net(from.ip());
        let Some(place) = self.admission.admit(peer.source()) else { return self.turn_away() };
        let (listen, over) = (self.clone(), place.over());
        self.tasks.spawn(async move {
            tokio::select! {
                () = over => {}
                () = listen.greet(stream, peer, with_tls, place) => {}
            }
        });
    }

    fn turn_away(&self) {
        refused::note(&self.refused, Want::Places);
    }

    async fn greet(&self, stream: TcpStream, peer: Peer, with_tls: bool, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let guest = Guest { peer, principal: None, place: Some(place) };
        if !with_tls {
            return self.serve(Stream::Plain(stream), guest).await;
        }
        let patience = self.dispatch.identity().limits.handshake();
        let (acceptor, authorities) = self.tls.acceptor();
        match tokio::time::timeout(patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.serve_certified(Stream::Tls(Box::new(stream)), authorities, guest).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn accept_unix(&self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit_local(stream),
                Err(error) => self.hold_on(&error, listener.as_fd()).await,
            }
        }
    }

    fn admit_local(&self, stream: UnixStream) {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => return tracing::warn!(%error, "a local peer has no name"),
        };
        let peer = Peer::Local(uid);
        // Who may do anything on this machine anyway never waits for strangers.
        let is_owner = uid == 0 || uid == geteuid().as_raw();
        let place = if is_owner {
            self.admission.admit_known()
        } else {
            self.admission.admit(peer.source())
        };
        let Some(place) = place else { return self.turn_away() };
        let (listen, over) = (self.clone(), place.over());
        self.tasks.spawn(async move {
            tokio::select! {
                () = over => {}
                () = listen.greet_local(stream, peer, uid, place) => {}
            }
        });
    }

    async fn greet_local(&self, stream: UnixStream, peer: Peer, uid: u32, mut place: Place) {
        let principal = match self.dispatch.access().local_peer(uid).await {
            Ok(principal) => principal,
            Err(fault) => return tracing::warn!(%fault, "a local peer could not be looked up"),
        };
        if let Some(principal) = &principal
            && let Err(fault) = place.known(principal)
        {
            return tracing::warn!(%fault, "a local peer is there too often");
        }
        let guest = Guest { peer, principal, place: Some(place) };
        self.serve(Stream::Unix(stream), guest).await;
    }

    /// Serves a TLS connection, in the name of the holder of its client certificate if it has one.
    async fn serve_certified(&self, stream: Stream, authorities: u64, mut guest: Guest) {
        if let Some(certificate) = stream.peer_certificate() {
            guest.principal = self.dispatch.access().shown(&certificate, authorities);
            if guest.principal.is_none() {
                tracing::warn!(
                    name = certificate.name,
                    fingerprint = certificate.fingerprint,
                    "no role is given to the name of a client certificate"
                );
            }
        }
        self.serve(stream, guest).await;
    }

    async fn serve(&self, stream: Stream, guest: Guest) {
        let (dispatch, tasks) = (self.dispatch.clone(), self.tasks.clone());
        let shared = (self.pages.clone(), self.lists.clone(), self.ready.clone());
        http::serve(stream, dispatch, tasks, shared, guest).await;
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if path.exists() {
        if unix::net::UnixStream::connect(path).is_ok() {
            let sentence = format!("another process listens on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, sentence));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Whoever may do something is told by who they are: root's daemon knows the users of the
    // machine, and nobody else's daemon is anybody else's business.
    let mode = if geteuid().is_root() { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn remove_socket(path: &PathBuf) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "the socket was gone already");
    }
}
