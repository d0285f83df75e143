//! One plugin process, from its start to its end.
//!
//! Everything it waits for is one closed enum, `Wake`, and is handled one after the other. It
//! knows neither the process before it nor the one after: that is the supervisor's.

mod ending;
mod hear;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use protocol::Json;
use protocol::link::{Cancel, Frame, Unavailable, method};
use protocol::sandbox::User;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Sleep, sleep_until};

use self::ending::Phase;
pub(crate) use self::ending::{gone, is_interrupted, not_begun};
use super::Context;
use super::calls::{Ask, Calls};
use super::confinement::Confinement;
use super::discover::{Origin, PluginSpec, distrust};
use super::handshake;
use super::health::{Beat, Health};
use super::launch::Policy;
use super::lines::Lines;
use super::process::{Pipes, Process, end_user};
use super::publish::{Publisher, Recorded, Ways};
use super::state_dir::{self, Owner};
use super::status::Counters;
use super::voice::Voice;

/// Bytes that may wait for the plugin to read them before another call is begun: what its pipe
/// holds, so that it always finds work there.
const OUTBOX_BYTES: usize = 64 * 1024;
/// The longest line of standard error that is kept.
const STDERR_LINE_BYTES: usize = 4096;

/// Where calls to one process go. Cheap to clone; outlives the process.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    asks: mpsc::Sender<Ask>,
    places: Arc<Semaphore>,
    left: Arc<Notify>,
}

impl Link {
    /// A place among the calls in flight and those that wait, kept until it is dropped; `None`
    /// when all are taken.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Whether both lead to the same process.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.asks.same_channel(&other.asks)
    }

    /// Says that a caller has given up, once its end of the reply is dropped.
    pub(crate) fn ring(&self) {
        self.left.notify_one();
    }

    /// Hands a call over; it comes back when the process takes no more.
    pub(crate) fn send(&self, ask: Ask) -> Result<(), TrySendError<Ask>> {
        self.asks.try_send(ask)
    }
}

/// What the supervisor holds of a process.
#[derive(Debug)]
pub(crate) struct Grip {
    pub(crate) link: Link,
    orders: watch::Sender<Order>,
}

impl Grip {
    /// Finish the calls there are, take no new ones, then end.
    pub(crate) fn drain(&self) {
        self.orders.send_replace(Order::Drain);
    }

    /// End now, within the plugin's grace.
    pub(crate) fn stop(&self, reason: &str) {
        self.orders.send_replace(Order::Stop(reason.to_owned()));
    }
}

#[derive(Debug, Clone)]
enum Order {
    Serve,
    Drain,
    Stop(String),
}

/// What the supervisor is told while the process lives.
#[derive(Debug)]
pub(crate) enum News {
    /// There is a process of this id.
    Started(Option<u32>),
    /// It has answered the handshake.
    Ready(Terms),
    /// It takes calls, but something is wrong with it.
    Degraded(String),
    /// What was wrong is right again.
    Recovered,
    /// It broke the rules and is being ended.
    Ending(String),
}

/// On what terms a process serves.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// What it is confined to; `None` if it is not.
    pub(crate) confinement: Option<Box<Confinement>>,
    /// What of its manifest it cannot do here.
    pub(crate) unavailable: Vec<Unavailable>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct End {
    /// For people.
    pub(crate) reason: String,
    /// How long it had been ready.
    pub(crate) ran: Duration,
}

/// What a process needs to know.
pub(crate) struct Setup {
    pub(crate) spec: Arc<PluginSpec>,
    pub(crate) context: Arc<Context>,
    pub(crate) counters: Arc<Counters>,
    /// Tells this process from others of the same plugin.
    pub(crate) generation: u64,
    pub(crate) news: mpsc::Sender<(u64, News)>,
    /// How many processes of the plugin there are.
    pub(crate) living: Arc<AtomicUsize>,
}

/// The other ends of a [`Grip`].
pub(crate) struct Inbox {
    asks: mpsc::Receiver<Ask>,
    left: Arc<Notify>,
    orders: watch::Receiver<Order>,
}

