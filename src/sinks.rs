//! Floor 4: delivers events to receivers of the administrator's choice.
//!
//! It knows how far each sink has come, when to try again and when to give up. It must not know how
//! an event looks on the wire: it is handed [`Words`]. `daemon` begins it, `dispatch` asks it how it
//! goes. Each sink has a task of its own, which reads the log behind a place that is moved only when
//! the receiver has said that it has what comes before.

mod backlog;
mod carrier;
mod delivery;
mod post;
mod program;
pub(crate) mod verdict;
mod wanted;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::{Cursor, Draft, Event, Fault, FaultKind, Gap, Json, Start, Time};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::bus::{Bus, own_class};
use crate::clock::Clock;
use crate::config::{Sink, SinkStart};
use crate::lifecycle::Tasks;
use crate::store::{Store, StoreError, StoredSink};

use carrier::Carrier;
use delivery::Delivery;
use wanted::Wanted;

pub use program::{Ended, Program, Programs, Running};

/// Classes of what happens to a sink; the first is also the kind of the alert.
const FAILING: &str = "sink.failing";
const RECOVERED: &str = "sink.recovered";
const RETIRED: &str = "sink.retired";

/// How deliveries are worded.
#[derive(Debug)]
pub struct Words {
    /// The content type of one event.
    pub structured: &'static str,
    /// The content type of an array of them.
    pub batch: &'static str,
    /// Words something for one sink; `None`: there is nothing to say.
    pub text: fn(&News<'_>, &Route<'_>) -> Option<Vec<u8>>,
    /// The same event, its attributes as headers.
    pub binary: fn(&str) -> Option<Parts>,
}

/// What a sink is told.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// Something that happened.
    Event(&'a Event),
    /// A stretch that is missing.
    Gap(&'a Gap),
    /// Nothing: it is tried, at this time.
    Test(Time),
}

/// Where something is told, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The sink's name.
    pub name: &'a str,
    /// What it is.
    pub settings: &'a Sink,
    /// Where in the log what is told stands.
    pub cursor: &'a Cursor,
    /// This machine's name.
    pub host: &'a str,
}

/// An event whose attributes are headers.
#[derive(Debug)]
pub struct Parts {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What the body is.
    pub content_type: Option<String>,
    /// The data.
    pub body: Vec<u8>,
}

/// What every sink stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Keeps the places.
    pub store: Arc<Store>,
    /// The log, and where what happens to a sink is said.
    pub bus: Bus,
    /// Where what fails is wrong.
    pub alarm: Alarm,
    /// The time.
    pub clock: Clock,
    /// This machine's name.
    pub host: String,
    /// How deliveries are worded.
    pub words: &'static Words,
    /// Runs what delivers by a program.
    pub programs: Programs,
    /// Where connections are kept going.
    pub tasks: Tasks,
}

/// What a sink is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Until somebody resumes it.
    Paused,
    /// The receiver has said that it is gone for good.
    Retired,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Retired => "retired",
        }
    }

    fn of(word: &str) -> Self {
        [Self::Paused, Self::Retired]
            .into_iter()
            .find(|it| it.as_str() == word)
            .unwrap_or(Self::Running)
    }
}

/// How a sink is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SinkStatus {
    /// As the configuration calls it.
    pub name: String,
    /// `running`, `failing`, `paused` or `retired`.
    pub state: &'static str,
    /// `cloudevents`, or for alerts `webhook`, `mail`, `ntfy`, `command`, `journal` or `syslog`.
    pub kind: &'static str,
    /// `structured`, `binary` or `batch`; of those for alerts `structured`.
    pub mode: &'static str,
    /// Where it is: scheme, host and port, the recipients, or the program.
    pub place: String,
    /// Everything up to this event was delivered, or is not wanted.
    pub seq: u64,
    /// Events of the log behind it, wanted or not.
    pub behind: u64,
    /// Events delivered since the daemon started.
    pub delivered: u64,
    /// When something was last delivered since the daemon started.
    pub last: Option<Time>,
    /// Since when it is known to fail.
    pub failing: Option<Time>,
    /// What went wrong last, if nothing was delivered since.
    pub trouble: Option<String>,
}

/// What a sink answered when it was tried.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SinkTest {
    /// Which one.
    pub sink: String,
    /// The HTTP status, or the exit status of the program; 0 when it was taken without a word.
    pub status: u16,
    /// How long it took.
    pub milliseconds: u64,
}

