//! The task of one sink.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Cursor, Overflow, Start};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::backlog::Backlog;
use super::carrier::Carrier;
use super::verdict::{Verdict, wait};
use super::wanted::Wanted;
use super::{Entry, Ground, RECOVERED, RETIRED, Shared, State};
use crate::bus::{Bell, Subscribe};
use crate::config::{Sink, SinkMode};
use crate::sight::Interest;

/// Failures in a row before they are said: one alone is nothing to get up for.
const FAILING: u32 = 3;
/// Events passed over because they are not wanted, before the place is moved for them.
const PASSED_MAX: u64 = 1_000;
/// The longest time without a look at the log.
const LOOK: Duration = Duration::from_mins(1);
/// How long to wait when the database does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Delivers to one sink, one request at a time.
pub(super) struct Delivery {
    settings: Sink,
    wanted: Wanted,
    ground: Ground,
    shared: Arc<Shared>,
    state: watch::Receiver<State>,
    backlog: Backlog,
    carrier: Carrier,
    /// Events of the next request at most.
    most: usize,
    /// Failures in a row.
    failures: u32,
    /// How often the first event of the backlog was refused alone.
    refusals: u32,
}

impl Delivery {
    pub(super) fn new(entry: &Entry, from: Cursor) -> Self {
        let Entry { settings, ground, shared } = entry;
        let wanted = Wanted::new(&shared.name, settings);
        let most = if settings.mode == SinkMode::Batch { settings.batch } else { 1 };
        Self {
            carrier: Carrier::new(settings, ground),
            backlog: Backlog::after(from, &wanted, ground),
            wanted,
            settings: settings.clone(),
            ground: ground.clone(),
            state: shared.state.subscribe(),
            shared: Arc::clone(shared),
            most,
            failures: 0,
            refusals: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if *self.state.borrow_and_update() != State::Running {
                if self.state.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.backlog.fill(&self.wanted, &self.ground).await {
                Ok(true) => self.deliver().await,
                Ok(false) => self.idle().await,
                Err(error) => {
                    tracing::error!(%error, sink = self.shared.name, "the log could not be read");
                    sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Tries once to deliver what comes next.
    async fn deliver(&mut self) {
        let count = self.backlog.items.len().min(self.most);
        match self.attempt(count).await {
            Verdict::Taken => {
                self.taken(count).await;
                if let Some(pace) = self.carrier.pace {
                    self.rest(pace).await;
                }
            }
            Verdict::Gone => self.retire().await,
            // One of them alone may be what it does not take.
            Verdict::Refused(_) if count > 1 => self.most = count / 2,
            Verdict::Refused(why) => {
                self.refusals += 1;
                if self.refusals >= self.settings.attempts {
                    return self.give_up(&why).await;
                }
                self.shared.progress().trouble = Some(why);
                self.rest(wait(self.refusals, self.longest(), chance())).await;
            }
            Verdict::Later(why, asked) => self.later(why, asked).await,
        }
    }

    async fn attempt(&mut self, count: usize) -> Verdict {
        let items: Vec<&[u8]> =
            self.backlog.items.iter().take(count).map(|item| item.text.as_slice()).collect();
        match self.carrier.carry(&items).await {
            Ok(answer) => answer.verdict(self.ground.clock.now()),
            Err(why) => Verdict::Later(why, None),
        }
    }

    async fn taken(&mut self, count: usize) {
        let upto = self.backlog.items.drain(..count).next_back().map(|item| item.upto);
        let upto = upto.unwrap_or(self.backlog.read);
        (self.failures, self.refusals) = (0, 0);
        if self.settings.mode == SinkMode::Batch {
            self.most = self.most.saturating_mul(2).min(self.settings.batch);
        }
        self.move_to(upto).await;
        let since = {
            let mut progress = self.shared.progress();
            progress.delivered += u64::try_from(count).unwrap_or_default();
            progress.last = Some(self.ground.clock.now());
            progress.trouble = None;
            progress.failing.take()
        };
        let Some(since) = since else { return };
        let name = &self.shared.name;
        self.note_failing(None).await;
        self.ground
            .say(RECOVERED, name, |draft, data| {
                draft.message = format!("The sink {name} takes events again");
                data["failing_since"] = json!(since);
            })
            .await;
    }

    /// Everything up to here is delivered or not wanted. A place that cannot be kept is kept with the
    /// next one; until then a crash repeats what comes behind the one before.
    async fn move_to(&self, seq: u64) {
        self.shared.progress().seq = seq;
        let instance = self.ground.bus.instance();
        let moved = self.shared.keep(&self.ground.store, |stored| {
            stored.cursor = Cursor::after(instance, seq);
        });
        if let Err(error) = moved.await {
            tracing::error!(%error, sink = self.shared.name, "its place could not be kept");
        }
    }

    async fn note_failing(&self, since: Option<protocol::Time>) {
        let noted = self.shared.keep(&self.ground.store, |stored| stored.failing = since);
        if let Err(error) = noted.await {
            tracing::error!(%error, sink = self.shared.name, "that it fails could not be kept");
        }
    }

    /// Waits for the next try, and says once that it fails.
    async fn later(&mut self, why: String, asked: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        // Whoever was away for long may have become somebody else.
        if self.failures >= FAILING {
            self.carrier.doubt();
        }
        let begins = {
            let mut progress = self.shared.progress();
            progress.trouble = Some(why.clone());
            let begins = self.failures == FAILING && progress.failing.is_none();
            if begins {
                progress.failing = Some(self.ground.clock.now());
            }
            begins.then_some(progress.failing).flatten()
        };
        if begins.is_some() {
            let name = &self.shared.name;
            self.note_failing(begins).await;
            self.ground
                .say(super::FAILING, name, |draft, data| {
                    draft.message = format!("The sink {name} takes no events: {why}");
                    data["why"] = json!(why);
                })
                .await;
        }
        let pause = wait(self.failures, self.longest(), chance());
        self.rest(asked.map_or(pause, |asked| pause.max(asked))).await;
    }

    /// The receiver does not take this event and never will.
    async fn give_up(&mut self, why: &str) {
        self.refusals = 0;
        let Some(item) = self.backlog.items.pop_front() else { return };
        let name = &self.shared.name;
        tracing::warn!(sink = name, why, "an event is given up");
        // About what sinks do with each other's events only the log is told: it would never end.
        if let Some(event) = item.event.filter(|event| event.class.family() != "sink") {
            let tries = self.settings.attempts;
            self.ground
                .say("sink.dead_letter", name, |draft, data| {
                    let seq = event.seq;
                    draft.message = format!("The sink {name} does not take event {seq}: {why}");
                    data["seq"] = json!(seq);
                    data["event_id"] = json!(event.id);
                    data["class"] = json!(event.class);
                    data["why"] = json!(why);
                    data["tries"] = json!(tries);
                })
                .await;
        }
        self.move_to(item.upto).await;
    }

    /// The receiver is gone for good.
    async fn retire(&mut self) {
        let name = &self.shared.name;
        let noted = self.shared.keep(&self.ground.store, |stored| {
            State::Retired.as_str().clone_into(&mut stored.state);
        });
        if let Err(error) = noted.await {
            tracing::error!(%error, sink = name, "that it is gone could not be kept");
        }
        self.shared.progress().trouble = Some("it answers 410 Gone".to_owned());
        self.shared.state.send_replace(State::Retired);
        self.ground
            .say(RETIRED, name, |draft, _| {
                draft.message =
                    format!("The sink {name} is gone for good and is given nothing more");
            })
            .await;
    }

    /// Waits for something to deliver.
    async fn idle(&mut self) {
        let (read, kept) = (self.backlog.read, self.shared.progress().seq);
        if read - kept >= PASSED_MAX {
            self.move_to(read).await;
        }
        let bell = Bell::default();
        let wanted = Subscribe {
            interest: Interest::from(self.wanted.may_be()),
            start: Start::After(Cursor::after(self.ground.bus.instance(), read)),
            overflow: Overflow::Lossless,
            face: Bell::face(),
            outlet: bell.outlet(),
        };
        let subscription = match self.ground.bus.subscribe(wanted, |_| Vec::new()).await {
            Ok(subscription) => subscription,
            Err(fault) => {
                tracing::error!(%fault, sink = self.shared.name, "it could not wait for events");
                return sleep(STORE_PAUSE).await;
            }
        };
        let woken = tokio::select! {
            rung = timeout(LOOK, bell.rung()) => rung.is_ok(),
            _ = self.state.changed() => { self.state.mark_changed(); true }
        };
        drop(subscription);
        // So that retention cannot pass a place that only waits for something wanted.
        if !woken && read > kept {
            self.move_to(read).await;
        }
    }

    /// Waits so long, or until it is to do something else.
    async fn rest(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.state.changed() => self.state.mark_changed(),
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(self.settings.retry_max_s)
    }
}

/// Any number; the middle when the system gives none.
fn chance() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
