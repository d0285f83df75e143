//! One publisher, many subscribers: how much of the server's CPU a delivery takes, and how late it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Res;
use crate::client::Target;
use crate::client::conn::Conn;
use crate::client::dialect::{Class, Reader};
use crate::client::net::Net;
use crate::client::setup::Setup;
use crate::server::Server;
use crate::stats::{Samples, count, float};

/// How the messages are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many.
    pub(crate) messages: u32,
    /// How many may be on their way: the next goes when the last subscriber has the one this many before.
    pub(crate) window: u32,
}

/// Publishers of a flood: with the messages on their way split among them, none has more than a careful server allows
/// one connection.
const PUBLISHERS: usize = 8;

/// What one run told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// Server CPU seconds per million deliveries.
    pub(crate) cpu: f64,
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Publication to delivery, microseconds.
    pub(crate) p50: f64,
    /// The same, 99th percentile.
    pub(crate) p99: f64,
    /// Bytes of a delivery on the wire.
    pub(crate) bytes: f64,
}

/// Connects `subscribers`, warms up with a tenth of the load, then measures the load.
pub(crate) fn run(
    server: &Server,
    target: &Target,
    subscribers: usize,
    class: Class,
    load: Load,
) -> Res<Spread> {
    let mut arena = Arena::open(target, subscribers, class)?;
    let warm = Load { messages: (load.messages / 10).max(2), ..load };
    arena.pass(warm).map_err(|e| arena.explain(&*e))?;
    let (cpu, bytes, begin) = (server.cpu()?, arena.bytes(), Instant::now());
    let mut flight = arena.pass(load).map_err(|e| arena.explain(&*e))?;
    let elapsed = begin.elapsed().as_secs_f64();
    let deliveries = f64::from(load.messages) * float(count(subscribers));
    Ok(Spread {
        cpu: (server.cpu()? - cpu) / deliveries * 1e6,
        rate: deliveries / elapsed,
        p50: flight.delays.micros(500).unwrap_or_default(),
        p99: flight.delays.micros(990).unwrap_or_default(),
        bytes: float(arena.bytes() - bytes) / deliveries,
    })
}

struct Arena {
    net: Net,
    subscribers: Vec<(Conn, Reader)>,
    publishers: Vec<Conn>,
    publication: Vec<u8>,
}

/// The messages on their way, oldest first, and what each subscriber has.
struct Flight {
    load: Load,
    sent: u32,
    /// Messages that every subscriber has.
    done: u32,
    had: Vec<u32>,
    waiting: VecDeque<(usize, Instant)>,
    delays: Samples,
}

impl Arena {
    fn open(target: &Target, subscribers: usize, class: Class) -> Res<Self> {
        let net = Net::new()?;
        let mut conns = Vec::with_capacity(subscribers);
        for token in 0..subscribers {
            let mut conn = Setup::open(target)?.subscriber(class)?;
            net.watch(&mut conn, token)?;
            conns.push((conn, target.dialect.deliveries()));
        }
        let mut publishers = Vec::with_capacity(PUBLISHERS);
        for at in 0..PUBLISHERS {
            let mut publisher = Setup::open(target)?.publisher()?;
            net.watch(&mut publisher, subscribers + at)?;
            publishers.push(publisher);
        }
        let publication = target.dialect.publication(class);
        Ok(Self { net, subscribers: conns, publishers, publication })
    }

    /// Publishes the load and returns when every subscriber has all of it.
    fn pass(&mut self, load: Load) -> Res<Flight> {
        let mut flight = Flight::new(load, self.subscribers.len());
        let mut ready = Vec::new();
        let mut progress = Instant::now();
        while flight.done < load.messages {
            self.publish(&mut flight)?;
            self.net.wait(&mut ready)?;
            let before = flight.done;
            for token in &ready {
                self.serve(*token, &mut flight)?;
            }
            if flight.done > before {
                progress = Instant::now();
            } else if progress.elapsed() > Duration::from_secs(20) {
                return Err("no message reached everybody for 20 s".into());
            }
        }
        Ok(flight)
    }

    fn publish(&mut self, flight: &mut Flight) -> Res<()> {
        let mut turn = usize::try_from(flight.sent)?;
        while flight.may_send() {
            if let Some(publisher) = self.publishers.get_mut(turn % PUBLISHERS) {
                publisher.queue(&self.publication);
            }
            flight.send(self.subscribers.len());
            turn += 1;
        }
        self.publishers.iter_mut().try_for_each(Conn::flush)
    }

    fn serve(&mut self, token: usize, flight: &mut Flight) -> Res<()> {
        let Some((conn, reader)) = self.subscribers.get_mut(token) else {
            let at = token - self.subscribers.len();
            let Some(publisher) = self.publishers.get_mut(at) else { return Ok(()) };
            publisher.drain(&mut self.net.buffers, |_| ())?;
            return publisher.flush();
        };
        let mut came = 0;
        conn.drain(&mut self.net.buffers, |payload| came += reader.count(payload))?;
        flight.deliver(token, came)
    }

    fn bytes(&self) -> u64 {
        self.subscribers.iter().map(|(conn, _)| conn.bytes).sum()
    }

    /// A failed run, with the first message nobody asked for.
    fn explain(
        &self,
        error: &(dyn std::error::Error + Send + Sync),
    ) -> Box<dyn std::error::Error + Send + Sync> {
        let stray = self.subscribers.iter().find_map(|(_, reader)| reader.stray());
        let stray = stray.map_or_else(String::new, |s| format!("; a subscriber got: {s}"));
        format!("{error}{stray}").into()
    }
}

impl Flight {
    fn new(load: Load, subscribers: usize) -> Self {
        Self {
            load,
            sent: 0,
            done: 0,
            had: vec![0; subscribers],
            waiting: VecDeque::new(),
            delays: Samples::default(),
        }
    }

    fn may_send(&self) -> bool {
        self.sent < self.load.messages && self.sent - self.done < self.load.window
    }

    fn send(&mut self, subscribers: usize) {
        self.sent += 1;
        self.waiting.push_back((subscribers, Instant::now()));
    }

    /// Subscriber `who` got the next `came` messages.
    fn deliver(&mut self, who: usize, came: u32) -> Res<()> {
        let now = Instant::now();
        let had = self.had.get_mut(who).ok_or("no such subscriber")?;
        for _ in 0..came {
            let at = usize::try_from(had.wrapping_sub(self.done))?;
            let (left, sent) = self.waiting.get_mut(at).ok_or("more events than were published")?;
            *left -= 1;
            self.delays.add(now.duration_since(*sent));
            *had += 1;
        }
        while self.waiting.front().is_some_and(|(left, _)| *left == 0) {
            self.waiting.pop_front();
            self.done += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_when_the_last_subscriber_has_it() {
        let mut flight = Flight::new(Load { messages: 5, window: 2 }, 2);
        while flight.may_send() {
            flight.send(2);
        }
        assert_eq!(flight.sent, 2);
        flight.deliver(0, 2).unwrap();
        assert_eq!((flight.done, flight.may_send()), (0, false));
        flight.deliver(1, 1).unwrap();
        assert_eq!((flight.done, flight.may_send()), (1, true));
        assert!(flight.deliver(0, 1).is_err(), "a third message was never sent");
    }
}
