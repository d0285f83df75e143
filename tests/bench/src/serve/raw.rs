//! The floor: one epoll loop, one copy of every encoded frame, and per subscriber a place in it.
//!
//! Each wake-up reads the publishers, appends the encoded frames to one log, and hands every subscriber up to 64 KiB
//! of it in one write. No subscriber has a queue, a task or a copy. Nothing that delivers websocket messages over
//! the socket interface can be much cheaper, so its figures are what ours are held against.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::frame::{self, CLOSE, PING, PONG, TEXT};
use crate::pipe::{Pipe, READ, ROOM};
use crate::tls::Pair;
use crate::{Res, tls};

/// Written to one subscriber per wake-up.
const BATCH: usize = 64 * 1024;
/// The log is compacted beyond this size.
const COMPACT: usize = 4 * 1024 * 1024;
/// No client of ours has this much in flight: more is a bug in the instrument, not load.
const LIMIT: usize = 64 * 1024 * 1024;
const LISTENERS: usize = 2;

/// Serves until the process ends.
pub(crate) fn run(plain: SocketAddr, tls: Option<(SocketAddr, Pair)>) -> Res<()> {
    let poll = Poll::new()?;
    let mut listeners = vec![(TcpListener::bind(plain)?, None)];
    if let Some((addr, pair)) = tls {
        listeners.push((TcpListener::bind(addr)?, Some(tls::server(&pair)?)));
    }
    for (at, (listener, _)) in listeners.iter_mut().enumerate() {
        poll.registry().register(listener, Token(at), Interest::READABLE)?;
    }
    let floor = Floor {
        poll,
        listeners,
        peers: Vec::new(),
        free: Vec::new(),
        subscribers: BTreeSet::new(),
        log: Log::default(),
        cipher: vec![0; READ],
        plain: vec![0; 2 * ROOM],
    };
    floor.serve()
}

struct Floor {
    poll: Poll,
    listeners: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    subscribers: BTreeSet<usize>,
    log: Log,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

#[derive(PartialEq, Clone, Copy)]
enum Part {
    Upgrading,
    New,
    Subscriber,
    Publisher,
    Caller,
}

struct Peer {
    pipe: Pipe,
    part: Part,
    /// Read but not complete.
    kept: Vec<u8>,
    /// Own replies not yet written.
    out: Vec<u8>,
    /// Place in the log, for a subscriber.
    at: usize,
    /// The socket took less than it was given; wait until it says it is writable.
    blocked: bool,
}

/// The frames not yet with everybody, end to end, and how many bytes went before them.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    base: usize,
}

impl Log {
    fn end(&self) -> usize {
        self.base + self.bytes.len()
    }

    fn from(&self, at: usize) -> &[u8] {
        let rest = self.bytes.get(at - self.base..).unwrap_or_default();
        &rest[..rest.len().min(BATCH)]
    }

    /// Forgets what everybody has.
    fn compact(&mut self, slowest: usize) {
        if slowest == self.end() {
            self.base = slowest;
            self.bytes.clear();
        } else if self.bytes.len() > COMPACT {
            self.bytes.drain(..slowest - self.base);
            self.base = slowest;
        }
    }
}

impl Floor {
    fn serve(mut self) -> Res<()> {
        let mut events = Events::with_capacity(4096);
        let mut more = false;
        loop {
            match self.poll.poll(&mut events, more.then_some(Duration::ZERO)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let Some(at) = event.token().0.checked_sub(LISTENERS) else {
                    self.accept(event.token().0)?;
                    continue;
                };
                if self.serve_peer(at, event.is_readable(), event.is_writable()).is_err() {
                    self.forget(at);
                }
            }
            more = self.spread();
            if self.log.bytes.len() > LIMIT {
                return Err("the client has more in flight than any client of this bench".into());
            }
        }
    }

