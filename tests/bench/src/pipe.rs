//! A non-blocking socket with or without TLS: the same bytes in and out for the client and the raw anchor.
//!
//! Knows sockets and records; nothing about frames.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::Connection;

/// Bytes asked for in one read of a socket.
pub(crate) const READ: usize = 64 * 1024;
/// Room a reader must offer: one socket read, plus the records TLS may have kept back.
pub(crate) const ROOM: usize = 2 * READ;

/// A connected socket, with its TLS session if it has one.
pub(crate) struct Pipe {
    /// The socket, for registering it.
    pub(crate) socket: TcpStream,
    tls: Option<Box<Connection>>,
}

impl Pipe {
    /// Wraps a connected, non-blocking socket.
    pub(crate) fn new(socket: TcpStream, tls: Option<Connection>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    /// The server side of a new connection.
    pub(crate) fn accepted(
        socket: TcpStream,
        tls: Option<&Arc<rustls::ServerConfig>>,
    ) -> io::Result<Self> {
        let tls = tls.map(|config| rustls::ServerConnection::new(Arc::clone(config))).transpose();
        let tls = tls.map_err(io::Error::other)?;
        Ok(Self::new(socket, tls.map(Connection::Server)))
    }

    /// Reads once. `cipher` holds at least [`READ`] bytes and `plain` at least [`ROOM`].
    ///
    /// Returns how much was read and whether the socket is empty now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, `UnexpectedEof` when the peer has closed, else what the socket says.
    pub(crate) fn read(
        &mut self,
        cipher: &mut [u8],
        plain: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let Some(tls) = &mut self.tls else {
            let room = plain.len().min(READ);
            let read = retry(|| self.socket.read(&mut plain[..room]))?;
            return if read == 0 {
                Err(ErrorKind::UnexpectedEof.into())
            } else {
                Ok((read, read < room))
            };
        };
        let room = cipher.len().min(READ);
        let read = retry(|| self.socket.read(&mut cipher[..room]))?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &cipher[..read];
        let mut filled = 0;
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            filled += drain(tls, &mut plain[filled..])?;
        }
        if tls.wants_write() {
            self.flush()?;
        }
        Ok((filled, read < room))
    }

    /// Writes as much of `bytes` as goes. Returns how much was taken, and whether the socket is full: then wait until
    /// it says it is writable before the next write.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let Some(tls) = &mut self.tls else {
            return match retry(|| self.socket.write(bytes)) {
                Ok(written) => Ok((written, written < bytes.len())),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Ok((0, true)),
                Err(e) => Err(e),
            };
        };
        if tls.wants_write() && !self.flush()? {
            return Ok((0, true));
        }
        let Some(tls) = &mut self.tls else { return Ok((0, true)) };
        let taken = tls.writer().write(bytes)?;
        Ok((taken, !self.flush()?))
    }

    /// Pushes out what TLS holds back. Returns whether all of it went.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// Moves decrypted bytes out of the session until it has none.
fn drain(tls: &mut Connection, plain: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match tls.reader().read(&mut plain[filled..]) {
            Ok(0) => return Ok(filled),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(filled),
            Err(e) => return Err(e),
        }
    }
}

fn retry(mut f: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match f() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
