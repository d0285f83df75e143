//! What stays, and why. Pure: what there is, what the policy says, and now.
//!
//! A snapshot belongs to the hour, day, week, month and year of its slot in the policy's time zone.
//! The first one of such a time stands for it, for as long as it is there: what a day is stood for by
//! does not change when the day grows old, so nothing slides. Of each kind the newest so many times
//! that have a snapshot count, so a machine that was off keeps what it has. A snapshot in which files
//! are missing stands for its time only as long as there is none that is whole.
//!
//! Which of two snapshots is the newer one is said by the storage's order, never by a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use uuid::Uuid;

use super::model::Retention;
use crate::backend::{Owner, Snapshot, SnapshotId, SnapshotState};

/// A snapshot that is further ahead of the clock than this is from the future.
const AHEAD: TimeDelta = TimeDelta::seconds(60);
/// The part of a policy's snapshots that may go at once without approval, and the least number.
const SHARE: usize = 5;
const AT_LEAST: usize = 10;

/// Why a snapshot stays or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Reason {
    /// Somebody else made it.
    Foreign,
    /// Ours, but not this policy's.
    OtherPolicy,
    /// The policy has no rules.
    NoRules,
    /// Its records are damaged; it counts for no rule, and somebody should look.
    Damaged,
    /// The newest the policy has, or the newest that is whole.
    Newest,
    /// Its time is still to come, so the clock is or was wrong.
    Future,
    /// Somebody holds it, such as a replication that needs it.
    Held {
        /// The tag.
        by: String,
    },
    /// Younger than `min_age_s`.
    Young,
    /// One of the newest `last`.
    Last,
    /// It stands for an hour, a day, a week, a month or a year.
    Stands {
        /// `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
        kind: &'static str,
        /// The time it stands for, such as `2026-11-21`.
        time: String,
    },
    /// It has a label that stays.
    Label {
        /// The label.
        label: String,
    },
    /// No rule keeps it.
    Unneeded,
    /// Kept by a rule, but older than `max_age_s`.
    Old,
    /// Kept by a rule, but room is needed and it is one of the oldest.
    Space,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "somebody else made it"),
            Self::OtherPolicy => write!(f, "not of this policy"),
            Self::NoRules => write!(f, "the policy destroys nothing"),
            Self::Damaged => write!(f, "damaged"),
            Self::Newest => write!(f, "the newest"),
            Self::Future => write!(f, "from the future"),
            Self::Held { by } => write!(f, "held: {by}"),
            Self::Young => write!(f, "too young"),
            Self::Last => write!(f, "one of the last"),
            Self::Stands { kind, time } => write!(f, "{kind} {time}"),
            Self::Label { label } => write!(f, "labelled {label}"),
            Self::Unneeded => write!(f, "no rule keeps it"),
            Self::Old => write!(f, "too old"),
            Self::Space => write!(f, "room is needed"),
        }
    }
}

/// What is to become of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which.
    pub snapshot: SnapshotId,
    /// Whether it stays.
    pub keep: bool,
    /// Why; all that apply.
    pub reasons: Vec<Reason>,
}

/// What else is to be known.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The policy that is asked.
    pub policy: Uuid,
    /// Its rules.
    pub retention: &'a Retention,
    /// Its time zone.
    pub zone: Tz,
    /// The time.
    pub now: DateTime<Utc>,
    /// Holds, by snapshot. Whoever is in here stays, whatever the reason.
    pub protected: &'a BTreeMap<SnapshotId, Vec<Reason>>,
    /// Whether less room is left than the policy wants.
    pub short_of_space: bool,
}

/// Decides about all snapshots of one dataset, in their order.
pub fn plan(snapshots: &[Snapshot], view: &View<'_>) -> Vec<Verdict> {
    let mut ordered: Vec<&Snapshot> = snapshots.iter().collect();
    ordered.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
    let rules = Rules::new(&ordered, view);
    let mut verdicts: Vec<Verdict> = ordered.iter().map(|one| rules.judge(one)).collect();
    if view.short_of_space {
        give_up_oldest(&mut verdicts);
    }
    verdicts
}

/// How many snapshots may go in one run of a policy that has `owned` of them.
pub fn most_at_once(retention: &Retention, owned: usize) -> usize {
    match retention.max_destroy_per_run {
        Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
        None => (owned / SHARE).max(AT_LEAST),
    }
}

/// Whether a snapshot is of this policy, so that it could ever go.
pub fn is_of(policy: Uuid, snapshot: &Snapshot) -> bool {
    snapshot.owner == Owner::Ours && snapshot.mark.is_some_and(|mark| mark.policy == policy)
}

/// The moment a snapshot counts for.
fn moment(snapshot: &Snapshot) -> DateTime<Utc> {
    snapshot.mark.map_or(snapshot.created, |mark| mark.slot)
}

/// What the rules say, worked out once for all snapshots.
struct Rules<'a> {
    view: &'a View<'a>,
    newest: BTreeSet<SnapshotId>,
    last: BTreeSet<SnapshotId>,
    standing: BTreeMap<SnapshotId, Vec<Reason>>,
}

impl<'a> Rules<'a> {
    fn new(ordered: &[&Snapshot], view: &'a View<'a>) -> Self {
        let readable =
            |one: &&&Snapshot| is_of(view.policy, one) && one.state != SnapshotState::Corrupt;
        let own: Vec<&Snapshot> = ordered.iter().filter(readable).copied().collect();
        let newest = [own.last(), own.iter().rfind(|one| is_whole(one))];
        let newest = newest.into_iter().flatten().map(|one| one.id.clone()).collect();
        // What is ahead of the clock stands for nothing, so that it takes no other one's place.
        let counted: Vec<&Snapshot> =
            own.into_iter().filter(|one| !is_ahead(one, view.now)).collect();
        let count = usize::try_from(view.retention.last).unwrap_or(usize::MAX);
        let last = counted.iter().rev().take(count).map(|one| one.id.clone()).collect();
        Self { view, newest, last, standing: standing(&counted, view) }
    }

