//! What is known of the machine: looked at by the watch, read by calls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sdk::{Context, Draft, Fault, FaultKind, Level, Value, json};
use serde::Serialize;

use crate::condition::{Change, Conditions, Key, Look, Raised, Verb};
use crate::config::Config;
use crate::facts::{self, Disk, Storage};
use crate::kind::Kind;
use crate::ledger::Ledger;
use crate::parse::host::pressure;
use crate::state::{self, Facts};
use crate::unit::{Unit, description};
use crate::watch::bus::Bus;
use crate::watch::{News, Source};
use crate::{judge, ledger, story, updates};

/// Alerts that the daemon takes at once.
const ALERTS_MAX: usize = sdk::SYNC_MAX;
/// Where raised conditions are kept, so that a new process does not raise them again.
const KEPT: &str = "conditions.json";

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Config,
    news: Arc<News>,
    bus: Option<Bus>,
    /// Names this life of the plugin: revisions of another one say nothing about this one's.
    epoch: String,
    clock: Clock,
    desk: Mutex<Desk>,
    /// Held from the reading of services to the telling of what has changed, so that an older
    /// reading cannot overtake a newer one.
    services_turn: Mutex<Descriptions>,
}

/// What is known.
#[derive(Debug, Default)]
struct Desk {
    conditions: Conditions,
    storage: Storage,
    hostname: String,
    disks: Ledger<Disk>,
    services: Ledger<Unit>,
    /// What the last event `system.state` said, but for times and counts.
    told: Value,
    told_hostname: Option<String>,
}

impl Desk {
    fn facts(&self) -> Facts<'_> {
        let told = self.told_hostname.as_ref();
        Facts {
            hostname: &self.hostname,
            renamed: told.is_some_and(|told| *told != self.hostname),
            storage: &self.storage,
            conditions: self.conditions.raised(),
        }
    }
}

/// What unit files say of their units, read again when a file is another one.
#[derive(Debug, Default)]
struct Descriptions(BTreeMap<String, (SystemTime, Option<String>)>);

impl Descriptions {
    fn of(&mut self, path: &str) -> Option<String> {
        let changed = fs::metadata(path).and_then(|file| file.modified()).ok()?;
        let known = self.0.get(path).filter(|(at, _)| *at == changed);
        if let Some((_, description)) = known {
            return description.clone();
        }
        let description = description(&facts::text(path)).map(str::to_owned);
        self.0.insert(path.to_owned(), (changed, description.clone()));
        description
    }
}

/// Milliseconds since 1970 that do not jump while the process lives.
#[derive(Debug)]
struct Clock {
    began_ms: u64,
    begun: Instant,
}

impl Clock {
    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(passed)
    }
}