/// A grip for a process that [`run`] is about to start.
pub(crate) fn grip(spec: &PluginSpec) -> (Grip, Inbox) {
    // Twice: so many in flight, and so many that wait.
    let places = spec.manifest.limits.calls.saturating_mul(2).min(Semaphore::MAX_PERMITS / 2);
    let (asks, asked) = mpsc::channel(places);
    let (orders, ordered) = watch::channel(Order::Serve);
    let left = Arc::<Notify>::default();
    let inbox = Inbox { asks: asked, left: Arc::clone(&left), orders: ordered };
    let link = Link { asks, places: Arc::new(Semaphore::new(places)), left };
    (Grip { link, orders }, inbox)
}

/// Starts the process and serves it until it is gone, with all that it has started.
pub(crate) async fn run(setup: Setup, inbox: Inbox) -> End {
    let (living, context) = (Arc::clone(&setup.living), Arc::clone(&setup.context));
    let is_first = living.fetch_add(1, Ordering::SeqCst) == 0;
    let (user, end) = match start(&setup, is_first).await {
        Ok((policy, process, pipes)) => {
            (policy.user, Instance::new(setup, inbox, policy, process, pipes).live().await)
        }
        Err(reason) => (None, End { reason, ran: Duration::ZERO }),
    };
    let is_last = living.fetch_sub(1, Ordering::SeqCst) == 1;
    if let (true, Some(uid), Some(launcher)) = (is_last, user, &context.settings.launcher) {
        end_user(launcher, uid).await;
    }
    end
}

/// A process, and what it is confined to.
async fn start(setup: &Setup, is_first: bool) -> Result<(Policy, Process, Pipes), String> {
    let (spec, settings) = (&setup.spec, &setup.context.settings);
    // Somebody may have changed the files since they were found.
    let is_strange = spec.origin == Origin::Directory && settings.as_root;
    if let Some(reason) = is_strange.then(|| distrust(spec)).flatten() {
        return Err(reason);
    }
    let has_own_user =
        settings.as_root && settings.launcher.is_some() && spec.manifest.sandbox.user == User::Own;
    let owner = if has_own_user { Owner::Own } else { Owner::Daemon };
    let (root, id) = (settings.state_dir.clone(), spec.manifest.id.clone());
    let state_dir = state_dir::path(&root, &id);
    // It may hold a lot that has to change hands.
    let prepared = spawn_blocking(move || state_dir::prepare(&root, &id, owner)).await;
    let user = prepared
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| format!("its state directory cannot be made: {error}"))?;
    let mut policy = Policy::of(spec, state_dir, user);
    policy.end_others = is_first;
    let (process, pipes) = Process::start(spec, settings.launcher.as_deref(), &policy)
        .map_err(|error| format!("its program cannot be started: {error}"))?;
    Ok((policy, process, pipes))
}

struct Instance {
    setup: Setup,
    policy: Policy,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    said: Lines,
    muttered: Lines,
    /// Bytes on their way to the plugin.
    outbox: BytesMut,
    asks: mpsc::Receiver<Ask>,
    asks_over: bool,
    /// Rung when callers have given up.
    left: Arc<Notify>,
    orders: watch::Receiver<Order>,
    calls: Calls,
    publisher: Publisher,
    health: Health,
    voice: Voice,
    phase: Phase,
    /// Why it ends, once that is settled.
    ending: Option<String>,
    /// What the launcher said last, before it became the plugin or failed to.
    last_of_launcher: Option<String>,
    /// The launcher ended and did not become the plugin.
    could_not_begin: bool,
    /// Lines that were no protocol.
    garbage: u32,
    last_number: u64,
    /// It has closed its standard output and should be gone by then.
    mute_until: Option<Instant>,
    ready_since: Option<Instant>,
    /// Rings at the moment of [`Instance::due`] or before.
    alarm: Pin<Box<Sleep>>,
}

/// Everything a process is waited for.
enum Wake {
    /// So many bytes came from its standard output; none at its end.
    Said(io::Result<usize>),
    /// The same from its standard error.
    Muttered(io::Result<usize>),
    /// So many bytes went to its standard input.
    Wrote(io::Result<usize>),
    /// A call; none when no more will come.
    Asked(Option<Ask>),
    /// Callers have given up.
    Left,
    /// Somebody asks for the end of these calls and still waits for their answers.
    AskedToEnd(Vec<String>),
    /// An event is on record, or (none) there is room for the next one.
    Published(Option<Recorded>),
    /// The process has ended.
    Exited(io::Result<ExitStatus>),
    /// The supervisor wants something.
    Ordered,
    /// The moment of [`Instance::due`] has come.
    Due,
}

