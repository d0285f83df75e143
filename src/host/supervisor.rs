//! One plugin: starts its process, starts it again, gives it up, replaces it by a newer one.
//!
//! One task for each plugin. The processes themselves are futures within it, one of which is
//! current; a newer one may be on its way to replace it, and older ones may finish their calls.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::{Fault, FaultKind};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::announce::{Announcer, Change};
use super::backoff::{BackOff, Verdict};
use super::discover::PluginSpec;
use super::instance::{self, End, Grip, News, Setup, Terms};
use super::status::{Counters, Face, PluginStatus, State};

/// Wishes of people that wait for a supervisor, which takes them at once.
pub(crate) const COMMANDS_MAX: usize = 8;
/// News of processes that wait for their supervisor, which takes them at once.
const NEWS_MAX: usize = 16;

/// What a plugin can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Run. Also the way out of quarantine.
    Start,
    /// End, and stay so.
    Stop,
    /// End, then run. Calls in flight fail; see `Reload`.
    Restart,
    /// Run a new process, with the manifest as it is now, and let the old one finish its calls.
    Reload,
}

/// A wish, and where its outcome goes.
#[derive(Debug)]
pub(crate) enum Command {
    /// A person's. `spec` is what is to run from now on, if that has been read anew.
    Do { verb: Verb, spec: Option<Arc<PluginSpec>>, reply: Reply },
    /// The host's: its manifest has changed.
    Renew(Arc<PluginSpec>),
    /// The host's: end for good.
    Retire(&'static str),
}

/// Where the outcome of a wish goes.
pub(crate) type Reply = oneshot::Sender<Result<PluginStatus, Fault>>;

/// What a supervisor needs to know.
pub(crate) struct Post {
    pub(crate) context: Arc<Context>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) face: watch::Sender<Face>,
    pub(crate) announcer: Announcer,
    /// Told when another manifest is in force.
    pub(crate) manifest_changed: Arc<Notify>,
}

/// Supervises one plugin until it is retired.
pub(crate) async fn run(post: Post) {
    let mut supervisor = Supervisor::new(post);
    supervisor.begin("it is being started");
    while !(supervisor.is_retired && supervisor.processes.is_empty()) {
        let wake = supervisor.next().await;
        supervisor.handle(wake);
    }
}

type Process = Pin<Box<dyn Future<Output = (u64, End)> + Send>>;

struct Supervisor {
    post: Post,
    spec: Arc<PluginSpec>,
    processes: FuturesUnordered<Process>,
    /// The grip on every process that lives, by its generation.
    grips: BTreeMap<u64, Grip>,
    /// The one that answers calls, or will.
    current: Option<u64>,
    /// The one that is to replace it.
    next: Option<Next>,
    last_generation: u64,
    /// How many of the processes live.
    living: Arc<AtomicUsize>,
    news: mpsc::Receiver<(u64, News)>,
    /// Copied for every process.
    news_sender: mpsc::Sender<(u64, News)>,
    backoff: BackOff,
    /// When to start again.
    retry_at: Option<Instant>,
    will: Will,
    is_retired: bool,
    /// Who waits for the outcome of the last wish.
    asker: Option<Reply>,
}

/// A process on its way to become the current one.
struct Next {
    generation: u64,
    spec: Arc<PluginSpec>,
    pid: Option<u32>,
}

/// What is wanted of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Will {
    Run,
    Stop,
    /// Stop, then run.
    Restart,
}

/// Everything a supervisor waits for.
enum Wake {
    Command(Option<Command>),
    News(u64, News),
    Ended(u64, End),
    Retry,
}

impl Supervisor {
    fn new(post: Post) -> Self {
        let spec = Arc::clone(&post.face.borrow().spec);
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        Self {
            post,
            spec,
            processes: FuturesUnordered::new(),
            grips: BTreeMap::new(),
            current: None,
            next: None,
            last_generation: 0,
            living: Arc::default(),
            news,
            news_sender,
            backoff: BackOff::default(),
            retry_at: None,
            will: Will::Run,
            is_retired: false,
            asker: None,
        }
    }

    async fn next(&mut self) -> Wake {
        let retry_at = self.retry_at;
        let retry = async {
            match retry_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.post.commands.recv(), if !self.is_retired => Wake::Command(command),
            Some((generation, news)) = self.news.recv() => Wake::News(generation, news),
            Some((generation, end)) = self.processes.next() => Wake::Ended(generation, end),
            () = retry => Wake::Retry,
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Command(Some(Command::Do { verb, spec, reply })) => {
                self.replace_asker(reply);
                self.obey(verb, spec);
            }
            Wake::Command(Some(Command::Renew(spec))) if self.will == Will::Stop => {
                self.put_in_force(spec);
            }
            Wake::Command(Some(Command::Renew(spec))) => self.obey(Verb::Reload, Some(spec)),
            Wake::Command(Some(Command::Retire(reason))) => self.retire(reason),
            Wake::Command(None) => self.retire("the daemon has let go of it"),
            Wake::News(generation, news) => self.hear(generation, news),
            Wake::Ended(generation, end) => self.ended(generation, &end),
            Wake::Retry => self.begin("it is being started again"),
        }
    }

