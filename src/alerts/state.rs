//! What an alert is, and how it goes from one state to the next: pure, the time comes in.

use std::time::Duration;

use protocol::{Class, Json, Priority, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::Rule;

/// How soon after its end an alert that begins again is one that comes and goes.
const RELAPSE: Duration = Duration::from_hours(1);
/// How often the wait for the end is doubled at most.
const RELAPSES_MAX: u32 = 5;
/// The least wait for the end of what comes and goes.
const RELAPSE_WAIT: Duration = Duration::from_secs(30);

/// Where an alert stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Something is wrong, not for long enough yet.
    Pending,
    /// Something is wrong.
    Open,
    /// It is over, not for long enough yet.
    Clearing,
    /// Nothing is wrong any more.
    Closed,
}

impl State {
    /// The word, for example `open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::Clearing => "clearing",
            Self::Closed => "closed",
        }
    }
}

/// That somebody looks after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledged {
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Time,
    /// What they said; may be empty.
    pub note: String,
}

/// That nobody is to be told for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silenced {
    /// Who said so.
    pub by: String,
    /// Until when.
    pub until: Time,
    /// What they said; may be empty.
    pub note: String,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its number; the same for the same source, kind and subject as long as it is remembered.
    pub id: u64,
    /// Who raised it: the id of a plugin, or `sysadmd`.
    pub source: String,
    /// The kind, such as `system.disk-full`.
    pub kind: Class,
    /// What it is about; may be empty.
    pub subject: String,
    /// Where it stands.
    pub state: State,
    /// How urgent, at its worst since it began.
    pub priority: Priority,
    /// What is wrong, as it was said last.
    pub message: String,
    /// What to do about it.
    pub advice: String,
    /// For measured alerts: how it was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// More for machines.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    #[schemars(with = "serde_json::Value")]
    pub data: Json,
    /// How often it was said since it began.
    pub count: u64,
    /// How often it came back before it was over for long enough.
    pub flips: u64,
    /// When it was said first since it began.
    pub first_seen: Time,
    /// When it was said last.
    pub last_seen: Time,
    /// When it came into this state.
    pub since: Time,
    /// When it was over; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Time>,
    /// How often it began within an hour of its end, in a row: it is waited longer for its end then.
    #[serde(default)]
    pub relapses: u32,
    /// Whether anybody was told that it is open.
    pub told: bool,
    /// That somebody looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// That nobody is told for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced: Option<Silenced>,
}

/// What was said of something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) priority: Priority,
    pub(crate) message: String,
    pub(crate) advice: String,
    pub(crate) value: Option<i64>,
    pub(crate) data: Json,
}

/// What moves an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// It is wrong.
    Raise(Seen),
    /// It is over.
    Clear,
    /// Time has passed.
    Tick,
    /// Somebody looks after it.
    Acknowledge { by: String, note: String },
    /// Nobody does any more.
    Unacknowledge,
    /// Nobody is to be told.
    Silence { by: String, until: Time, note: String },
    /// Everybody is to be told again.
    Unsilence,
    /// Somebody says that it is over.
    Close,
}

/// What has happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// It was said for the first time, and is waited with.
    Began,
    /// It is open.
    Raised,
    /// It was said again.
    Repeated,
    /// It is more urgent than before.
    Worsened,
    /// It is over, and is waited with.
    Easing,
    /// It came back before it was over for long enough.
    Returned,
    /// It was over before anybody was told.
    Passed,
    /// It is over.
    Cleared,
    /// Somebody looks after it.
    Acknowledged,
    /// Nobody does any more.
    Unacknowledged,
    /// Nobody is told for a while.
    Silenced,
    /// Everybody is told again.
    Unsilenced,
}

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) verb: Verb,
    /// Whether people are to be told.
    pub(crate) notify: bool,
}

impl Alert {
    /// One of which nothing was said yet.
    pub(crate) fn new(id: u64, source: &str, kind: Class, subject: &str, now: Time) -> Self {
        Self {
            id,
            source: source.to_owned(),
            kind,
            subject: subject.to_owned(),
            state: State::Closed,
            priority: Priority::MIN,
            message: String::new(),
            advice: String::new(),
            value: None,
            data: Json::default(),
            count: 0,
            flips: 0,
            first_seen: now,
            last_seen: now,
            since: now,
            closed: None,
            relapses: 0,
            told: false,
            acknowledged: None,
            silenced: None,
        }
    }

