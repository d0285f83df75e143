//! Floor 7: sockets, TLS, the HTTP upgrade and routes.
//!
//! It knows addresses, connections and their bounds. It must not know what a request means:
//! `wire` reads it and `dispatch` answers it. `daemon` opens the listeners.

mod admission;
pub(crate) mod conversation;
mod echo;
pub(crate) mod http;
mod outbox;
mod refused;
pub(crate) mod rest;
pub(crate) mod socket;
mod stream;
mod timers;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::access::{Access, Principal, Source};
use crate::dispatch::Dispatch;
use crate::lifecycle::Tasks;

use admission::{Admission, Place};
use stream::Stream;
use tls::Tls;

#[doc(hidden)]
pub use echo::echo;
pub use refused::{Refused, Want};

/// The group whose members are administrators on the unix socket.
const ADMIN_GROUP: &str = "sysadmd";
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
}

impl Listen {
    /// Nothing is open yet.
    pub fn new(dispatch: Dispatch, tasks: Tasks, tls: Tls) -> Self {
        let admission = Admission::new(dispatch.identity().limits, tasks.stop_signal());
        Self { dispatch, tasks, tls, admission, refused: watch::Sender::default() }
    }

    /// Newcomers that could not be let in.
    pub fn refused(&self) -> watch::Receiver<Refused> {
        self.refused.subscribe()
    }

    /// Opens a TCP listener, with TLS or on loopback without; the address it got.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn tcp(&self, address: SocketAddr, with_tls: bool) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let listen = self.clone();
        let stop = self.tasks.stop_signal();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = listen.accept_tcp(listener, with_tls) => {}
            }
        });
        Ok(address)
    }

    /// Opens the unix socket, in place of one that nobody listens on any more. The file is removed
    /// when the daemon stops.
    ///
    /// # Errors
    /// When it cannot be made, or another process listens there.
    pub fn unix(&self, path: &Path) -> io::Result<()> {
        let listener = bind_unix(path)?;
        let listen = self.clone();
        let stop = self.tasks.stop_signal();
        let path = path.to_path_buf();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = listen.accept_unix(listener) => {}
            }
            remove_socket(&path);
        });
        Ok(())
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
    fn admit(&self, stream: TcpStream, peer: SocketAddr, with_tls: bool) {
        let Some(place) = self.admission.admit(peer.ip().into()) else { return self.turn_away() };
        let (listen, over) = (self.clone(), place.over());
        self.tasks.spawn(async move {
            tokio::select! {
                () = over => {}
                () = listen.greet(stream, with_tls, place) => {}
            }
        });
    }

    fn turn_away(&self) {
        refused::note(&self.refused, Want::Places);
    }

    async fn greet(&self, stream: TcpStream, with_tls: bool, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        if !with_tls {
            return self.serve(Stream::Plain(stream), None, place).await;
        }
        let patience = self.dispatch.identity().limits.handshake();
        match tokio::time::timeout(patience, self.tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.serve(Stream::Tls(Box::new(stream)), None, place).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn accept_unix(&self, listener: UnixListener) {
        let admin_group = Group::from_name(ADMIN_GROUP).ok().flatten().map(|group| group.gid);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit_local(stream, admin_group),
                Err(error) => self.hold_on(&error, listener.as_fd()).await,
            }
        }
    }

    fn admit_local(&self, stream: UnixStream, admin_group: Option<Gid>) {
        let principal = local_peer(&stream, admin_group);
        let place = match (&principal, stream.peer_cred()) {
            (Some(_), _) => self.admission.admit_known(),
            (None, Ok(peer)) => self.admission.admit(Source::local(peer.uid())),
            (None, Err(_)) => None,
        };
        let Some(place) = place else { return self.turn_away() };
        let (listen, over) = (self.clone(), place.over());
        self.tasks.spawn(async move {
            tokio::select! {
                () = over => {}
                () = listen.serve(Stream::Unix(stream), principal, place) => {}
            }
        });
    }

    async fn serve(&self, stream: Stream, principal: Option<Principal>, place: Place) {
        if let Some(peer) = stream.peer_certificate() {
            tracing::debug!(name = peer.name, fingerprint = peer.fingerprint, "client certificate");
        }
        let (dispatch, tasks) = (self.dispatch.clone(), self.tasks.clone());
        http::serve(stream, dispatch, tasks, principal, place).await;
    }
}

/// Who is at the other end, if they may administrate this machine.
fn local_peer(stream: &UnixStream, admin_group: Option<Gid>) -> Option<Principal> {
    let peer = stream.peer_cred().ok()?;
    let (uid, gid) = (Uid::from_raw(peer.uid()), Gid::from_raw(peer.gid()));
    let groups = admin_group.and_then(|_| {
        let user = User::from_uid(uid).ok().flatten()?;
        let name = std::ffi::CString::new(user.name).ok()?;
        nix::unistd::getgrouplist(&name, gid).ok()
    });
    let groups: Vec<u32> =
        groups.unwrap_or_else(|| vec![gid]).into_iter().map(Gid::as_raw).collect();
    let own = nix::unistd::geteuid().as_raw();
    Access::local_peer(uid.as_raw(), &groups, own, admin_group.map(Gid::as_raw))
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let sentence = format!("another process listens on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, sentence));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let group = Group::from_name(ADMIN_GROUP).ok().flatten();
    let shared = match group {
        Some(group) => nix::unistd::chown(path, None, Some(group.gid)).is_ok(),
        None => false,
    };
    let mode = if shared { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn remove_socket(path: &PathBuf) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "the socket was gone already");
    }
}
