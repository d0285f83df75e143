//! What is known of one engine's containers, and what each new thing changes in it. Pure.
//!
//! The model follows the engine's signals as a state machine: a signal about something that is so
//! already changes nothing, so that hearing one twice, or after the list that holds its outcome, does
//! no harm. What no signal told is found by [`Model::reconcile`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::container::{Container, Health, Phase};
use crate::flap::{Ends, Rule};
use crate::signal::{Signal, What};

/// How many that are no more are still shown.
const GONE_MAX: usize = 1_000;

/// Something that is other than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// As it is now.
    pub(crate) container: Container,
    pub(crate) why: Why,
    /// No signal has told it; it was found by looking.
    pub(crate) reconciled: bool,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Created,
    /// It was made and nobody has started it.
    NotStarted,
    Started,
    StartFailed,
    /// It was asked to end.
    Stopping,
    /// It was asked to end and went on.
    StillRuns,
    Stopped {
        /// It has ended before, not long ago.
        repeated: bool,
        /// It ran when it was last looked at.
        expected: bool,
    },
    /// It ended with the engine, and the engine has not started it again.
    LeftDown,
    Restarted,
    Paused,
    Unpaused,
    Renamed,
    Removed,
    Healthy,
    Unhealthy,
    Flaps,
    Calm,
}

/// A line of the engine's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) health: Option<Health>,
}

/// The containers of one engine.
#[derive(Debug)]
pub(crate) struct Model {
    containers: BTreeMap<String, Container>,
    ends: HashMap<String, Ends>,
    /// Those that are no more, and since when.
    gone: VecDeque<(Container, u64)>,
    /// When those that ended lately have ended.
    fell: HashMap<String, u64>,
    rule: Rule,
}

impl Model {
    pub(crate) fn new(containers: BTreeMap<String, Container>, rule: Rule) -> Self {
        let (ends, gone, fell) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Self { containers, ends, gone, fell, rule }
    }

    pub(crate) fn containers(&self) -> &BTreeMap<String, Container> {
        &self.containers
    }