impl Machine {
    /// Takes up what an earlier process has left in the plugin's directory.
    pub(crate) fn new(config: Config, bus: Option<Bus>, news: Arc<News>, dir: &Path) -> Self {
        let began_ms = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
        let kept = fs::read(dir.join(KEPT)).unwrap_or_default();
        let kept: Vec<(Key, Raised)> = serde_json::from_slice(&kept).unwrap_or_default();
        let desk = Desk { conditions: Conditions::resumed(kept), ..Desk::default() };
        Self {
            config,
            news,
            bus,
            epoch: format!("{}-{}", std::process::id(), began_ms),
            clock: Clock { began_ms, begun: Instant::now() },
            desk: Mutex::new(desk),
            services_turn: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn news(&self) -> Arc<News> {
        Arc::clone(&self.news)
    }

    /// The way to systemd.
    ///
    /// # Errors
    /// `unavailable` where it does not run.
    pub(crate) fn bus(&self) -> Result<&Bus, Fault> {
        let none = || Fault::new(FaultKind::Unavailable, "systemd does not run here");
        self.bus.as_ref().ok_or_else(none)
    }

    /// Looks at one source and tells what has changed.
    pub(crate) fn look(&self, ctx: &Context, source: Source) {
        match source {
            Source::Storage => self.look_at_storage(ctx),
            Source::Host => self.desk().hostname = facts::hostname(),
            Source::Memory => {
                if let Some(share) = pressure(&facts::text("/proc/pressure/memory")) {
                    let rule = self.config.rule(Kind::MemoryPressure);
                    self.judge(ctx, Kind::MemoryPressure, judge::pressure(share, rule));
                }
            }
            // A bus that is silent says nothing about services; it says so when it is back.
            Source::Units => drop(self.look_at_services(ctx)),
            Source::Clock => {
                if let Some(synchronized) = self.bus.as_ref().and_then(Bus::synchronized) {
                    self.judge(ctx, Kind::ClockUnsynchronized, judge::clock(synchronized));
                }
            }
            Source::Reboot => {
                let reason = facts::reboot_reason();
                self.judge(ctx, Kind::RebootRequired, judge::reboot(reason.as_deref()));
            }
            Source::Updates => {
                if !self.config.rule(Kind::UpdatesPending).off
                    && let Some((updates, install)) = updates::pending()
                {
                    self.judge(ctx, Kind::UpdatesPending, judge::updates(&updates, install));
                }
            }
        }
    }

    fn look_at_storage(&self, ctx: &Context) {
        let storage = facts::storage();
        let rule = self.config.rule(Kind::DiskFull);
        let (full, faulty) = (judge::full(&storage, rule), judge::faulty(&storage));
        let mut desk = self.desk();
        let is_first = desk.disks.revision() == 0;
        let changes = desk.disks.replace(storage.disks.clone());
        self.tell_rows(ctx, ("disks", "system.disk.changed"), is_first, &changes);
        desk.storage = storage;
        drop(desk);
        self.judge(ctx, Kind::DiskFull, full);
        self.judge(ctx, Kind::DiskFaulty, faulty);
    }

    /// Reads the services anew and tells what has changed.
    ///
    /// # Errors
    /// `unavailable` while systemd does not answer.
    pub(crate) fn look_at_services(&self, ctx: &Context) -> Result<(), Fault> {
        let mut descriptions = locked(&self.services_turn);
        let units = self.bus()?.units(|path| descriptions.of(path))?;
        let failed = judge::failed(&units);
        let mut desk = self.desk();
        let is_first = desk.services.revision() == 0;
        let changes = desk.services.replace(units);
        self.tell_rows(ctx, ("services", "system.service.changed"), is_first, &changes);
        drop(desk);
        self.judge(ctx, Kind::UnitFailed, failed);
        drop(descriptions);
        Ok(())
    }

    /// Tells each change of a list; of one that is new, that it is new.
    fn tell_rows<R: Serialize>(
        &self,
        ctx: &Context,
        (list, class): (&str, &str),
        is_first: bool,
        changes: &[ledger::Change<R>],
    ) {
        if is_first && !changes.is_empty() {
            return tell(ctx, story::renewed(list, &self.epoch));
        }
        for change in changes {
            let subject = judge::subject(list, &change.name);
            tell(ctx, story::row(class, &self.epoch, subject, change));
        }
    }

    fn judge(&self, ctx: &Context, kind: Kind, looks: BTreeMap<String, Look>) {
        let rule = self.config.rule(kind);
        let looks = if rule.off { BTreeMap::new() } else { looks };
        let mut desk = self.desk();
        let now_ms = self.clock.now_ms();
        let changes = desk.conditions.look(kind.as_str(), now_ms, rule.patience(), looks);
        for change in &changes {
            tell(ctx, story::condition(change));
            ring(ctx, change);
        }
        keep(ctx, &desk.conditions, &changes);
    }

    /// Says which alerts an earlier process has left: whatever else it has raised is over.
    pub(crate) fn tell_what_is_left(&self, ctx: &Context) {
        let left = {
            let desk = self.desk();
            let raised = desk.conditions.raised().iter();
            let alerts = raised.map(|(key, raised)| story::alert(key, raised));
            alerts.take(ALERTS_MAX).collect::<Result<Vec<_>, _>>()
        };
        if let Err(fault) = left.and_then(|left| ctx.sync_alerts(&left)) {
            ctx.log(Level::Warn, &format!("the alerts were not brought up to date: {fault}"));
        }
    }

    /// Publishes `system.state` when it says something new, or when it is due.
    pub(crate) fn tell_state(&self, ctx: &Context, is_due: bool) -> bool {
        let mut desk = self.desk();
        let facts = desk.facts();
        let essence = essence(&facts);
        if !is_due && essence == desk.told {
            return false;
        }
        tell(ctx, story::state(&facts));
        let hostname = desk.hostname.clone();
        (desk.told, desk.told_hostname) = (essence, Some(hostname));
        true
    }

    /// What the event `system.state` would say now.
    pub(crate) fn state(&self) -> Value {
        let desk = self.desk();
        let facts = desk.facts();
        let mut data = facts.data();
        data["priority"] = facts.priority().to_string().into();
        data["message"] = facts.message().into();
        data
    }

    /// The conditions that are raised, the most urgent first.
    pub(crate) fn conditions(&self) -> Value {
        json!({ "conditions": state::conditions(self.desk().conditions.raised()) })
    }

    /// The disks, as of a revision.
    pub(crate) fn disks(&self) -> Value {
        story::list("disks", &self.epoch, &self.desk().disks)
    }

    /// The services, as of a revision.
    pub(crate) fn services(&self) -> Value {
        story::list("services", &self.epoch, &self.desk().services)
    }

    /// The services.
    pub(crate) fn units(&self) -> BTreeMap<String, Unit> {
        self.desk().services.rows().clone()
    }

    /// What is to be looked at again although nothing may change, and how soon.
    pub(crate) fn unsettled(&self) -> Vec<(Source, Duration)> {
        let desk = self.desk();
        let rule = |kind: &str| Kind::ALL.into_iter().find(|it| it.as_str() == kind);
        let now_ms = self.clock.now_ms();
        let waits = desk.conditions.waits(|kind| {
            rule(kind).map(|kind| self.config.rule(kind).patience()).unwrap_or_default()
        });
        let wait = |(kind, at_ms): (String, u64)| {
            let wait = Duration::from_millis(at_ms.saturating_sub(now_ms));
            Some((source_of(rule(&kind)?), wait))
        };
        waits.into_iter().filter_map(wait).collect()
    }

    /// Whether to look more often.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.desk().conditions.knows(Kind::MemoryPressure.as_str())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        locked(&self.desk)
    }
}

/// The value, also after a panic elsewhere: what is half looked at is looked at again.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Written after it has been told: who is killed in between tells it again.
fn keep(ctx: &Context, conditions: &Conditions, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    let rows: Vec<_> = conditions.raised().iter().collect();
    let (path, new) = (ctx.state_dir().join(KEPT), ctx.state_dir().join("conditions.new"));
    let written = serde_json::to_vec(&rows).map_err(std::io::Error::from).and_then(|bytes| {
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)
    });
    if let Err(error) = written {
        ctx.log(Level::Warn, &format!("{} cannot be written: {error}", path.display()));
    }
}