    /// Whether something is wrong, as far as people are concerned.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Clearing)
    }

    /// When time alone changes it next.
    pub(crate) fn due(&self, rule: &Rule) -> Option<Time> {
        let wait = match self.state {
            State::Pending => Some(later(self.since, rule.wait)),
            State::Clearing => Some(later(self.since, self.hold(rule))),
            State::Open | State::Closed => None,
        };
        let silence = self.silenced.as_ref().map(|silenced| silenced.until);
        [wait, silence].into_iter().flatten().min()
    }

    /// Takes one step; what has changed is worth an event, unless it is `None`.
    pub(crate) fn step(&mut self, input: Input, rule: &Rule, now: Time) -> Option<Change> {
        // A clock that was set back: what is waited for begins anew rather than lasting for days.
        self.since = self.since.min(now);
        match input {
            Input::Raise(seen) => self.raise(seen, rule, now),
            Input::Clear => self.clear(rule, now),
            Input::Tick => self.tick(rule, now),
            Input::Acknowledge { by, note } if self.state != State::Closed => {
                self.acknowledged = Some(Acknowledged { by, at: now, note });
                quiet(Verb::Acknowledged)
            }
            Input::Unacknowledge => {
                self.acknowledged.take().and_then(|_| quiet(Verb::Unacknowledged))
            }
            Input::Silence { by, until, note } if until > now => {
                self.silenced = Some(Silenced { by, until, note });
                quiet(Verb::Silenced)
            }
            Input::Unsilence => self.silenced.take().map(|_| self.audible_again()),
            Input::Close if self.state != State::Closed => Some(self.close(now)),
            Input::Acknowledge { .. } | Input::Silence { .. } | Input::Close => None,
        }
    }

    fn raise(&mut self, seen: Seen, rule: &Rule, now: Time) -> Option<Change> {
        if self.state == State::Closed {
            self.begin(now);
        }
        let before = self.priority;
        self.count = self.count.saturating_add(1);
        self.last_seen = now;
        let Seen { priority, message, advice, value, data } = seen;
        self.priority = before.max(priority);
        (self.message, self.advice, self.value, self.data) = (message, advice, value, data);
        match self.state {
            State::Closed if rule.wait.is_zero() => Some(self.open(now)),
            State::Closed => {
                self.enter(State::Pending, now);
                quiet(Verb::Began)
            }
            State::Pending if elapsed(self.since, now) >= rule.wait => Some(self.open(now)),
            State::Pending => quiet(Verb::Repeated),
            State::Clearing => {
                self.flips = self.flips.saturating_add(1);
                self.enter(State::Open, now);
                self.worsened(before).or(quiet(Verb::Returned))
            }
            State::Open => self.worsened(before).or(quiet(Verb::Repeated)),
        }
    }

    /// Forgets what was said of the last time.
    fn begin(&mut self, now: Time) {
        let is_relapse = self.closed.is_some_and(|closed| elapsed(closed, now) < RELAPSE);
        self.relapses = if is_relapse { (self.relapses + 1).min(RELAPSES_MAX) } else { 0 };
        self.priority = Priority::MIN;
        (self.count, self.flips) = (0, 0);
        (self.first_seen, self.told) = (now, false);
        (self.closed, self.acknowledged) = (None, None);
    }

    fn open(&mut self, now: Time) -> Change {
        self.enter(State::Open, now);
        self.told = self.silenced.is_none();
        Change { verb: Verb::Raised, notify: self.told }
    }

    /// What is more urgent than what somebody has acknowledged is looked at again.
    fn worsened(&mut self, before: Priority) -> Option<Change> {
        if self.priority <= before {
            return None;
        }
        self.acknowledged = None;
        let notify = self.silenced.is_none();
        self.told |= notify;
        Some(Change { verb: Verb::Worsened, notify })
    }

    fn clear(&mut self, rule: &Rule, now: Time) -> Option<Change> {
        match self.state {
            State::Pending => Some(self.close(now)),
            State::Open if self.hold(rule).is_zero() => Some(self.close(now)),
            State::Open => {
                self.enter(State::Clearing, now);
                quiet(Verb::Easing)
            }
            State::Clearing if elapsed(self.since, now) >= self.hold(rule) => Some(self.close(now)),
            State::Clearing | State::Closed => None,
        }
    }

    fn tick(&mut self, rule: &Rule, now: Time) -> Option<Change> {
        let is_silence_over = self.silenced.as_ref().is_some_and(|it| it.until <= now);
        if is_silence_over {
            self.silenced = None;
        }
        let waited = elapsed(self.since, now);
        match self.state {
            State::Pending if waited >= rule.wait => Some(self.open(now)),
            State::Clearing if waited >= self.hold(rule) => Some(self.close(now)),
            _ if is_silence_over => Some(self.audible_again()),
            _ => None,
        }
    }

    /// Who was told that something is wrong is told that it is over, also while it is silent.
    fn close(&mut self, now: Time) -> Change {
        let verb = if self.is_open() { Verb::Cleared } else { Verb::Passed };
        self.enter(State::Closed, now);
        self.closed = Some(now);
        Change { verb, notify: std::mem::take(&mut self.told) }
    }

    /// The end of a silence: what nobody was told is told now.
    fn audible_again(&mut self) -> Change {
        let notify = self.is_open() && !self.told;
        self.told |= notify;
        Change { verb: Verb::Unsilenced, notify }
    }

    /// How long it must be over: longer for what comes and goes.
    fn hold(&self, rule: &Rule) -> Duration {
        match self.relapses {
            0 => rule.hold,
            relapses => rule.hold.max(RELAPSE_WAIT).saturating_mul(1 << relapses.min(RELAPSES_MAX)),
        }
    }

    fn enter(&mut self, state: State, now: Time) {
        (self.state, self.since) = (state, now);
    }
}

/// `Some`, so that it can stand where a change may be none.
#[expect(clippy::unnecessary_wraps, reason = "most of its callers may have no change")]
const fn quiet(verb: Verb) -> Option<Change> {
    Some(Change { verb, notify: false })
}

/// How much time lies between; none when the clock was set back.
pub(crate) fn elapsed(from: Time, to: Time) -> Duration {
    Duration::from_micros(to.micros().saturating_sub(from.micros()))
}

/// So long after it.
pub(crate) fn later(time: Time, by: Duration) -> Time {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_add(micros))
}

#[cfg(test)]
mod tests;
