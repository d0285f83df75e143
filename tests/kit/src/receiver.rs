//! A receiver of events for tests: it keeps whatever comes, and answers as it is told.

#![allow(clippy::expect_used, reason = "only tests use it")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long a receiver that hangs does so: longer than any deadline of a test.
const HANGING: Duration = Duration::from_secs(30);

/// What the receiver does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It answers with this status and these further lines of the head.
    Answer(u16, &'static str),
    /// It says nothing.
    Hang,
    /// It ends the connection without a word.
    Cut,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its head, as it was written.
    pub head: String,
    /// Its body.
    pub body: String,
    /// What was done with it.
    pub act: Act,
}

impl Received {
    /// A header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

type Judge = Box<dyn Fn(&Received) -> Option<Act> + Send>;

#[derive(Default)]
struct State {
    plan: VecDeque<Act>,
    judge: Option<Judge>,
    received: Vec<Received>,
    stopped: bool,
}

/// The receiver. It answers 204 unless it is told otherwise.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Listens on loopback; with these settings over TLS.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let (receiver, tls) = (Self { addr, state: Arc::clone(&state) }, tls.map(Arc::new));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&state).stopped {
                    return;
                }
                let (state, tls) = (Arc::clone(&state), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &state));
            }
        });
        receiver
    }

    /// The next requests are treated so, one after the other.
    pub fn plan(&self, acts: impl IntoIterator<Item = Act>) {
        lock(&self.state).plan.extend(acts);
    }

    /// Requests beyond the plan are treated as this says, where it says something.
    pub fn judge(&self, judge: impl Fn(&Received) -> Option<Act> + Send + 'static) {
        lock(&self.state).judge = Some(Box::new(judge));
    }

    /// Everything that has come.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// Bodies of what was delivered and taken.
    pub fn taken(&self) -> Vec<String> {
        let all = self.received();
        let taken = all.into_iter().filter(|it| {
            matches!(it.act, Act::Answer(200..=299, _)) && !it.head.starts_with("OPTIONS ")
        });
        taken.map(|it| it.body).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The thread that listens holds the other one.
        if Arc::strong_count(&self.state) <= 2 {
            lock(&self.state).stopped = true;
            drop(TcpStream::connect(self.addr));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, state: &Mutex<State>) {
    let stream: Box<dyn Stream> = match tls.map(ServerConnection::new) {
        Some(Ok(connection)) => Box::new(StreamOwned::new(connection, stream)),
        Some(Err(_)) => return,
        None => Box::new(stream),
    };
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = request(&mut stream) {
        let act = {
            let mut state = lock(state);
            let mut received = Received { head, body, act: Act::Answer(204, "") };
            let planned = state.plan.pop_front();
            let judged = || state.judge.as_ref().and_then(|judge| judge(&received));
            received.act = planned.or_else(judged).unwrap_or(Act::Answer(204, ""));
            let act = received.act.clone();
            state.received.push(received);
            act
        };
        match act {
            Act::Answer(status, lines) => {
                let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
                let answer = format!("HTTP/1.1 {status} x\r\n{length}{lines}\r\n");
                if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
                drop(stream.get_mut().flush());
            }
            Act::Hang => std::thread::sleep(HANGING),
            Act::Cut => return,
        }
    }
}

fn request(stream: &mut BufReader<Box<dyn Stream>>) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    // Who asks whether it may deliver sends nothing else.
    let length = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}