impl Instance {
    fn new(setup: Setup, inbox: Inbox, policy: Policy, process: Process, pipes: Pipes) -> Self {
        let manifest = &setup.spec.manifest;
        let (limits, now) = (&manifest.limits, Instant::now());
        let counters = Arc::clone(&setup.counters);
        let (bus, alarm) = (setup.context.bus.clone(), setup.context.settings.alarm.clone());
        Self {
            policy,
            process,
            stdin: Some(pipes.stdin),
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            said: Lines::new(limits.line_bytes),
            muttered: Lines::new(STDERR_LINE_BYTES),
            outbox: BytesMut::new(),
            asks: inbox.asks,
            asks_over: false,
            left: inbox.left,
            orders: inbox.orders,
            calls: Calls::new(limits.calls),
            publisher: Publisher::new(manifest, Ways { bus, alarm }, counters),
            health: Health::new(&manifest.health, now),
            voice: Voice::new(&manifest.id),
            phase: Phase::Starting { until: now + Duration::from_millis(limits.start_ms) },
            ending: None,
            last_of_launcher: None,
            could_not_begin: false,
            garbage: 0,
            last_number: handshake::NUMBER,
            mute_until: None,
            ready_since: None,
            alarm: Box::pin(sleep_until(now)),
            setup,
        }
    }

    async fn live(mut self) -> End {
        self.tell(News::Started(self.process.pid()));
        match handshake::question(&self.setup.spec, &self.setup.context) {
            Some(frame) => self.send(&frame),
            None => self.abort("the daemon could not write the handshake".to_owned()),
        }
        loop {
            self.hear_lines();
            self.begin_calls();
            self.finish_draining();
            if self.is_over() {
                return self.finish().await;
            }
            let wake = self.next().await;
            self.handle(wake);
        }
    }

    async fn next(&mut self) -> Wake {
        let now = Instant::now();
        self.set_alarm(now);
        let is_reading = self.stdout.is_some() && self.has_room(now);
        if self.stdout.is_some() && !is_reading {
            self.health.pause();
        }
        let is_muttering = self.stderr.is_some();
        let is_writing = self.stdin.is_some() && !self.outbox.is_empty();
        let is_alive = !matches!(self.phase, Phase::Gone { .. });
        tokio::select! {
            read = read_some(&mut self.stdout, &mut self.said), if is_reading => Wake::Said(read),
            read = read_some(&mut self.stderr, &mut self.muttered), if is_muttering => {
                Wake::Muttered(read)
            }
            wrote = write_some(&mut self.stdin, &self.outbox), if is_writing => Wake::Wrote(wrote),
            ask = self.asks.recv(), if !self.asks_over => Wake::Asked(ask),
            () = self.left.notified() => Wake::Left,
            calls = poll_fn(|context| self.calls.poll_asked_to_end(context)) => {
                Wake::AskedToEnd(calls)
            }
            recorded = self.publisher.next() => Wake::Published(recorded),
            status = self.process.exited(), if is_alive => Wake::Exited(status),
            Ok(()) = self.orders.changed() => Wake::Ordered,
            () = self.alarm.as_mut() => Wake::Due,
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Said(Ok(1..)) => {}
            Wake::Said(end) => self.stdout_ended(end.err()),
            Wake::Muttered(Ok(1..)) => self.relay_stderr(),
            Wake::Muttered(_) => self.stderr = None,
            Wake::Wrote(Ok(bytes)) => self.outbox.advance(bytes),
            // It reads no more. Whether that is its end, its exit will tell.
            Wake::Wrote(Err(_)) => self.close_stdin(),
            Wake::Asked(Some(ask)) => {
                self.take_in(ask);
                self.take_in_more();
            }
            Wake::Asked(None) => self.asks_over = true,
            Wake::Left => {
                let calls = self.calls.given_up();
                self.cancel(calls);
            }
            Wake::AskedToEnd(calls) => self.cancel(calls),
            Wake::Published(recorded) => self.settle(recorded),
            Wake::Exited(status) => self.exited(status),
            Wake::Ordered => self.obey(),
            Wake::Due => self.look_at_the_clock(),
        }
    }

