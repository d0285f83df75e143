//! Clients of Consul, each with one connection, whose server may end at any moment.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::Res;
use crate::client::Target;
use crate::client::http::answer;

/// Bytes of a payload: what an event carries in every other row.
const PAYLOAD: usize = 200;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection, with one request on its way.
pub(super) struct Line {
    socket: TcpStream,
    head: String,
    kept: Vec<u8>,
}

/// A list.
pub(super) struct List {
    /// Its `X-Consul-Index`.
    index: u64,
    /// The ids of its events.
    pub(super) ids: Vec<String>,
}

impl Line {
    pub(super) fn open(target: &Target) -> Res<Self> {
        let socket = TcpStream::connect(target.addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let token = target.token.as_deref().unwrap_or_default();
        let head = format!("Host: {}\r\nX-Consul-Token: {token}\r\n", target.addr);
        Ok(Self { socket, head, kept: Vec::new() })
    }

    /// The id of the event; `None` when the server has ended before its answer.
    pub(super) fn fire(&mut self, name: &str) -> Res<Option<String>> {
        let payload = "x".repeat(PAYLOAD);
        let head = &self.head;
        let request = format!(
            "PUT /v1/event/fire/{name} HTTP/1.1\r\n{head}Content-Length: {PAYLOAD}\r\n\r\n{payload}"
        );
        let Some((_, event)) = self.ask(&request)? else { return Ok(None) };
        Ok(Some(id_of(&event)?))
    }

    /// The list that has another index than this one, or any after a while; `None` as above.
    pub(super) fn list(&mut self, name: &str, index: u64) -> Res<Option<List>> {
        let head = &self.head;
        let request = format!(
            "GET /v1/event/list?name={name}&index={index}&wait=300ms HTTP/1.1\r\n{head}\r\n"
        );
        let Some((index, events)) = self.ask(&request)? else { return Ok(None) };
        let events = events.as_array().ok_or("a list that is none")?;
        Ok(Some(List { index, ids: events.iter().map(id_of).collect::<Res<_>>()? }))
    }

    fn ask(&mut self, request: &str) -> Res<Option<(u64, Value)>> {
        if !is_there(self.socket.write_all(request.as_bytes()))? {
            return Ok(None);
        }
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((answer, size)) = answer(&self.kept)? {
                let end = self.kept.windows(4).position(|four| four == b"\r\n\r\n");
                let body = self.kept.get(end.unwrap_or_default() + 4..size).unwrap_or_default();
                let body = serde_json::from_slice(body)?;
                self.kept.drain(..size);
                return Ok(Some((answer.index, body)));
            }
            let mut read = 0;
            if !is_there(self.socket.read(&mut chunk).map(|bytes| read = bytes))? || read == 0 {
                return Ok(None);
            }
            self.kept.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

/// Whether the other side is still there.
fn is_there(done: std::io::Result<()>) -> Res<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn id_of(event: &Value) -> Res<String> {
    let id = event.get("ID").and_then(Value::as_str);
    Ok(id.ok_or_else(|| format!("an event without an ID: {event}"))?.to_owned())
}

/// The index that Consul's own client makes of an id: its halves, joined by exclusive or.
fn index_of(id: &str) -> Res<u64> {
    let bits = u128::from_str_radix(&id.replace('-', ""), 16)?;
    let halves = bits.to_be_bytes();
    let half = |from: usize| -> Res<u64> {
        Ok(u64::from_be_bytes(halves.get(from..from + 8).unwrap_or_default().try_into()?))
    };
    Ok(half(0)? ^ half(8)?)
}

/// Waits for the events of one name as Consul's own client does, over all lives of the daemon.
pub(super) struct Follower {
    /// The name.
    pub(super) name: String,
    /// Times that the index went back or that it was given an event again.
    pub(super) repeated: usize,
    at: u64,
    seen: HashSet<String>,
    /// Whether more came at once than a list has.
    overrun: bool,
}

impl Follower {
    pub(super) fn of(name: &str) -> Self {
        let (name, seen) = (name.to_owned(), HashSet::new());
        Self { name, repeated: 0, at: 0, seen, overrun: false }
    }

    /// Until the daemon ends.
    pub(super) fn follow(&mut self, target: &Target) -> Res<()> {
        let mut line = Line::open(target)?;
        while let Some(list) = line.list(&self.name, self.at)? {
            self.take(list)?;
        }
        Ok(())
    }

    /// Until there is nothing new.
    pub(super) fn catch_up(&mut self, target: &Target) -> Res<()> {
        let mut line = Line::open(target)?;
        loop {
            let before = self.at;
            let list = line.list(&self.name, before)?.ok_or("the daemon ended by itself")?;
            self.take(list)?;
            if self.at == before {
                return Ok(());
            }
        }
    }

    /// What stands behind the event that it has seen last is new.
    fn take(&mut self, list: List) -> Res<()> {
        if list.index < self.at {
            self.repeated += 1;
        }
        let mut place = None;
        for (number, id) in list.ids.iter().enumerate() {
            if index_of(id)? == self.at {
                place = Some(number + 1);
            }
        }
        self.overrun |= self.at > 1 && place.is_none();
        for id in list.ids.into_iter().skip(place.unwrap_or_default()) {
            self.repeated += usize::from(!self.seen.insert(id));
        }
        self.at = list.index;
        Ok(())
    }

    /// How many of these it was never told, though it always kept up.
    pub(super) fn unseen(&self, fired: &[String]) -> usize {
        let unseen = fired.iter().filter(|id| !self.seen.contains(*id)).count();
        if self.overrun { 0 } else { unseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> String {
        format!("00000000-0000-0000-{:04x}-{:012x}", number >> 48, number & 0xffff_ffff_ffff)
    }

    fn list(numbers: &[u64]) -> List {
        let ids = numbers.iter().map(|number| id(*number)).collect();
        List { index: numbers.last().copied().unwrap_or(1), ids }
    }

    #[test]
    fn the_index_is_the_one_of_consuls_own_test() {
        let id = "cb9a81ad-fff6-52ac-92a7-5f70687805ec";
        assert_eq!(index_of(id).unwrap(), 6_430_540_886_266_763_072);
    }

    #[test]
    fn a_follower_notices_what_is_repeated_and_what_is_missing() {
        let mut follower = Follower::of("x");
        for numbers in [&[][..], &[2], &[2, 3, 4]] {
            follower.take(list(numbers)).unwrap();
        }
        assert_eq!((follower.repeated, follower.unseen(&[id(2), id(4)])), (0, 0));
        assert_eq!(follower.unseen(&[id(5)]), 1);
        follower.take(list(&[2, 3])).unwrap();
        assert_eq!(follower.repeated, 3, "the index went back, and both came again");
        follower.take(list(&[3, 2])).unwrap();
        assert_eq!(follower.repeated, 5, "the index again, and one of them");
    }
}