    fn accept(&mut self, listener: usize) -> Res<()> {
        let Some((listener, tls)) = self.listeners.get(listener) else { return Ok(()) };
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            socket.set_nodelay(true)?;
            let mut peer = Peer {
                pipe: Pipe::accepted(socket, tls.as_ref())?,
                part: Part::Upgrading,
                kept: Vec::new(),
                out: Vec::new(),
                at: 0,
                blocked: false,
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut peer.pipe.socket, Token(slot + LISTENERS), both)?;
            if let Some(place) = self.peers.get_mut(slot) {
                *place = Some(peer);
            }
        }
    }

    fn serve_peer(&mut self, at: usize, readable: bool, writable: bool) -> io::Result<()> {
        let Some(peer) = self.peers.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        if writable {
            peer.blocked = false;
        }
        let mut more = readable;
        while more {
            let kept = peer.kept.len();
            self.plain[..kept].copy_from_slice(&peer.kept);
            let (read, empty) = match peer.pipe.read(&mut self.cipher, &mut self.plain[kept..]) {
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            let bytes = &mut self.plain[..kept + read];
            let used = peer.take(bytes, &mut self.log)?;
            peer.kept.clear();
            peer.kept.extend_from_slice(&bytes[used..]);
            if peer.kept.len() > ROOM {
                return Err(ErrorKind::InvalidData.into());
            }
            more = !empty;
        }
        if peer.part == Part::Subscriber {
            self.subscribers.insert(at);
        }
        peer.reply()
    }

    fn forget(&mut self, at: usize) {
        self.subscribers.remove(&at);
        if let Some(place) = self.peers.get_mut(at)
            && place.take().is_some()
        {
            self.free.push(at);
        }
    }

    /// One write per subscriber that is behind. Returns whether somebody who could take more is still behind.
    fn spread(&mut self) -> bool {
        let (mut more, mut gone) = (false, Vec::new());
        let end = self.log.end();
        let mut slowest = end;
        for &at in &self.subscribers {
            let Some(peer) = self.peers.get_mut(at).and_then(Option::as_mut) else { continue };
            if peer.at < end && !peer.blocked && peer.out.is_empty() {
                let batch = self.log.from(peer.at);
                match peer.pipe.write(batch) {
                    Ok((n, full)) => {
                        peer.at += n;
                        peer.blocked = full;
                        more |= !peer.blocked && peer.at < end;
                    }
                    Err(_) => gone.push(at),
                }
            }
            slowest = slowest.min(peer.at);
        }
        for at in gone {
            self.forget(at);
        }
        self.log.compact(slowest);
        more
    }
}

impl Peer {
    /// Handles every complete message in `bytes` and says how many bytes that were.
    fn take(&mut self, bytes: &mut [u8], log: &mut Log) -> io::Result<usize> {
        let mut used = 0;
        if self.part == Part::Upgrading {
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(0) };
            used = end + 4;
            self.out.extend_from_slice(upgrade(&bytes[..used])?.as_bytes());
            self.part = Part::New;
        }
        while let Some(head) = frame::head(&bytes[used..]) {
            let start = used + head.size;
            let Some(payload) = bytes.get_mut(start..start + head.payload) else { break };
            if let Some(key) = head.mask {
                frame::unmask(payload, key);
            }
            self.message(head.opcode, payload, log)?;
            used = start + head.payload;
        }
        Ok(used)
    }

    fn message(&mut self, opcode: u8, payload: &[u8], log: &mut Log) -> io::Result<()> {
        match (opcode, self.part) {
            (CLOSE, _) => return Err(ErrorKind::ConnectionAborted.into()),
            (PING, _) => frame::server(&mut self.out, PONG, payload),
            (_, Part::New) => {
                self.part = match payload {
                    b"sub" => Part::Subscriber,
                    b"pub" => Part::Publisher,
                    _ => Part::Caller,
                };
                self.at = log.end();
                frame::server(&mut self.out, TEXT, b"ok");
            }
            (_, Part::Publisher) => frame::server(&mut log.bytes, TEXT, payload),
            (_, Part::Caller) => frame::server(&mut self.out, TEXT, payload),
            _ => {}
        }
        Ok(())
    }

    fn reply(&mut self) -> io::Result<()> {
        while !self.out.is_empty() && !self.blocked {
            let (written, full) = self.pipe.write(&self.out)?;
            self.blocked = full;
            self.out.drain(..written);
        }
        self.pipe.flush().map(|_| ())
    }
}

/// The answer to an upgrade request.
fn upgrade(request: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(request).map_err(io::Error::other)?;
    let key = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, value)| value.trim())
        .ok_or(ErrorKind::InvalidData)?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    ))
}