    /// Whether what the plugin says next can be taken in. When not, its pipe fills and it waits.
    fn has_room(&self, now: Instant) -> bool {
        let heard = match self.phase {
            Phase::Gone { .. } => self.publisher.has_memory(),
            _ => self.publisher.has_room(now),
        };
        // Calls are begun only while the outbox is small, so what is beyond the longest one are
        // answers that the plugin asked for and does not read.
        let most = self.setup.spec.manifest.limits.line_bytes.saturating_add(2 * OUTBOX_BYTES);
        heard && self.outbox.len() <= most
    }

    /// The next moment at which something has to happen.
    fn due(&self, now: Instant) -> Instant {
        let far = now + Duration::from_hours(1);
        let health = if self.phase.is_serving() { self.health.due() } else { far };
        let pause = self.publisher.pause_until(now).unwrap_or(far);
        let mute = self.mute_until.unwrap_or(far);
        self.phase.until().unwrap_or(far).min(health).min(pause).min(mute)
    }

    /// An alarm that rings too early is set anew then; setting it at every turn would cost more.
    fn set_alarm(&mut self, now: Instant) {
        let due = self.due(now);
        if due < self.alarm.deadline() || self.alarm.is_elapsed() {
            self.alarm.as_mut().reset(due);
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.phase.until().is_some_and(|until| until <= now) {
            self.escalate(now);
        }
        if self.mute_until.take_if(|until| *until <= now).is_some() {
            self.abort("it closed its standard output".to_owned());
        }
        if !self.phase.is_serving() {
            return;
        }
        match self.health.look(now) {
            Beat::Wait => {}
            Beat::Ask => {
                let number = self.request(method::HEALTH, Json::default());
                self.health.asked(number, now);
            }
            Beat::Missed => {
                self.tell(News::Degraded("it has not answered a health question".to_owned()));
            }
            Beat::GiveUp => self.abort("it answered no health question any more".to_owned()),
        }
    }

    fn take_in(&mut self, ask: Ask) {
        self.calls.push(ask);
        if self.ending.is_some() {
            self.calls.refuse_waiting(&not_begun(&self.setup.spec.manifest.id));
        }
    }

    /// Takes in the calls that are here already, so that the plugin is written to once. There are
    /// no more of them than places.
    fn take_in_more(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            self.take_in(ask);
        }
    }

    fn begin_calls(&mut self) {
        while self.phase.is_serving() && self.outbox.len() <= OUTBOX_BYTES {
            let Some(ask) = self.calls.next() else { return };
            let number = self.request(method::CALL, ask.params.clone());
            self.calls.sent(number, ask);
        }
    }

    fn cancel(&mut self, calls: Vec<String>) {
        for request_id in calls {
            if let Ok(params) = Json::of(&Cancel { request_id }) {
                self.send(&Frame::notification(method::CANCEL, params));
            }
        }
    }

    fn settle(&mut self, mut recorded: Option<Recorded>) {
        while let Some(event) = recorded {
            let frames = self.publisher.settle(event);
            self.send_all(&frames);
            recorded = self.publisher.next_already();
        }
    }

    fn request(&mut self, method: &str, params: Json) -> u64 {
        self.last_number += 1;
        self.send(&Frame::request(self.last_number, method, params));
        self.last_number
    }

    fn send_all(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.send(frame);
        }
    }

    fn send(&mut self, frame: &Frame) {
        if self.stdin.is_some() {
            self.outbox.extend_from_slice(frame.line().as_bytes());
            self.outbox.extend_from_slice(b"\n");
        }
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
        self.outbox.clear();
    }

    fn tell(&self, news: News) {
        // The supervisor takes news whenever this process is waited for, so there is always room.
        if let Err(error) = self.setup.news.try_send((self.setup.generation, news)) {
            tracing::error!(plugin = self.setup.spec.manifest.id, %error, "news were lost");
        }
    }
}

async fn read_some<R: AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    into: &mut Lines,
) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read_buf(&mut into.space()).await,
        None => Ok(0),
    }
}

async fn write_some(pipe: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.write(bytes).await,
        None => Ok(0),
    }
}
