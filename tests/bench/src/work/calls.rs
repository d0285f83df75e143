//! Requests and their replies: how many a second, how much of the server's CPU each, how long one takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Res;
use crate::client::Target;
use crate::client::conn::Conn;
use crate::client::dialect::{Dialect, Reader, inbox};
use crate::client::net::Net;
use crate::client::setup::Setup;
use crate::server::Server;
use crate::stats::{Samples, float};

/// How the calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Connections.
    pub(crate) connections: usize,
    /// Calls on their way on each of them.
    pub(crate) depth: usize,
    /// For how long.
    pub(crate) span: Duration,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The namespace that the replies repeat.
    pub(crate) namespace: &'static str,
    /// The message in a dialect, from the connection of this number: NATS replies to a subject of the caller's own.
    pub(crate) message: fn(Dialect, usize) -> Vec<u8>,
}

/// When a pass ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    Elapsed(Duration),
    Calls(u64),
}

/// What one run told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called {
    /// Calls a second.
    pub(crate) rate: f64,
    /// Server CPU microseconds a call.
    pub(crate) cpu: f64,
    /// The same of the server's children: plugin processes.
    pub(crate) children_cpu: f64,
    /// Call to reply, microseconds.
    pub(crate) p50: f64,
}

/// Makes calls for a tenth of the span to warm up, then for the span.
pub(crate) fn run(server: &Server, target: &Target, request: Request, load: Load) -> Res<Called> {
    let mut desk = Desk::open(target, request, load)?;
    desk.pass(Until::Elapsed(load.span / 10)).map_err(|e| desk.explain(&*e))?;
    let (cpu, children, begin) = (server.cpu()?, server.children_cpu()?, Instant::now());
    let (calls, mut delays) =
        desk.pass(Until::Elapsed(load.span)).map_err(|e| desk.explain(&*e))?;
    let elapsed = begin.elapsed().as_secs_f64();
    let calls = float(calls);
    Ok(Called {
        rate: calls / elapsed,
        cpu: (server.cpu()? - cpu) / calls * 1e6,
        children_cpu: (server.children_cpu()? - children) / calls * 1e6,
        p50: delays.micros(500).unwrap_or_default(),
    })
}

/// Makes at least `calls` calls. Returns how many.
pub(crate) fn repeat(target: &Target, request: Request, calls: u64) -> Res<u64> {
    let load = Load { connections: 16, depth: 16, span: Duration::ZERO };
    let mut desk = Desk::open(target, request, load)?;
    let (made, _) = desk.pass(Until::Calls(calls)).map_err(|e| desk.explain(&*e))?;
    Ok(made)
}

struct Line {
    conn: Conn,
    reader: Reader,
    /// One call.
    framed: Vec<u8>,
    /// When each call on its way was made; replies are matched by count, for every call is the same.
    made: VecDeque<Instant>,
}

struct Desk {
    net: Net,
    lines: Vec<Line>,
    depth: usize,
}

impl Desk {
    fn open(target: &Target, request: Request, load: Load) -> Res<Self> {
        let net = Net::new()?;
        let mut lines = Vec::with_capacity(load.connections);
        for token in 0..load.connections {
            let message = (request.message)(target.dialect, token);
            let mut conn = Setup::open(target)?.caller(&message, &inbox(token))?;
            net.watch(&mut conn, token)?;
            let reader = target.dialect.replies(request.namespace);
            let framed = target.dialect.framed(&message);
            lines.push(Line { conn, reader, framed, made: VecDeque::new() });
        }
        Ok(Self { net, lines, depth: load.depth })
    }

    /// Keeps every line full until the end, then waits for the last replies.
    fn pass(&mut self, until: Until) -> Res<(u64, Samples)> {
        let (mut calls, mut delays, mut ready) = (0, Samples::default(), Vec::new());
        let begin = Instant::now();
        for line in &mut self.lines {
            line.call(self.depth)?;
        }
        loop {
            if self.lines.iter().all(|line| line.made.is_empty()) {
                return Ok((calls, delays));
            }
            self.net.wait(&mut ready)?;
            let open = match until {
                Until::Elapsed(span) => begin.elapsed() < span,
                Until::Calls(enough) => calls < enough,
            };
            for token in &ready {
                let Some(line) = self.lines.get_mut(*token) else { continue };
                let came = line.replies(&mut self.net, &mut delays)?;
                calls += u64::from(came);
                if open {
                    line.call(usize::try_from(came)?)?;
                } else {
                    line.conn.flush()?;
                }
            }
        }
    }

    fn explain(
        &self,
        error: &(dyn std::error::Error + Send + Sync),
    ) -> Box<dyn std::error::Error + Send + Sync> {
        let stray = self.lines.iter().find_map(|line| line.reader.stray());
        let stray = stray.map_or_else(String::new, |s| format!("; a caller got: {s}"));
        format!("{error}{stray}").into()
    }
}

impl Line {
    fn call(&mut self, times: usize) -> Res<()> {
        for _ in 0..times {
            self.conn.queue(&self.framed);
            self.made.push_back(Instant::now());
        }
        self.conn.flush()
    }

    fn replies(&mut self, net: &mut Net, delays: &mut Samples) -> Res<u32> {
        let mut came = 0;
        let reader = &mut self.reader;
        self.conn.drain(&mut net.buffers, |payload| came += reader.count(payload))?;
        let now = Instant::now();
        for _ in 0..came {
            let made = self.made.pop_front().ok_or("more replies than calls")?;
            delays.add(now.duration_since(made));
        }
        Ok(came)
    }
}