    fn obey(&mut self, verb: Verb, spec: Option<Arc<PluginSpec>>) {
        self.backoff.forget();
        let is_running = self.current.is_some() && self.will == Will::Run;
        let is_up = is_running && self.post.face.borrow().link.is_some();
        match verb {
            Verb::Start if is_up => self.answer_status(),
            // The start that is under way will be the answer.
            Verb::Start if is_running => {}
            Verb::Reload if is_running => self.begin_next(spec),
            Verb::Stop => {
                self.stop_all("somebody asked it to stop");
                self.answer_if_still();
            }
            Verb::Start | Verb::Restart | Verb::Reload => {
                self.spec = spec.unwrap_or_else(|| Arc::clone(&self.spec));
                if self.current.is_none() {
                    return self.begin("somebody asked for it");
                }
                self.stop_all("somebody asked for a restart");
                self.will = Will::Restart;
            }
        }
    }

    fn hear(&mut self, generation: u64, news: News) {
        if self.current != Some(generation) {
            return self.hear_next(generation, news);
        }
        match news {
            News::Started(pid) => self.post.face.send_modify(|face| face.pid = pid),
            // Its end is under way; what it still says changes nothing.
            _ if self.will != Will::Run => {}
            News::Ready(terms) => self.serve("it takes calls", terms),
            News::Degraded(reason) => self.change(State::Degraded, &reason),
            News::Recovered => self.change(State::Ready, "it answers again"),
            News::Ending(reason) => {
                self.post.face.send_modify(|face| face.link = None);
                self.change(State::Stopping, &reason);
            }
        }
    }

    fn hear_next(&mut self, generation: u64, news: News) {
        match (news, &mut self.next) {
            (News::Started(pid), Some(next)) if next.generation == generation => next.pid = pid,
            (News::Ready(terms), Some(next)) if next.generation == generation => {
                self.replace_current(terms);
            }
            // One that has been replaced itself, and is ending.
            _ => {}
        }
    }

    fn ended(&mut self, generation: u64, end: &End) {
        self.grips.remove(&generation);
        if self.next.as_ref().is_some_and(|next| next.generation == generation) {
            self.next_failed(end);
        } else if self.current == Some(generation) {
            self.current_ended(end);
        }
        if self.will == Will::Stop {
            self.answer_if_still();
        }
    }

    /// The current process has ended: as wanted, or it has to be seen what comes next.
    fn current_ended(&mut self, end: &End) {
        self.current = None;
        self.post.face.send_modify(Face::ended);
        match self.will {
            Will::Restart => self.begin("somebody asked for a restart"),
            Will::Stop => self.change(State::Inactive, &end.reason),
            Will::Run => match self.next.take() {
                None => self.failed(end),
                Some(next) => {
                    self.adopt(next);
                    let reason = format!("the process before it ended: {}", end.reason);
                    self.change(State::Starting, &reason);
                }
            },
        }
    }

    fn failed(&mut self, end: &End) {
        let verdict = self.backoff.ended(&self.spec.manifest.restart, end.ran, Instant::now());
        match verdict {
            Verdict::Wait(pause) => {
                self.retry_at = Some(Instant::now() + pause);
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.post.face.send_modify(|face| face.pause_ms = Some(pause_ms));
                let reason = format!("{}; it starts again in {pause_ms} ms", end.reason);
                self.change(State::Failed, &reason);
            }
            Verdict::Quarantine => {
                let reason = format!("{}; it ended too often and stays down", end.reason);
                self.change(State::Quarantined, &reason);
            }
        }
        let fault = down(&self.post.face.borrow());
        self.answer(Err(fault));
    }

    /// A new process as the current one.
    fn begin(&mut self, reason: &str) {
        self.retry_at = None;
        self.will = Will::Run;
        let spec = Arc::clone(&self.spec);
        let generation = self.spawn(Arc::clone(&spec));
        self.adopt(Next { generation, spec, pid: None });
        self.change(State::Starting, reason);
    }

    /// A new process beside the current one.
    fn begin_next(&mut self, spec: Option<Arc<PluginSpec>>) {
        let older = self.next.take();
        if let Some(grip) = older.and_then(|older| self.grips.get(&older.generation)) {
            grip.stop("an even newer process takes its place");
        }
        let spec = spec.unwrap_or_else(|| Arc::clone(&self.spec));
        let generation = self.spawn(Arc::clone(&spec));
        self.next = Some(Next { generation, spec, pid: None });
    }