    /// Every container, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<&Container> {
        self.containers.values().collect()
    }

    pub(crate) fn gone(&self) -> impl Iterator<Item = &Container> {
        self.gone.iter().map(|(container, _)| container)
    }

    /// Whether its ends are no news any more.
    pub(crate) fn flaps(&self, id: &str) -> bool {
        self.ends.get(id).is_some_and(|ends| ends.flaps)
    }

    /// Takes what the engine says; `now_ms` is a steady clock's.
    pub(crate) fn apply(&mut self, signal: &Signal, now_ms: u64) -> Vec<Change> {
        let moment = rfc3339(signal.at);
        let is_birth = matches!(signal.what, What::Create | What::Start);
        let is_new = !self.containers.contains_key(&signal.id);
        if is_new && is_birth {
            let mut born = Container::new(&signal.id, &signal.name, &signal.image);
            born.created = Some(moment.clone());
            self.containers.insert(signal.id.clone(), born);
        }
        let Some(it) = self.containers.get_mut(&signal.id) else { return Vec::new() };
        let why = match signal.what {
            What::Create if is_new => Why::Created,
            What::Start if !it.phase.is_up() => {
                it.start(&moment);
                Why::Started
            }
            What::Kill if matches!(it.phase, Phase::Running | Phase::Paused) => {
                it.phase = Phase::Stopping;
                Why::Stopping
            }
            What::Oom if it.phase.is_up() => {
                it.oom = true;
                return Vec::new();
            }
            What::Die(code) if it.phase.is_up() => {
                it.end(code, &moment);
                return self.ended(&signal.id, now_ms);
            }
            What::Pause if it.phase == Phase::Running => {
                it.phase = Phase::Paused;
                Why::Paused
            }
            What::Unpause if it.phase == Phase::Paused => {
                it.phase = Phase::Running;
                Why::Unpaused
            }
            What::Rename if it.name != signal.name && !signal.name.is_empty() => {
                it.name.clone_from(&signal.name);
                Why::Renamed
            }
            What::Health(healthy) if it.phase.is_up() => match it.examine(healthy) {
                Some(why) => why,
                None => return Vec::new(),
            },
            What::Destroy => return self.remove(&signal.id, now_ms, false),
            _ => return Vec::new(),
        };
        vec![Change { container: it.clone(), why, reconciled: false }]
    }

    /// A container has ended: also whether it flaps now, or does no more.
    fn ended(&mut self, id: &str, now_ms: u64) -> Vec<Change> {
        self.fell.insert(id.to_owned(), now_ms);
        self.fell.retain(|_, at| now_ms.saturating_sub(*at) <= FELL_MS);
        let Some(it) = self.containers.get(id) else { return Vec::new() };
        let change = |why| Change { container: it.clone(), why, reconciled: false };
        if it.requested {
            let calmed = self.ends.remove(id).is_some_and(|ends| ends.flaps);
            let calm = calmed.then(|| change(Why::Calm));
            let stopped = Why::Stopped { repeated: false, expected: false };
            return [change(stopped)].into_iter().chain(calm).collect();
        }
        let ends = self.ends.entry(id.to_owned()).or_default();
        let flaps = ends.note(now_ms, self.rule);
        let repeated = ends.is_repeated(now_ms, self.rule);
        let stopped = change(Why::Stopped { repeated, expected: false });
        let flaps = flaps.then(|| change(Why::Flaps));
        let changes = [stopped].into_iter().chain(flaps).collect();
        if it.will_be_restarted()
            && let Some(it) = self.containers.get_mut(id)
        {
            it.phase = Phase::Restarting;
        }
        changes
    }

    fn remove(&mut self, id: &str, now_ms: u64, reconciled: bool) -> Vec<Change> {
        let Some(mut it) = self.containers.remove(id) else { return Vec::new() };
        it.phase = Phase::Gone;
        self.fell.remove(id);
        let change = |why| Change { container: it.clone(), why, reconciled };
        let calm = self.ends.remove(id).is_some_and(|ends| ends.flaps).then(|| change(Why::Calm));
        let changes = [change(Why::Removed)].into_iter().chain(calm).collect();
        self.gone.push_back((it, now_ms));
        if self.gone.len() > GONE_MAX {
            self.gone.pop_front();
        }
        changes
    }

    /// Forgets what is no more for longer than this, and says who flaps no more.
    pub(crate) fn settle(&mut self, now_ms: u64, tombstone_ms: u64) -> Vec<Change> {
        self.gone.retain(|(_, at)| now_ms.saturating_sub(*at) < tombstone_ms);
        let rule = self.rule;
        let is_over = |ends: &Ends| ends.over_at(rule).is_some_and(|at| at <= now_ms);
        let over: Vec<String> =
            self.ends.iter().filter(|(_, ends)| is_over(ends)).map(|(id, _)| id.clone()).collect();
        over.iter()
            .filter_map(|id| {
                self.ends.remove(id);
                let container = self.containers.get(id)?.clone();
                Some(Change { container, why: Why::Calm, reconciled: false })
            })
            .collect()
    }

    /// When [`Model::settle`] has something to do next.
    pub(crate) fn settles_at(&self) -> Option<u64> {
        self.ends.values().filter_map(|ends| ends.over_at(self.rule)).min()
    }

    /// Takes from an inspection what signals do not tell; `waited`: a start would have followed by
    /// now.
    pub(crate) fn learn(&mut self, seen: &Container, waited: bool) -> Option<Change> {
        let it = self.containers.get_mut(&seen.id)?;
        it.labels.clone_from(&seen.labels);
        it.details.clone_from(&seen.details);
        it.image.clone_from(&seen.image);
        it.created = seen.created.clone().or(it.created.take());
        it.health = it.health.or(seen.health.map(|_| Health::Starting));
        if matches!(
            (it.phase, seen.phase),
            (Phase::Exited, Phase::Restarting) | (Phase::Restarting, Phase::Exited)
        ) {
            it.phase = seen.phase;
        }
        let failed = !seen.error.is_empty() && !it.phase.is_up() && it.error != seen.error;
        let why = if failed {
            it.error.clone_from(&seen.error);
            (it.phase, it.exit_code) = (Phase::Failed, seen.exit_code);
            Why::StartFailed
        } else if waited && it.phase == Phase::Created && !it.settled {
            it.settled = true;
            Why::NotStarted
        } else {
            return None;
        };
        Some(Change { container: it.clone(), why, reconciled: false })
    }

    /// Which containers are other than the list says.
    pub(crate) fn differing(&self, rows: &[Row]) -> HashSet<String> {
        let ids: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let gone = self.containers.keys().filter(|id| !ids.contains(id.as_str())).cloned();
        let other = rows.iter().filter(|row| {
            self.containers.get(&row.id).is_none_or(|it| {
                is_other(it.phase, row.phase)
                    || it.name != row.name
                    || it.phase.is_up()
                        && row.health.is_some_and(|health| it.health != Some(health))
            })
        });
        gone.chain(other.map(|row| row.id.clone())).collect()
    }

    /// Takes a container as it was found by looking, or that it was not found, and says what no
    /// signal has told.
    pub(crate) fn reconcile(
        &mut self,
        id: &str,
        seen: Option<Container>,
        now_ms: u64,
    ) -> Vec<Change> {
        let Some(mut seen) = seen else { return self.remove(id, now_ms, true) };
        seen.settled = true;
        let before = self.containers.get(id).cloned();
        let whys = before.as_ref().map_or_else(|| vec![Why::Created], |it| unseen(it, &seen));
        if let Some(it) = before {
            // What the engine does not keep.
            let ran_on = it.started == seen.started;
            seen.requested = ran_on && it.requested && !seen.phase.is_up();
            seen.was_healthy |= ran_on && it.was_healthy;
        }
        self.containers.insert(id.to_owned(), seen.clone());
        let change = |why| Change { container: seen.clone(), why, reconciled: true };
        whys.into_iter().map(change).collect()
    }

    /// Those that ended just before the engine did, and have not been started again.
    pub(crate) fn left_down(&self, fallen: &HashSet<String>) -> Vec<Change> {
        let down = fallen.iter().filter_map(|id| self.containers.get(id));
        let down = down.filter(|it| !it.phase.is_up() && it.phase != Phase::Restarting);
        down.map(|it| Change { container: it.clone(), why: Why::LeftDown, reconciled: true })
            .collect()
    }

    /// Those that have ended within the last half minute.
    pub(crate) fn fallen(&self, now_ms: u64) -> HashSet<String> {
        let late = self.fell.iter().filter(|(_, at)| now_ms.saturating_sub(**at) <= FELL_MS);
        late.map(|(id, _)| id.clone()).collect()
    }
}

