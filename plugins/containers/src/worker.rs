//! The owner of one engine's model: takes what the reader has heard, looks where that is not enough,
//! and tells what has changed.

mod reach;
mod tell;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bollard::Docker;
use sdk::{Context, Level, Raise};

use crate::config::{Config, EngineConfig};
use crate::container::Container;
use crate::engine::{self, Facts};
use crate::group::{Groups, Place};
use crate::inbox::{Batch, Inbox, Link};
use crate::kept::{self, Kept};
use crate::model::{Change, Model, Row, Why};
use crate::reader::Way;
use crate::signal::What;

/// How long the start of a new container may take before it counts as one nobody has started.
const START: Duration = Duration::from_secs(2);
/// A difference that is none any more after this was a signal on its way.
const SETTLE: Duration = Duration::from_millis(300);
/// How soon what could not be compared is compared again.
const AGAIN: Duration = Duration::from_secs(5);

/// One engine, as the plugin knows it.
pub(crate) struct Worker {
    pub(crate) place: Place,
    config: Config,
    /// Whether nobody has asked for this engine in particular.
    perhaps: bool,
    way: Way,
    inbox: Arc<Inbox>,
    desk: Mutex<Desk>,
    began: Instant,
}

/// What is known.
pub(crate) struct Desk {
    pub(crate) model: Model,
    /// Services and stacks as they were told last.
    told: Groups,
    pub(crate) status: Status,
    /// What is wrong, by kind and subject.
    raised: BTreeMap<(String, String), Raise>,
    /// Those that ended when the engine did.
    fallen: HashSet<String>,
    /// Whether it was ever seen; then its absence is worth a word.
    known: bool,
    /// Whether there is a model to compare with.
    has_model: bool,
}

/// How an engine is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// `None`: nobody has tried yet.
    pub(crate) up: Option<bool>,
    /// Why it cannot be reached.
    pub(crate) reason: String,
    pub(crate) facts: Facts,
    /// When its list was last compared with the model.
    pub(crate) seen: Option<String>,
}

/// When something is due.
struct Agenda {
    reconcile: Instant,
    /// Containers to be looked at again, and when.
    look: BTreeMap<String, Instant>,
}

