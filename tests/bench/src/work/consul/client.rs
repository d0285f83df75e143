//! A Consul client of several connections that fires, lists and waits.

use std::time::{Duration, Instant};

use crate::Res;
use crate::client::Target;
use crate::client::http::{Answer, Desk};
use crate::stats::{Samples, float};

/// Bytes of a payload: what an event carries in every other row.
const PAYLOAD: usize = 200;
/// The connection that fires while the others wait.
const FIRING: usize = 0;
/// Until a request that was sent waits in the server; nothing on the wire says so.
const SETTLE: Duration = Duration::from_millis(2);
/// The same for many of them.
const SETTLE_ALL: Duration = Duration::from_millis(500);

/// What one waiter told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// From the fire until its list was there, microseconds, median.
    pub(super) p50: f64,
    /// The same, 99th percentile.
    pub(super) p99: f64,
    /// From the fire until it was answered itself, median.
    pub(super) answered: f64,
}

/// The client.
pub(super) struct Client {
    desk: Desk,
    target: Target,
    clients: usize,
}

impl Client {
    /// Connects. Every connection shows its token at once, in a first list: few may be there that have shown none.
    pub(super) fn open(target: Target, clients: usize) -> Res<Self> {
        let mut client = Self { desk: Desk::new()?, target, clients };
        let list = client.list("nobody-fires-this", 0);
        for _ in 0..clients {
            let line = client.desk.open(&client.target)?;
            client.desk.ask(line, &list)?;
        }
        Ok(client)
    }

    /// Fires on all connections, for a tenth of the span to warm up, then for the span. Returns fires a second.
    pub(super) fn fires(&mut self, span: Duration) -> Res<f64> {
        self.pass(span / 10)?;
        let begin = Instant::now();
        let fired = self.pass(span)?;
        Ok(float(fired) / begin.elapsed().as_secs_f64())
    }

    fn pass(&mut self, span: Duration) -> Res<u64> {
        let request = self.fire("x");
        let (begin, mut fired, mut answers) = (Instant::now(), 0, Vec::new());
        for line in 0..self.clients {
            self.desk.send(line, &request)?;
        }
        let mut waiting = self.clients;
        while waiting > 0 {
            self.desk.wait(&mut answers)?;
            let open = begin.elapsed() < span;
            for (line, _) in answers.drain(..) {
                fired += 1;
                if open {
                    self.desk.send(line, &request)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(fired)
    }

    /// One waits for what another fires, again and again; its list has `listed` events.
    pub(super) fn heard(&mut self, rounds: u32, listed: u32) -> Res<Heard> {
        let (name, waiting) = ("heard", FIRING + 1);
        self.fill(name, listed)?;
        let (mut heard, mut answered) = (Samples::default(), Samples::default());
        let fire = self.fire(name);
        let mut index = self.index(name)?;
        for _ in 0..rounds {
            self.desk.send(waiting, &self.list(name, index))?;
            std::thread::sleep(SETTLE);
            let begin = Instant::now();
            self.desk.send(FIRING, &fire)?;
            let (mut left, mut answers) = (2, Vec::new());
            while left > 0 {
                self.desk.wait(&mut answers)?;
                let took = begin.elapsed();
                for (line, answer) in answers.drain(..) {
                    left -= 1;
                    if line == FIRING {
                        answered.add(took);
                    } else {
                        heard.add(took);
                        index = newer(index, answer)?;
                    }
                }
            }
        }
        Ok(Heard {
            p50: heard.micros(500).unwrap_or_default(),
            p99: heard.micros(990).unwrap_or_default(),
            answered: answered.micros(500).unwrap_or_default(),
        })
    }

    /// All but one wait for `name`. Returns milliseconds from the fire until the last has its list of `listed` events.
    pub(super) fn woken(&mut self, name: &str, listed: u32) -> Res<f64> {
        self.fill(name, listed.saturating_sub(1))?;
        let index = self.index(name)?;
        let list = self.list(name, index);
        for line in FIRING + 1..self.clients {
            self.desk.send(line, &list)?;
        }
        std::thread::sleep(SETTLE_ALL);
        let fire = self.fire(name);
        let (mut left, mut answers) = (self.clients - 1, Vec::new());
        let mut took = Duration::ZERO;
        let mut fired = false;
        let begin = Instant::now();
        self.desk.send(FIRING, &fire)?;
        while left > 0 || !fired {
            self.desk.wait(&mut answers)?;
            for (line, answer) in answers.drain(..) {
                if line == FIRING {
                    fired = true;
                } else {
                    newer(index, answer)?;
                    left -= 1;
                    took = begin.elapsed();
                }
            }
        }
        Ok(took.as_secs_f64() * 1000.0)
    }

    fn fill(&mut self, name: &str, events: u32) -> Res<()> {
        let fire = self.fire(name);
        for _ in 0..events {
            self.desk.ask(FIRING, &fire)?;
        }
        Ok(())
    }

    fn index(&mut self, name: &str) -> Res<u64> {
        let list = self.list(name, 0);
        Ok(self.desk.ask(FIRING, &list)?.index)
    }

    fn fire(&self, name: &str) -> Vec<u8> {
        let payload = "x".repeat(PAYLOAD);
        let head = self.head("PUT", &format!("/v1/event/fire/{name}"));
        format!("{head}Content-Length: {PAYLOAD}\r\n\r\n{payload}").into_bytes()
    }

    /// With an index, a list that waits for another one.
    fn list(&self, name: &str, index: u64) -> Vec<u8> {
        let path = format!("/v1/event/list?name={name}&index={index}&wait=60s");
        format!("{}\r\n", self.head("GET", &path)).into_bytes()
    }

    fn head(&self, method: &str, path: &str) -> String {
        let token = self.target.token.as_deref().unwrap_or_default();
        let addr = self.target.addr;
        format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nX-Consul-Token: {token}\r\n")
    }
}

/// The index of a list that must have waited: it is another one than before.
fn newer(before: u64, answer: Answer) -> Res<u64> {
    if answer.index > before {
        return Ok(answer.index);
    }
    Err(format!("a list that waited has index {} after {before}", answer.index).into())
}