/// How long an end counts as one that came with the engine's own.
const FELL_MS: u64 = 30_000;

impl Container {
    fn start(&mut self, moment: &str) {
        self.phase = Phase::Running;
        self.started = Some(moment.to_owned());
        (self.exit_code, self.requested, self.oom) = (None, false, false);
        self.error.clear();
        self.was_healthy = false;
        self.health = self.health.map(|_| Health::Starting);
    }

    fn end(&mut self, code: Option<i64>, moment: &str) {
        self.requested = self.phase == Phase::Stopping && !self.oom;
        self.phase = Phase::Exited;
        self.exit_code = code;
        self.finished = Some(moment.to_owned());
    }

    fn examine(&mut self, healthy: bool) -> Option<Why> {
        let health = if healthy { Health::Healthy } else { Health::Unhealthy };
        if self.health == Some(health) {
            return None;
        }
        self.health = Some(health);
        self.was_healthy |= healthy;
        Some(if healthy { Why::Healthy } else { Why::Unhealthy })
    }
}

/// Whether the model and the engine speak of different phases; some have no counterpart.
fn is_other(known: Phase, listed: Phase) -> bool {
    let plain = |phase| match phase {
        Phase::Failed | Phase::Created | Phase::Exited | Phase::Restarting => Phase::Exited,
        phase => phase,
    };
    plain(known) != plain(listed)
}

/// What must have happened to a container between two looks.
fn unseen(it: &Container, seen: &Container) -> Vec<Why> {
    let mut whys = Vec::new();
    let stopped = |expected| Why::Stopped { repeated: false, expected };
    if it.name != seen.name {
        whys.push(Why::Renamed);
    }
    let same =
        |a: &Option<String>, b: &Option<String>| moment(a.as_deref()) == moment(b.as_deref());
    match (it.phase.is_up(), seen.phase.is_up()) {
        (true, false) => whys.push(stopped(!seen.is_done())),
        (false, true) => whys.push(Why::Started),
        (true, true) if !same(&it.started, &seen.started) => whys.push(Why::Restarted),
        (true, true) => match (it.phase, seen.phase) {
            (Phase::Running | Phase::Stopping, Phase::Paused) => whys.push(Why::Paused),
            (Phase::Paused, Phase::Running) => whys.push(Why::Unpaused),
            (Phase::Stopping, Phase::Running) => whys.push(Why::StillRuns),
            _ => {}
        },
        // It has run in between, and nobody has seen it.
        (false, false) if seen.phase == Phase::Exited && !same(&it.finished, &seen.finished) => {
            whys.push(stopped(false));
        }
        (false, false) if !seen.error.is_empty() && it.error != seen.error => {
            whys.push(Why::StartFailed);
        }
        (false, false) => {}
    }
    let (now, before) = (seen.health, it.health);
    if seen.phase.is_up() && now != before {
        match now {
            Some(Health::Healthy) => whys.push(Why::Healthy),
            Some(Health::Unhealthy) => whys.push(Why::Unhealthy),
            Some(Health::Starting) | None => {}
        }
    }
    whys
}

/// To the second: an event and an inspection tell the same moment a little differently.
fn moment(text: Option<&str>) -> Option<i64> {
    let moment = chrono::DateTime::parse_from_rfc3339(text?).ok()?;
    Some(moment.timestamp())
}

/// A moment in nanoseconds since 1970 as RFC 3339.
fn rfc3339(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos)
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