impl Worker {
    /// Reads what was kept and begins to hear the engine.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub(crate) fn new(
        place: Place,
        engine: &EngineConfig,
        config: Config,
        ctx: &Context,
    ) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let way = Way::begin(engine.socket.clone(), Arc::clone(&inbox))?;
        let kept = read_kept(ctx, &engine.name);
        let known = kept.is_some() || !engine.perhaps;
        let has_model = kept.is_some();
        let kept = kept.unwrap_or_default();
        let model = Model::new(kept.containers, config.flap());
        let told = place.groups(&model.all());
        let key = |raise: Raise| ((raise.kind.as_str().to_owned(), raise.subject.clone()), raise);
        let desk = Desk {
            told,
            model,
            status: Status { up: has_model.then_some(kept.reachable), ..Status::default() },
            raised: kept.raised.into_iter().map(key).collect(),
            fallen: HashSet::new(),
            known,
            has_model,
        };
        let (desk, began) = (Mutex::new(desk), Instant::now());
        let perhaps = engine.perhaps;
        Ok(Self { place, config, perhaps, way, inbox, desk, began })
    }

    /// Begins to follow it. The thread ends with the process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn begin(self: &Arc<Self>, ctx: &Context) -> io::Result<()> {
        let (worker, ctx) = (Arc::clone(self), ctx.clone());
        Builder::new().name("model".to_owned()).spawn(move || worker.go_on(&ctx))?;
        Ok(())
    }

    /// What is known of it.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is or was there, or somebody has configured it.
    pub(crate) fn is_known(&self) -> bool {
        !self.perhaps || self.desk().known
    }

    /// What an earlier process has left raised.
    pub(crate) fn raised(&self) -> Vec<Raise> {
        self.desk().raised.values().cloned().collect()
    }

    /// Asks the engine something.
    ///
    /// # Errors
    /// As [`Way::ask`].
    pub(crate) fn ask<T, E, F>(&self, ask: impl FnOnce(Docker) -> F) -> Result<T, E>
    where
        E: From<&'static str>,
        F: Future<Output = Result<T, E>>,
    {
        self.way.ask(ask)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn go_on(&self, ctx: &Context) {
        let mut agenda = Agenda { reconcile: Instant::now(), look: BTreeMap::new() };
        while !ctx.cancelled() {
            let batch = self.inbox.wait_until(self.next(&agenda));
            let is_gap = batch.overflow || matches!(batch.link, Some(Link::Ready { .. }));
            self.take(ctx, &batch, &mut agenda);
            self.look(ctx, &mut agenda);
            match batch.link {
                Some(Link::Ready { facts, was_down }) => {
                    self.found(ctx, facts, was_down, &mut agenda);
                }
                Some(Link::Lost(reason)) => self.lost(ctx, &reason),
                None => {}
            }
            if !is_gap && Instant::now() >= agenda.reconcile || batch.overflow {
                self.compare(ctx, batch.overflow, &mut agenda);
            }
            let tombstone = self.config.tombstone_ms();
            let settled = self.desk().model.settle(self.now_ms(), tombstone);
            self.tell(ctx, &settled);
        }
    }

    /// When there is something to do, whatever comes in.
    fn next(&self, agenda: &Agenda) -> Instant {
        let settles = self.desk().model.settles_at();
        let settles = settles.map(|at| self.began + Duration::from_millis(at));
        let look = agenda.look.values().min().copied();
        [settles, look].into_iter().flatten().fold(agenda.reconcile, Instant::min)
    }

    /// Applies signals, and notes who is to be looked at.
    fn take(&self, ctx: &Context, batch: &Batch, agenda: &mut Agenda) {
        let (now, now_ms) = (Instant::now(), self.now_ms());
        let mut changes = Vec::new();
        let mut desk = self.desk();
        for signal in &batch.signals {
            changes.extend(desk.model.apply(signal, now_ms));
            let at = match signal.what {
                What::Start | What::Look | What::Die(_) => now,
                What::Create => now + START,
                What::Destroy => {
                    agenda.look.remove(&signal.id);
                    continue;
                }
                _ => continue,
            };
            // What was made is looked at twice: at once for its labels, later for its start.
            agenda
                .look
                .entry(signal.id.clone())
                .and_modify(|due| *due = at.min(*due))
                .or_insert(at);
        }
        drop(desk);
        let made: Vec<String> = changes
            .iter()
            .filter(|change| change.why == Why::Created)
            .map(|change| change.container.id.clone())
            .collect();
        let mut learnt = Vec::new();
        for id in made {
            self.learn(ctx, &id, false, &mut learnt);
        }
        self.refresh(&mut changes);
        changes.extend(learnt);
        self.tell(ctx, &changes);
    }

    /// Gives changes the labels that were learnt since they were noticed.
    fn refresh(&self, changes: &mut [Change]) {
        let desk = self.desk();
        for change in changes {
            if let Some(it) = desk.model.containers().get(&change.container.id) {
                change.container.labels.clone_from(&it.labels);
                change.container.details.clone_from(&it.details);
            }
        }
    }

    /// Looks at those that are due.
    fn look(&self, ctx: &Context, agenda: &mut Agenda) {
        let now = Instant::now();
        let due: Vec<String> =
            agenda.look.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        if due.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        for id in due {
            agenda.look.remove(&id);
            self.learn(ctx, &id, true, &mut changes);
        }
        // Labels that were learnt are no change of a container, and may be one of its service.
        self.tell_all(ctx, &changes);
    }

    fn learn(&self, ctx: &Context, id: &str, waited: bool, changes: &mut Vec<Change>) {
        match self.ask(|docker| async move { engine::inspect(&docker, id).await }) {
            Ok(Some(seen)) => {
                let waited = waited && is_old(&seen);
                changes.extend(self.desk().model.learn(&seen, waited));
            }
            // It has gone in the meantime, and its signal says so.
            Ok(None) => {}
            Err(reason) => ctx.log(Level::Debug, &format!("{id} cannot be looked at: {reason}")),
        }
    }

    /// The engine is heard: for the first time, or again.
    fn found(&self, ctx: &Context, facts: Facts, was_down: bool, agenda: &mut Agenda) {
        let (was_up, has_model) = {
            let mut desk = self.desk();
            let was_up = desk.status.up;
            desk.status.facts = facts;
            (was_up, desk.has_model)
        };
        let Some(found) = self.compare(ctx, true, agenda) else { return };
        let left = {
            let mut desk = self.desk();
            let mut fallen = std::mem::take(&mut desk.fallen);
            // An engine that was killed ends what it finds when it is started again.
            fallen.extend(desk.model.fallen(self.now_ms()));
            if was_down { desk.model.left_down(&fallen) } else { Vec::new() }
        };
        self.tell(ctx, &left);
        let mut desk = self.desk();
        desk.status.up = Some(true);
        desk.status.reason.clear();
        drop(desk);
        let again = has_model && was_up.is_some();
        self.tell_node(ctx, true, again.then_some(found + left.len()));
        self.keep(ctx);
    }

    /// The engine is not heard any more, or still not.
    fn lost(&self, ctx: &Context, reason: &str) {
        let mut desk = self.desk();
        reason.clone_into(&mut desk.status.reason);
        if !desk.known || desk.status.up == Some(false) && desk.is_raised_unreachable() {
            return;
        }
        desk.status.up = Some(false);
        desk.fallen = desk.model.fallen(self.now_ms());
        drop(desk);
        ctx.log(Level::Warn, &format!("engine {}: {reason}", self.place.engine));
        self.tell_node(ctx, false, None);
        self.keep(ctx);
    }

    /// Compares the model with the engine's list and tells what no signal has told; how much that
    /// was. `thorough`: signals are missing, so each container is looked at.
    fn compare(&self, ctx: &Context, thorough: bool, agenda: &mut Agenda) -> Option<usize> {
        agenda.reconcile = Instant::now() + self.config.reconcile_every();
        let found = self.list().and_then(|rows| {
            let mut ids = self.desk().model.differing(&rows);
            if !thorough && !ids.is_empty() {
                // Their signals may be on the way.
                ctx.pause(SETTLE);
                let batch = self.inbox.wait_until(Instant::now());
                self.take(ctx, &batch, agenda);
                self.put_back(batch);
                let still = self.desk().model.differing(&self.list()?);
                ids.retain(|id| still.contains(id));
            }
            if thorough {
                ids.extend(rows.into_iter().map(|row| row.id));
            }
            self.look_closely(ctx, ids)
        });
        match found {
            Ok(found) => {
                self.desk().status.seen = Some(now());
                Some(found)
            }
            Err(reason) => {
                agenda.reconcile = Instant::now() + AGAIN;
                ctx.log(Level::Debug, &format!("engine {}: {reason}", self.place.engine));
                None
            }
        }
    }

    /// The signals are taken; what the link is, the loop has to see.
    fn put_back(&self, batch: Batch) {
        if let Some(link) = batch.link {
            self.inbox.link(link);
        }
    }

    fn list(&self) -> Result<Vec<Row>, String> {
        self.ask(|docker| async move { engine::list(&docker).await })
    }

    /// Inspects these and tells what that changes.
    fn look_closely(&self, ctx: &Context, ids: HashSet<String>) -> Result<usize, String> {
        let mut seen: Vec<(String, Option<Container>)> = Vec::with_capacity(ids.len());
        for id in ids {
            let asked = id.clone();
            let it = self.ask(|docker| async move { engine::inspect(&docker, &asked).await })?;
            seen.push((id, it));
        }
        let (mut changes, is_looked_at) = (Vec::new(), !seen.is_empty());
        let mut desk = self.desk();
        let now_ms = self.now_ms();
        for (id, it) in seen {
            changes.extend(desk.model.reconcile(&id, it, now_ms));
        }
        let is_first = !desk.has_model;
        (desk.has_model, desk.known) = (true, true);
        if is_first {
            // What was there before anybody looked is no news.
            desk.told = self.place.groups(&desk.model.all());
            changes.clear();
        }
        drop(desk);
        // Mostly nothing differs; then there is nothing to group, and to keep, anew.
        if is_looked_at {
            self.tell_all(ctx, &changes);
        }
        Ok(changes.len())
    }

    fn keep(&self, ctx: &Context) {
        let kept = {
            let desk = self.desk();
            if !desk.has_model {
                return;
            }
            Kept {
                containers: desk.model.containers().clone(),
                raised: desk.raised.values().cloned().collect(),
                reachable: desk.status.up == Some(true),
            }
        };
        if let Err(error) = kept::write(ctx.state_dir(), &self.place.engine, &kept) {
            ctx.log(Level::Warn, &format!("the model cannot be kept: {error}"));
        }
    }
}

/// A model that cannot be read is one that was never there: what happened meanwhile is unknown.
fn read_kept(ctx: &Context, engine: &str) -> Option<Kept> {
    let dir: &Path = ctx.state_dir();
    kept::read(dir, engine).unwrap_or_else(|error| {
        ctx.log(Level::Warn, &format!("the kept model of {engine} cannot be read: {error}"));
        None
    })
}

/// This moment, to the second.
fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Whether so much has passed since it was made that its start would have followed.
fn is_old(seen: &Container) -> bool {
    let made = seen.created.as_deref().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    made.is_none_or(|made| (chrono::Utc::now() - made.to_utc()).num_milliseconds() >= 1_500)
}