/// All sinks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sinks(Arc<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    settings: Sink,
    ground: Ground,
    shared: Arc<Shared>,
}

/// What a sink's task and whoever asks for it have in common.
#[derive(Debug)]
struct Shared {
    name: String,
    state: watch::Sender<State>,
    progress: Mutex<Progress>,
    /// Held while it is written, so that the file is never older than what was written last.
    stored: tokio::sync::Mutex<StoredSink>,
}

#[derive(Debug, Default)]
struct Progress {
    seq: u64,
    delivered: u64,
    last: Option<Time>,
    failing: Option<Time>,
    trouble: Option<String>,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept of it; durable when this returns.
    async fn keep(
        &self,
        store: &Store,
        change: impl FnOnce(&mut StoredSink),
    ) -> Result<(), StoreError> {
        let mut stored = self.stored.lock().await;
        let mut changed = stored.clone();
        change(&mut changed);
        store.sink_write(&self.name, changed.clone()).await?;
        *stored = changed;
        Ok(())
    }
}

impl Sinks {
    /// Begins to deliver to each of these.
    pub async fn begin(sinks: &BTreeMap<String, Sink>, ground: Ground) -> Self {
        close_alerts_of_the_gone(sinks, &ground).await;
        let mut entries = BTreeMap::new();
        for (name, settings) in sinks {
            let stored = place(name, settings, &ground).await;
            let shared = Arc::new(Shared {
                name: name.clone(),
                state: watch::Sender::new(State::of(&stored.state)),
                progress: Mutex::new(Progress {
                    seq: stored.cursor.seq,
                    failing: stored.failing,
                    ..Progress::default()
                }),
                stored: tokio::sync::Mutex::new(stored.clone()),
            });
            let entry = Entry { settings: settings.clone(), ground: ground.clone(), shared };
            let delivery = Delivery::new(&entry, stored.cursor);
            let stop = ground.tasks.stop_signal();
            ground.tasks.spawn(async move {
                tokio::select! {
                    () = stop.wait() => {}
                    () = delivery.run() => {}
                }
            });
            entries.insert(name.clone(), entry);
        }
        Self(Arc::new(entries))
    }

    /// How each of them is.
    pub fn list(&self) -> Vec<SinkStatus> {
        self.0.values().map(Entry::status).collect()
    }

    /// Delivers nothing more to it until it is resumed.
    ///
    /// # Errors
    /// `not-found`, and `unavailable` when it cannot be noted.
    pub async fn pause(&self, name: &str) -> Result<SinkStatus, Fault> {
        self.order(name, State::Paused).await
    }

    /// Goes on delivering to it.
    ///
    /// # Errors
    /// `not-found`, and `unavailable` when it cannot be noted.
    pub async fn resume(&self, name: &str) -> Result<SinkStatus, Fault> {
        self.order(name, State::Running).await
    }

    /// Sends it an event made for that, past whatever waits.
    ///
    /// # Errors
    /// `not-found`, and `failed` when it does not answer.
    pub async fn test(&self, name: &str) -> Result<SinkTest, Fault> {
        let Entry { settings, ground, .. } = self.entry(name)?;
        let begun = tokio::time::Instant::now();
        let unanswered = |why: String| {
            let sentence = format!("the sink {name} has not answered: {why}");
            Fault::new(FaultKind::Failed, sentence)
        };
        let news = News::Test(ground.clock.now());
        let text = Wanted::new(name, settings).worded(&news, &ground.bus.head(), ground);
        let text = text.ok_or_else(Fault::internal)?;
        let answer = Carrier::new(settings, ground).carry(&[&text]).await.map_err(unanswered)?;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(SinkTest { sink: name.to_owned(), status: answer.status(), milliseconds })
    }

    async fn order(&self, name: &str, state: State) -> Result<SinkStatus, Fault> {
        let entry = self.entry(name)?;
        let word = |stored: &mut StoredSink| state.as_str().clone_into(&mut stored.state);
        let noted = entry.shared.keep(&entry.ground.store, word).await;
        noted.map_err(|error| unnoted(&error))?;
        entry.shared.state.send_replace(state);
        // That nothing is delivered is as it is wanted while it is paused.
        if entry.shared.progress().failing.is_some() {
            match state {
                State::Running => entry.ground.alarm_for(name),
                _ => entry.ground.alarm.clear(FAILING, &subject(name)),
            }
        }
        Ok(entry.status())
    }

