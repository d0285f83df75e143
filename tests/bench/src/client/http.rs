//! Connections of HTTP/1.1 that are kept, with one request on its way on each; plain, on the client's one epoll loop.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::Target;
use super::net::Net;
use crate::Res;
use crate::pipe::READ;

/// What there is to know about an answer with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its `X-Consul-Index`, 0 without one.
    pub(crate) index: u64,
}

/// The connections of one client program.
pub(crate) struct Desk {
    net: Net,
    lines: Vec<Line>,
    chunk: Vec<u8>,
    ready: Vec<usize>,
}

struct Line {
    socket: TcpStream,
    kept: Vec<u8>,
}

impl Desk {
    /// Without connections yet.
    pub(crate) fn new() -> Res<Self> {
        Ok(Self { net: Net::new()?, lines: Vec::new(), chunk: vec![0; READ], ready: Vec::new() })
    }

    /// Connects once more. Returns the connection's number, counted from 0.
    pub(crate) fn open(&mut self, target: &Target) -> Res<usize> {
        let socket = std::net::TcpStream::connect(target.addr)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let number = self.lines.len();
        self.net.watch_socket(&mut socket, number)?;
        self.lines.push(Line { socket, kept: Vec::new() });
        Ok(number)
    }

    /// Sends a request on a connection whose last one is answered.
    pub(crate) fn send(&mut self, line: usize, request: &[u8]) -> Res<()> {
        let line = self.lines.get_mut(line).ok_or("no such connection")?;
        // A request of some hundred bytes fits into a socket that is empty.
        if line.socket.write(request)? < request.len() {
            return Err("a socket did not take a whole request".into());
        }
        Ok(())
    }

    /// Waits until something comes, and adds the answers that are complete to `answers`.
    ///
    /// # Errors
    /// When nothing comes for 20 s, when the server closes a connection or answers another status than 200.
    pub(crate) fn wait(&mut self, answers: &mut Vec<(usize, Answer)>) -> Res<()> {
        self.net.wait(&mut self.ready)?;
        for number in &self.ready {
            let Some(line) = self.lines.get_mut(*number) else { continue };
            line.read(&mut self.chunk)?;
            if let Some((answer, size)) = answer(&line.kept)? {
                line.kept.drain(..size);
                answers.push((*number, answer));
            }
        }
        Ok(())
    }

    /// Sends a request and waits for its answer, while no other is on its way.
    pub(crate) fn ask(&mut self, line: usize, request: &[u8]) -> Res<Answer> {
        self.send(line, request)?;
        let mut answers = Vec::new();
        while answers.is_empty() {
            self.wait(&mut answers)?;
        }
        match answers.as_slice() {
            [(number, answer)] if *number == line => Ok(*answer),
            _ => Err("an answer came that nobody waited for".into()),
        }
    }
}

impl Line {
    /// Keeps all that has come.
    fn read(&mut self, chunk: &mut [u8]) -> Res<()> {
        loop {
            match self.socket.read(chunk) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => self.kept.extend_from_slice(&chunk[..read]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// The answer `bytes` begin with and its size; `None` while it is not complete.
pub(crate) fn answer(bytes: &[u8]) -> Res<Option<(Answer, usize)>> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let length = header(head, "content-length").ok_or("an answer without a length")?;
    let size = end + 4 + usize::try_from(length)?;
    if bytes.len() < size {
        return Ok(None);
    }
    if !head.starts_with("HTTP/1.1 200 ") {
        let whole = String::from_utf8_lossy(&bytes[..size]);
        return Err(format!("expected status 200, got: {whole}").into());
    }
    Ok(Some((Answer { index: header(head, "x-consul-index").unwrap_or_default() }, size)))
}

/// The number a header says.
fn header(head: &str, name: &str) -> Option<u64> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let value = fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).next()?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte_and_not_before() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 2\r\n\r\n[]";
        for cut in 0..bytes.len() {
            assert_eq!(answer(&bytes[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert_eq!(answer(bytes).unwrap(), Some((Answer { index: 7 }, bytes.len())));
    }

    #[test]
    fn a_refusal_is_told_with_its_body() {
        let bytes = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\n\r\nPermission denied";
        assert!(answer(bytes).unwrap_err().to_string().contains("Permission denied"));
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
