//! The newest recorded events, kept in memory so that a client a little behind costs no query.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Event;

/// Bytes of events kept: about ten thousand ordinary ones.
const TAIL_BYTES: usize = 4 * 1024 * 1024;

/// The end of the log, in memory.
#[derive(Debug)]
pub(crate) struct Tail(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    /// Everything after this number is in `events`, without holes.
    before: u64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Tail {
    /// An empty tail of a log whose newest event has this number.
    pub(crate) fn new(head: u64) -> Self {
        let ring = Ring { before: head, events: VecDeque::new(), bytes: 0 };
        Self(Mutex::new(ring))
    }

    /// Takes in what was recorded next.
    pub(crate) fn push(&self, batch: &[Arc<Event>]) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in batch {
            ring.bytes += event.weight();
            ring.events.push_back(Arc::clone(event));
        }
        while ring.bytes > TAIL_BYTES {
            let Some(oldest) = ring.events.pop_front() else { break };
            ring.bytes -= oldest.weight();
            ring.before = oldest.seq.unwrap_or(ring.before);
        }
    }

    /// The events after `seq`, `most` at most; `None` when it does not reach back that far.
    pub(crate) fn after(&self, seq: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(seq.checked_sub(ring.before)?).ok()?;
        Some(ring.events.iter().skip(skip).take(most).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::tests::recorded;

    #[test]
    fn it_answers_only_for_what_it_holds_without_holes() {
        let tail = Tail::new(10);
        assert_eq!(tail.after(9, 5), None);
        assert_eq!(tail.after(10, 5), Some(Vec::new()));
        tail.push(&[recorded(11, 0), recorded(12, 0), recorded(13, 0)]);
        let seqs = |after, most| -> Vec<u64> {
            tail.after(after, most).unwrap().iter().filter_map(|event| event.seq).collect()
        };
        assert_eq!(seqs(10, 2), [11, 12]);
        assert_eq!(seqs(12, 9), [13]);
        assert_eq!(seqs(99, 9), Vec::<u64>::new());
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let tail = Tail::new(0);
        let mut large = (*recorded(1, 0)).clone();
        large.message = "x".repeat(1024 * 1024);
        for seq in 1..=6 {
            large.seq = Some(seq);
            tail.push(&[Arc::new(large.clone())]);
        }
        assert_eq!(tail.after(0, 9), None);
        assert_eq!(tail.after(5, 9).unwrap().len(), 1);
        assert!(tail.0.lock().unwrap().bytes <= TAIL_BYTES);
    }
}
