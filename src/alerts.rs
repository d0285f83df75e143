//! Floor 4: what is wrong now.
//!
//! It knows every alert, waits before anybody is told, and tells it once: by an event, recorded
//! together with the alert. It must not know who hears of it or how a plugin says it: reports come
//! through [`crate::alarm`], `sinks` reads the events. `dispatch` asks it, `daemon` begins it.

mod book;
mod record;
mod report;
mod rule;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Cursor, Fault, FaultKind, Time};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::sleep;

use self::book::{Book, Entry};
use self::report::Missed;
use self::rule::Rule;
use self::state::{Input, elapsed};
use crate::alarm::Ring;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::AlertRule;
use crate::lifecycle::{Stop, Tasks};
use crate::store::{Store, StoreError};

pub use self::state::{Acknowledged, Alert, Silenced, State, Verb};

/// The longest time without a look at the clock: somebody may have set it.
const LOOK: Duration = Duration::from_secs(30);
/// How long until what could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest silence.
pub const SILENCE_MAX: Duration = Duration::from_hours(366 * 24);

/// All alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alerts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ground: Ground,
    /// Held while a change is recorded, so that each is made of the one before.
    book: Mutex<Book>,
    missed: Mutex<Missed>,
    /// Rung when the next moment at which something is due may have changed.
    changed: Notify,
}

/// What alerts stand on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Keeps them.
    pub store: Arc<Store>,
    /// Where they are told of.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// What the administrator wants of them, by kind or family.
    pub rules: BTreeMap<String, AlertRule>,
}

/// What somebody wants done with an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// They look after it.
    Acknowledge {
        /// What they say.
        note: String,
    },
    /// They do not any more.
    Unacknowledge,
    /// Nobody is to be told until then.
    Silence {
        /// Until when.
        until: Time,
        /// What they say.
        note: String,
    },
    /// Everybody is to be told again.
    Unsilence,
    /// It is over.
    Close,
}

/// All alerts at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// By number.
    pub alerts: Vec<Alert>,
    /// Every change of them up to here is in it, and none that comes later.
    pub cursor: Cursor,
}

impl Alerts {
    /// Takes up what an earlier life of the daemon has left, and listens.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn begin(
        ground: Ground,
        rings: mpsc::Receiver<Ring>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let now = ground.clock.now();
        let mut book = Book::default();
        for stored in ground.store.alert_list().await? {
            // One that cannot be read is passed over, so that it spoils no other.
            match stored.alert.read::<book::Kept>() {
                Ok(kept) => {
                    let rule = Rule::of(&kept.declared, &ground.rules);
                    book.put(Entry::new(kept, rule, now));
                }
                Err(error) => {
                    tracing::error!(id = stored.id, %error, "an alert that was kept is not understood");
                }
            }
        }
        let (book, missed) = (Mutex::new(book), Mutex::new(Missed::default()));
        let alerts = Self(Arc::new(Shared { ground, book, missed, changed: Notify::new() }));
        let (listening, stop) = (alerts.clone(), tasks.stop_signal());
        tasks.spawn(async move { listening.listen(rings, stop).await });
        Ok(alerts)
    }

    /// How all of them are.
    pub async fn all(&self) -> Snapshot {
        let book = self.0.book.lock().await;
        let alerts = book.alerts().cloned().collect();
        // Whatever changes is recorded while the book is held.
        Snapshot { alerts, cursor: self.0.ground.bus.head() }
    }

    /// Does what somebody wants; durable when it returns. What is so already stays as it is.
    ///
    /// # Errors
    /// `not-found`, `bad-request` for what makes no sense, `unavailable` when it cannot be recorded.
    pub async fn order(&self, id: u64, order: Order, by: &str) -> Result<Alert, Fault> {
        let (by, now) = (by.to_owned(), self.0.ground.clock.now());
        let mut book = self.0.book.lock().await;
        let entry = book.get(id).ok_or_else(|| no_alert(id))?;
        let is_closed = entry.kept.alert.state == State::Closed;
        let input = match order {
            Order::Acknowledge { .. } if is_closed => {
                return Err(Fault::bad_request(format!("alert {id} is over already")));
            }
            Order::Silence { until, .. } if until <= now => {
                return Err(Fault::bad_request(format!("{until} has passed")));
            }
            Order::Silence { until, .. } if elapsed(now, until) > SILENCE_MAX => {
                let sentence = "an alert cannot be silent for more than 366 days";
                return Err(Fault::bad_request(sentence).with_hint("disable it in [alerts]"));
            }
            Order::Acknowledge { note } => Input::Acknowledge { by, note },
            Order::Unacknowledge => Input::Unacknowledge,
            Order::Silence { until, note } => Input::Silence { by, until, note },
            Order::Unsilence => Input::Unsilence,
            Order::Close => Input::Close,
        };
        let entry = entry.clone();
        let alert = self.0.step(&mut book, entry, input, now).await?;
        drop(book);
        self.0.changed.notify_one();
        Ok(alert)
    }

    /// Hears reports and watches the time until the daemon stops.
    async fn listen(self, mut rings: mpsc::Receiver<Ring>, stop: Stop) {
        let mut pause = Duration::ZERO;
        loop {
            let due = self.0.wait().await.max(pause);
            tokio::select! {
                () = stop.wait() => break,
                ring = rings.recv() => match ring {
                    Some(ring) => self.0.hear(ring).await,
                    None => break,
                },
                () = self.0.changed.notified() => {}
                () = sleep(due) => pause = if self.0.look().await { Duration::ZERO } else { AGAIN },
            }
        }
        self.0.record_rest().await;
    }
}

impl Shared {
    /// How long until something is due.
    async fn wait(&self) -> Duration {
        let missed = !self.missed.lock().await.is_empty();
        let due = self.book.lock().await.due();
        let wait = due.map_or(LOOK, |due| elapsed(self.ground.clock.now(), due).min(LOOK));
        if missed { wait.min(AGAIN) } else { wait }
    }

    /// Does what time asks for; whether all of it could be recorded.
    async fn look(&self) -> bool {
        let now = self.ground.clock.now();
        let mut all_well = self.hear_missed().await;
        let mut book = self.book.lock().await;
        for id in book.due_by(now) {
            let Some(entry) = book.get(id).cloned() else { continue };
            let stepped = self.step(&mut book, entry, Input::Tick, now).await;
            all_well &= stepped.is_ok();
        }
        all_well &= self.record_due(&mut book, now).await;
        let old = book.old(now);
        if !old.is_empty() {
            match self.ground.store.alert_forget(old.clone()).await {
                Ok(()) => book.forget(&old),
                Err(error) => tracing::debug!(%error, "old alerts are not forgotten yet"),
            }
        }
        all_well
    }
}

fn no_alert(id: u64) -> Fault {
    Fault::new(FaultKind::NotFound, format!("there is no alert {id}"))
        .with_hint("rpc/alerts list tells which there are")
}

#[cfg(test)]
mod tests;