const fn source_of(kind: Kind) -> Source {
    match kind {
        Kind::DiskFull | Kind::DiskFaulty => Source::Storage,
        Kind::MemoryPressure => Source::Memory,
        Kind::UnitFailed => Source::Units,
        Kind::ClockUnsynchronized => Source::Clock,
        Kind::RebootRequired => Source::Reboot,
        Kind::UpdatesPending => Source::Updates,
    }
}

/// What a state says, but for when and how often.
fn essence(facts: &Facts<'_>) -> Value {
    let mut data = facts.data();
    for condition in data["conditions"].as_array_mut().into_iter().flatten() {
        condition["seen"] = Value::Null;
        condition["count"] = Value::Null;
    }
    data
}

/// Published in the order in which it is told; only the daemon's credit is waited for. An event that
/// cannot be made or is refused must not end the watch.
fn tell(ctx: &Context, draft: Result<Draft, Fault>) {
    if let Err(fault) = draft.and_then(|draft| ctx.publish_unacknowledged(&draft)) {
        ctx.log(Level::Warn, &format!("an event was not published: {fault}"));
    }
}

/// A condition is an alert, too. Like [`tell`] it waits for nothing but credit.
fn ring(ctx: &Context, change: &Change) {
    let told = match change.verb {
        Verb::Cleared => {
            story::over(&change.key).and_then(|clear| ctx.clear_unacknowledged(&clear))
        }
        Verb::Raised | Verb::Repeated => story::alert(&change.key, &change.raised)
            .and_then(|raise| ctx.raise_unacknowledged(&raise)),
    };
    if let Err(fault) = told {
        ctx.log(Level::Warn, &format!("an alert was not raised or cleared: {fault}"));
    }
}