    fn judge(&self, one: &Snapshot) -> Verdict {
        let keep = |reason| Verdict { snapshot: one.id.clone(), keep: true, reasons: vec![reason] };
        let view = self.view;
        if one.owner != Owner::Ours {
            return keep(Reason::Foreign);
        }
        if !is_of(view.policy, one) {
            return keep(Reason::OtherPolicy);
        }
        if !view.retention.has_rules() {
            return keep(Reason::NoRules);
        }
        if one.state == SnapshotState::Corrupt {
            return keep(Reason::Damaged);
        }
        let firm = self.firm(one);
        let ruled = self.ruled(one);
        let old = view.retention.max_age_s.is_some_and(|age| is_older(one, age, view.now));
        let (keep, reasons) = match (firm.is_empty(), ruled.is_empty(), old) {
            (false, _, _) => (true, [firm, ruled].concat()),
            (true, true, false) => (false, vec![Reason::Unneeded]),
            (true, _, true) => (false, vec![Reason::Old]),
            (true, false, false) => (true, ruled),
        };
        Verdict { snapshot: one.id.clone(), keep, reasons }
    }

    /// What keeps it however old it is and however little room there is.
    fn firm(&self, one: &Snapshot) -> Vec<Reason> {
        let view = self.view;
        let mut reasons = view.protected.get(&one.id).cloned().unwrap_or_default();
        if self.newest.contains(&one.id) {
            reasons.push(Reason::Newest);
        }
        if is_ahead(one, view.now) {
            reasons.push(Reason::Future);
        }
        if view.retention.min_age_s > 0 && !is_older(one, view.retention.min_age_s, view.now) {
            reasons.push(Reason::Young);
        }
        let label = one.label.as_ref().filter(|it| view.retention.keep_labels.contains(it));
        reasons.extend(label.map(|label| Reason::Label { label: label.clone() }));
        reasons
    }

    /// What the counting rules keep.
    fn ruled(&self, one: &Snapshot) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.last.contains(&one.id) {
            reasons.push(Reason::Last);
        }
        reasons.extend(self.standing.get(&one.id).into_iter().flatten().cloned());
        // Rules that count keep nothing when there is none: then age alone decides.
        if reasons.is_empty() && self.view.retention.only_age() {
            reasons.push(Reason::Young);
        }
        reasons
    }
}

/// Which snapshots stand for the times that count.
fn standing(own: &[&Snapshot], view: &View<'_>) -> BTreeMap<SnapshotId, Vec<Reason>> {
    let rules = view.retention;
    let kinds: [(&'static str, u32, Naming); 5] = [
        ("hourly", rules.hourly, hour),
        ("daily", rules.daily, day),
        ("weekly", rules.weekly, week),
        ("monthly", rules.monthly, month),
        ("yearly", rules.yearly, year),
    ];
    let mut standing: BTreeMap<SnapshotId, Vec<Reason>> = BTreeMap::new();
    for (kind, count, name) in kinds {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut first: BTreeMap<String, &Snapshot> = BTreeMap::new();
        for one in own.iter().rev().filter(|_| count > 0) {
            let time = name(moment(one).with_timezone(&view.zone));
            // Some files are better than none, and all are better than some.
            let worse = first.get(&time).is_some_and(|later| is_whole(later) && !is_whole(one));
            if !worse {
                first.insert(time, one);
            }
        }
        // By their names, which are in the order of time.
        for (time, one) in first.into_iter().rev().take(count) {
            let reasons = standing.entry(one.id.clone()).or_default();
            reasons.push(Reason::Stands { kind, time });
        }
    }
    standing
}

/// What a moment belongs to, as text.
type Naming = fn(DateTime<Tz>) -> String;

/// With its distance from UTC: in autumn there are two of the same name.
fn hour(at: DateTime<Tz>) -> String {
    at.format("%Y-%m-%dT%H%z").to_string()
}

fn day(at: DateTime<Tz>) -> String {
    at.format("%Y-%m-%d").to_string()
}

fn week(at: DateTime<Tz>) -> String {
    let week = at.iso_week();
    format!("{}-W{:02}", week.year(), week.week())
}

fn month(at: DateTime<Tz>) -> String {
    at.format("%Y-%m").to_string()
}

fn year(at: DateTime<Tz>) -> String {
    at.format("%Y").to_string()
}

/// For want of room the oldest of what only counting rules keep go, as many as may go at once. Whoever
/// does it stops as soon as there is room.
fn give_up_oldest(verdicts: &mut [Verdict]) {
    let by_count = |verdict: &Verdict| {
        let counts = |reason: &Reason| matches!(reason, Reason::Last | Reason::Stands { .. });
        verdict.keep && verdict.reasons.iter().all(counts)
    };
    for verdict in verdicts.iter_mut().filter(|verdict| by_count(verdict)).take(AT_LEAST) {
        verdict.keep = false;
        verdict.reasons = vec![Reason::Space];
    }
}

fn is_whole(one: &Snapshot) -> bool {
    one.state == SnapshotState::Complete
}

fn is_ahead(one: &Snapshot, now: DateTime<Utc>) -> bool {
    one.created.max(moment(one)) > now + AHEAD
}

fn is_older(one: &Snapshot, age_s: u64, now: DateTime<Utc>) -> bool {
    let age = i64::try_from(age_s).ok().and_then(TimeDelta::try_seconds);
    age.is_some_and(|age| now - moment(one) > age)
}

#[cfg(test)]
mod tests;
