//! What is kept of a rule and of what it does: pure.

use protocol::{Class, Cursor, Event, Fault, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dispatch::orders::order::json_of;
use crate::store::StoredRun;
use crate::trigger::rule::{Manner, When};

/// What makes an order a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// What it waits for.
    pub(crate) when: When,
    /// How it acts.
    pub(crate) manner: Manner,
    /// Everything up to here was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<Cursor>,
    /// Of a schedule: the moment it last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Time>,
    /// Of a path: what was there last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) print: Option<String>,
}

/// How far something is that a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It waits: for its time, for others of its key, or for the next try.
    Waiting,
    /// It was begun.
    Running,
    /// It did what it should.
    Done,
    /// It was given up; it can be retried.
    Dead,
    /// Another event of the same key came soon after.
    Superseded,
    /// It was over before it had lasted long enough.
    Over,
}

impl State {
    /// The word, for example `waiting`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
            Self::Over => "over",
        }
    }
}

/// Why a rule does something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// An event.
    Event {
        /// Its number.
        seq: u64,
        /// Its id.
        id: Uuid,
        /// Its kind.
        class: Class,
        /// What it was about.
        subject: String,
    },
    /// A moment of the schedule.
    Moment(Time),
    /// The file or directory changed.
    Change,
}

/// One thing that a rule does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Act {
    /// Its identity.
    pub(crate) id: Uuid,
    /// The rule.
    pub(crate) rule: Uuid,
    /// How far it is.
    pub(crate) state: State,
    /// Why.
    pub(crate) cause: Cause,
    /// When that was.
    pub(crate) created: Time,
    /// Before this it is not begun.
    pub(crate) due: Time,
    /// What counts as the same.
    pub(crate) key: String,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// The job of the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<Uuid>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Time>,
    /// Why it did not work, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Fault>,
}

impl Act {
    /// What a rule does because of this event.
    pub(crate) fn of(rule: Uuid, manner: &Manner, event: &Event) -> Option<Self> {
        let cause = Cause::Event {
            seq: event.seq?,
            id: event.id,
            class: event.class.clone(),
            subject: event.subject.clone(),
        };
        let id = crate::trigger::rule::run_id(rule, event.id.as_bytes());
        let key = manner.key.of(&event.subject).to_owned();
        Some(Self::new((id, rule), cause, (event.time, manner.due(event.time)), key))
    }

    /// Something that waits.
    pub(crate) fn new(
        (id, rule): (Uuid, Uuid),
        cause: Cause,
        (created, due): (Time, Time),
        key: String,
    ) -> Self {
        Self {
            id,
            rule,
            state: State::Waiting,
            cause,
            created,
            due,
            key,
            tries: 0,
            job: None,
            ended: None,
            error: None,
        }
    }

    /// As it lies in the database.
    pub(crate) fn stored(&self) -> Result<StoredRun, Fault> {
        let Self { id, rule, created, ended, .. } = *self;
        Ok(StoredRun { id, owner: rule, created, ended, body: json_of(self)? })
    }

    /// As it was kept; `None` when it is something else.
    pub(crate) fn read(stored: &StoredRun) -> Option<Self> {
        stored.body.read().ok()
    }
}
