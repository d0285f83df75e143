//! How events become bytes: given to the bus by `wire`, shared by all clients with the same face.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use protocol::{Cursor, Event, Gap};

/// How one protocol words what a subscription delivers. Pure functions that append whole frames.
#[derive(Debug)]
pub struct Wording {
    /// Tells wordings apart.
    pub name: &'static str,
    /// One event; `cursor` is where the client may resume after it; `tag` is the subscription's.
    pub event: fn(event: &Event, cursor: &Cursor, tag: &str, frames: &mut Vec<u8>),
    /// A gap. A protocol that has no word for it appends nothing.
    pub gap: fn(gap: &Gap, cursor: &Cursor, tag: &str, frames: &mut Vec<u8>),
}

/// A wording and the tag of a subscription. Two subscriptions with equal faces get the same bytes,
/// so these are made only once.
#[derive(Debug, Clone)]
pub struct Face {
    /// The wording.
    pub wording: &'static Wording,
    /// What the client calls the subscription.
    pub tag: Arc<str>,
}

impl Face {
    /// A face.
    pub fn new(wording: &'static Wording, tag: &str) -> Self {
        Self { wording, tag: Arc::from(tag) }
    }

    pub(crate) fn event(&self, event: &Event, cursor: &Cursor, frames: &mut Vec<u8>) {
        (self.wording.event)(event, cursor, &self.tag, frames);
    }

    pub(crate) fn gap(&self, gap: &Gap, cursor: &Cursor, frames: &mut Vec<u8>) {
        (self.wording.gap)(gap, cursor, &self.tag, frames);
    }
}

impl PartialEq for Face {
    fn eq(&self, other: &Self) -> bool {
        self.wording.name == other.wording.name && self.tag == other.tag
    }
}

impl Eq for Face {}

impl Hash for Face {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wording.name.hash(state);
        self.tag.hash(state);
    }
}
