//! What a reader has heard and nobody has looked at yet.
//!
//! The reader never waits: an engine whose events are not read becomes slow for everybody. What does
//! not fit is thrown away, and the model is compared with the list instead.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::engine::Facts;
use crate::signal::Signal;

/// Signals that wait: some minutes of a busy engine, some megabytes.
const SIGNALS_MAX: usize = 16_384;

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Events are heard; `was_down`: the engine could not be reached in between.
    Ready { facts: Facts, was_down: bool },
    /// Nothing is heard, for this reason.
    Lost(String),
}

/// What has come in.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) signals: VecDeque<Signal>,
    pub(crate) link: Option<Link>,
    /// Signals were thrown away.
    pub(crate) overflow: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.signals.is_empty() && self.link.is_none() && !self.overflow
    }
}

/// Between the reader and the model.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    batch: Mutex<Batch>,
    more: Condvar,
}

impl Inbox {
    pub(crate) fn put(&self, signal: Signal) {
        self.with(|batch| {
            if batch.signals.len() >= SIGNALS_MAX {
                batch.signals.clear();
                batch.overflow = true;
            }
            batch.signals.push_back(signal);
        });
    }

    /// The newest state of the connection counts.
    pub(crate) fn link(&self, link: Link) {
        self.with(|batch| batch.link = Some(link));
    }

    fn with(&self, change: impl FnOnce(&mut Batch)) {
        change(&mut self.batch.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_all();
    }

    /// Waits until there is something, or until then, and takes all there is.
    pub(crate) fn wait_until(&self, end: Instant) -> Batch {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        while batch.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.more.wait_timeout(batch, left);
            batch = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::What;

    #[test]
    fn too_much_is_thrown_away_and_that_is_said() {
        let inbox = Inbox::default();
        let (id, name, image) = ("a".to_owned(), String::new(), String::new());
        let signal = Signal { id, at: 0, name, image, what: What::Look };
        for _ in 0..=SIGNALS_MAX {
            inbox.put(signal.clone());
        }
        let batch = inbox.wait_until(Instant::now());
        assert!(batch.overflow && batch.signals.len() == 1);
        assert!(inbox.wait_until(Instant::now()).is_empty());
    }
}