    fn entry(&self, name: &str) -> Result<&Entry, Fault> {
        self.0.get(name).ok_or_else(|| {
            Fault::not_found(format!("there is no sink {name:?}"))
                .with_hint("sinks are in the configuration, as [sinks.NAME]")
        })
    }
}

impl Entry {
    fn status(&self) -> SinkStatus {
        let state = *self.shared.state.borrow();
        let progress = self.shared.progress();
        let Progress { seq, delivered, last, failing, .. } = *progress;
        let is_failing = state == State::Running && failing.is_some();
        SinkStatus {
            name: self.shared.name.clone(),
            state: if is_failing { "failing" } else { state.as_str() },
            kind: self.settings.kind.as_str(),
            mode: self.settings.mode.as_str(),
            place: self.settings.place(),
            seq,
            behind: self.ground.bus.head().seq.saturating_sub(seq),
            delivered,
            last,
            failing,
            trouble: progress.trouble.clone(),
        }
    }
}

impl Ground {
    fn alarm_for(&self, sink: &str) {
        self.alarm.raise(FAILING, &subject(sink), format!("The sink {sink} takes nothing"));
    }

    /// Says what has happened to a sink, in an event of a class of ours. A failure is logged: there is
    /// nobody to tell.
    async fn say(&self, class: &str, sink: &str, fill: impl FnOnce(&mut Draft, &mut Value)) {
        let Some(own) = own_class(class) else { return };
        let declared = &own.declared;
        let mut draft = Draft::new(declared.class.clone());
        draft.subject = subject(sink);
        draft.priority = Some(declared.priority_default);
        let mut data = serde_json::json!({ "sink": sink });
        fill(&mut draft, &mut data);
        draft.data = Json::from(data);
        tracing::warn!(class, sink, "{}", draft.message);
        match class {
            FAILING => self.alarm_for(sink),
            RECOVERED | RETIRED => self.alarm.clear(FAILING, &subject(sink)),
            _ => {}
        }
        let published = self.bus.publish(&own.source, draft, declared.retain).await;
        if let Err(fault) = published {
            tracing::error!(%fault, class, "not recorded");
        }
    }
}

/// A sink that failed and is no longer in the configuration cannot recover: nothing is wrong with it
/// any more. When it comes back it begins anew to fail.
async fn close_alerts_of_the_gone(sinks: &BTreeMap<String, Sink>, ground: &Ground) {
    let kept = match ground.store.sink_list().await {
        Ok(kept) => kept,
        Err(error) => return tracing::error!(%error, "sinks of earlier are not known"),
    };
    let gone =
        kept.into_iter().filter(|(name, it)| !sinks.contains_key(name) && it.failing.is_some());
    for (name, stored) in gone {
        ground.alarm.clear(FAILING, &subject(&name));
        let noted = ground.store.sink_write(&name, StoredSink { failing: None, ..stored }).await;
        if let Err(error) = noted {
            tracing::error!(%error, sink = name, "that it does not fail could not be kept");
        }
    }
}

/// What events about a sink are about.
fn subject(sink: &str) -> String {
    format!("/sinks/{sink}")
}

/// Where a sink stands; a new one begins where its configuration says.
async fn place(name: &str, settings: &Sink, ground: &Ground) -> StoredSink {
    let start = match settings.from {
        SinkStart::Now => Start::Now,
        SinkStart::Oldest => Start::Oldest,
    };
    let (cursor, _) = ground.bus.beginning(start);
    let first = StoredSink { cursor, state: State::Running.as_str().to_owned(), failing: None };
    let stored = match ground.store.sink_read(name).await {
        Ok(Some(stored)) => return stored,
        Ok(None) => ground.store.sink_write(name, first.clone()).await,
        Err(error) => Err(error),
    };
    match stored {
        Ok(()) => first,
        Err(error) => {
            tracing::error!(%error, sink = name, "it is paused, because its place is not known");
            StoredSink { state: State::Paused.as_str().to_owned(), ..first }
        }
    }
}

fn unnoted(error: &StoreError) -> Fault {
    tracing::error!(%error, "the state of a sink could not be noted");
    Fault::new(FaultKind::Unavailable, "the state of the sink could not be noted")
        .with_retry_after_ms(1_000)
}
