//! An open connection of the client: frames in, bytes out, nothing blocks.

use std::io::ErrorKind;

use crate::Res;
use crate::frame::{self, CLOSE, PING, PONG};
use crate::pipe::{Pipe, READ, ROOM};

/// Buffers shared by all connections of the loop: a connection keeps only what is not complete yet.
pub(crate) struct Buffers {
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Buffers {
    /// Room for one read.
    pub(crate) fn new() -> Self {
        Self { cipher: vec![0; READ], plain: vec![0; 2 * ROOM] }
    }
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) pipe: Pipe,
    kept: Vec<u8>,
    out: Vec<u8>,
    /// Bytes read so far, with frame headers, without TLS.
    pub(crate) bytes: u64,
}

impl Conn {
    /// Takes over an opened connection and what was read beyond its setup.
    pub(crate) fn new(pipe: Pipe, kept: Vec<u8>) -> Self {
        Self { pipe, kept, out: Vec::new(), bytes: 0 }
    }

    /// Reads all that has come and shows every data frame's payload to `each`.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub(crate) fn drain(&mut self, with: &mut Buffers, mut each: impl FnMut(&[u8])) -> Res<()> {
        loop {
            let kept = self.kept.len();
            if with.plain.len() < kept + ROOM {
                with.plain.resize(2 * (kept + ROOM), 0);
            }
            with.plain[..kept].copy_from_slice(&self.kept);
            let (read, empty) = match self.pipe.read(&mut with.cipher, &mut with.plain[kept..]) {
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(format!("the server closed a connection: {e}").into()),
            };
            self.bytes += crate::stats::count(read);
            let have = &with.plain[..kept + read];
            let used = self.frames(have, &mut each)?;
            self.kept.clear();
            self.kept.extend_from_slice(&have[used..]);
            if empty {
                return Ok(());
            }
        }
    }

    /// Queues `bytes`; [`Self::flush`] sends them.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sends what is queued, as far as the socket takes it; the rest goes with the next writable event.
    pub(crate) fn flush(&mut self) -> Res<()> {
        while !self.out.is_empty() {
            let (written, full) = self.pipe.write(&self.out)?;
            self.out.drain(..written);
            if full {
                return Ok(());
            }
        }
        self.pipe.flush()?;
        Ok(())
    }

    fn frames(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Res<usize> {
        let mut used = 0;
        while let Some(head) = frame::head(&bytes[used..]) {
            let start = used + head.size;
            let Some(payload) = bytes.get(start..start + head.payload) else { break };
            match head.opcode {
                CLOSE => {
                    let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    return Err(format!("the server closed a websocket: {why}").into());
                }
                PING => {
                    frame::client(&mut self.out, PONG, payload);
                    self.flush()?;
                }
                PONG => {}
                _ => each(payload),
            }
            used = start + head.payload;
        }
        Ok(used)
    }
}
