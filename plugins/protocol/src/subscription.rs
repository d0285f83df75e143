//! What a subscription asks for and what it is told.

use serde::{Deserialize, Serialize};

use crate::Cursor;

/// Where a subscription begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    #[default]
    Now,
    /// With the oldest event the log still holds.
    Oldest,
    /// With the newest event of every class and subject that is wanted, then the next.
    Snapshot,
    /// Right after what the cursor covers.
    After(Cursor),
}

/// What happens when a client does not read fast enough. Memory is bounded under each of them.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Nothing recorded is left out: the rest is read from the log when the client reads again.
    #[default]
    Lossless,
    /// Of each class and subject only the newest is kept waiting.
    Latest,
    /// The least urgent are left out first, and a [`Gap`] says exactly how many. Priority 6 and
    /// above is never left out.
    Drop,
    /// The connection is closed with a code that says so; the client resumes with its cursor.
    Disconnect,
}

/// A stretch of the log that a subscription was not given, and why.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first number of the stretch.
    pub from_seq: u64,
    /// The last number of the stretch.
    pub to_seq: u64,
    /// How many wanted events are missing; absent when nobody can know any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Why.
    pub reason: GapReason,
    /// Where to resume, if one wants what was left out and the log still holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_from: Option<Cursor>,
}

/// Why there is a gap.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The client was too slow and had chosen to have events dropped.
    Slow,
    /// The client was too slow and had chosen to have events coalesced.
    Coalesced,
    /// The cursor points at events that retention has removed.
    Expired,
    /// The cursor belongs to another database, so nothing can be said about what was missed.
    OtherInstance,
    /// The cursor lies beyond the end of the log: the log was restored from an older copy.
    AheadOfLog,
}