    fn spawn(&mut self, spec: Arc<PluginSpec>) -> u64 {
        self.last_generation += 1;
        let generation = self.last_generation;
        let (grip, inbox) = instance::grip(&spec);
        self.grips.insert(generation, grip);
        let (context, counters) = (Arc::clone(&self.post.context), Arc::clone(&self.post.counters));
        let news = self.news_sender.clone();
        let living = Arc::clone(&self.living);
        let setup = Setup { spec, context, counters, generation, news, living };
        self.processes
            .push(Box::pin(async move { (generation, instance::run(setup, inbox).await) }));
        if generation > 1 {
            self.post.face.send_modify(|face| face.restarts += 1);
        }
        generation
    }

    /// From now on this process is the current one.
    fn adopt(&mut self, next: Next) {
        self.current = Some(next.generation);
        self.post.face.send_modify(|face| (face.pid, face.confinement) = (next.pid, None));
        self.put_in_force(next.spec);
    }

    fn put_in_force(&mut self, spec: Arc<PluginSpec>) {
        self.spec = Arc::clone(&spec);
        if *spec != *self.post.face.borrow().spec {
            self.post.face.send_modify(|face| face.spec = spec);
            self.post.manifest_changed.notify_one();
        }
    }

    /// The newer process has answered the handshake: calls go there, the old one may finish.
    fn replace_current(&mut self, terms: Terms) {
        let Some(next) = self.next.take() else { return };
        if let Some(old) = self.current.and_then(|old| self.grips.get(&old)) {
            old.drain();
        }
        self.adopt(next);
        self.serve("a new process has taken over", terms);
    }

    fn next_failed(&mut self, end: &End) {
        self.next = None;
        let sentence = format!("the new process did not start: {}", end.reason);
        tracing::warn!(plugin = self.spec.manifest.id, sentence);
        self.answer(Err(Fault::new(FaultKind::Failed, sentence)
            .with_hint("the old process goes on as before; the daemon's log may say more")));
    }

    fn serve(&mut self, reason: &str, terms: Terms) {
        let link = self.current.and_then(|current| self.grips.get(&current));
        let link = link.map(|grip| grip.link.clone());
        self.post.face.send_modify(|face| {
            (face.link, face.confinement) = (link, terms.confinement);
            face.unavailable = terms.unavailable;
        });
        self.change(State::Ready, reason);
        // Who asked for a newer process waits for that one.
        if self.next.is_none() {
            self.answer_status();
        }
    }

    /// Ends whatever runs or is about to.
    fn stop_all(&mut self, reason: &str) {
        self.retry_at = None;
        self.next = None;
        for grip in self.grips.values() {
            grip.stop(reason);
        }
        self.post.face.send_modify(|face| face.link = None);
        let state = self.post.face.borrow().state;
        match self.current {
            Some(_) if state != State::Stopping => self.change(State::Stopping, reason),
            None if state != State::Inactive => self.change(State::Inactive, reason),
            _ => {}
        }
        self.will = Will::Stop;
    }

    fn retire(&mut self, reason: &str) {
        self.is_retired = true;
        self.post.commands.close();
        self.stop_all(reason);
    }

    /// Enters a state, for everybody to see.
    fn change(&self, to: State, reason: &str) {
        let since = self.post.context.settings.clock.now();
        let mut from = to;
        self.post.face.send_modify(|face| {
            from = std::mem::replace(&mut face.state, to);
            reason.clone_into(&mut face.reason);
            face.since = since;
            if to != State::Failed {
                face.pause_ms = None;
            }
        });
        let face = self.post.face.borrow();
        self.post.announcer.announce(Change {
            plugin: self.spec.manifest.id.clone(),
            from,
            to,
            reason: reason.to_owned(),
            pid: face.pid,
            restarts: face.restarts,
        });
    }

    fn replace_asker(&mut self, asker: Reply) {
        self.answer(Err(Fault::new(FaultKind::Conflict, "somebody asked for something else")));
        self.asker = Some(asker);
    }

    fn answer_if_still(&mut self) {
        if self.grips.is_empty() {
            self.answer_status();
        }
    }

    fn answer_status(&mut self) {
        let status = self.post.face.borrow().status(&self.post.counters);
        self.answer(Ok(status));
    }

    fn answer(&mut self, outcome: Result<PluginStatus, Fault>) {
        if let Some(asker) = self.asker.take()
            && asker.send(outcome).is_err()
        {
            tracing::debug!(plugin = self.spec.manifest.id, "nobody waits for the outcome");
        }
    }
}

/// What a caller is told whose plugin is not there.
pub(crate) fn down(face: &Face) -> Fault {
    let id = &face.spec.manifest.id;
    let sentence = format!("the plugin {id} is {}: {}", face.state.as_str(), face.reason);
    let fault = Fault::new(FaultKind::Unavailable, sentence);
    match face.state {
        State::Starting | State::Stopping => fault.with_retry_after_ms(STARTING_RETRY_MS),
        State::Failed => fault.with_retry_after_ms(face.pause_ms.unwrap_or(STARTING_RETRY_MS)),
        _ => fault.with_hint(format!("start it with `sysadmctl plugins start {id}`")),
    }
}

/// Milliseconds a plugin usually needs to start.
const STARTING_RETRY_MS: u64 = 200;
