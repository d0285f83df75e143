//! What may overtake while a subscription is behind: urgent events, and the newest state.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::cursor::AHEAD_MAX;
use protocol::{Event, Priority};

use super::latest::key;

/// States that wait for a subscription that is behind; beyond it the rest is left out, as the
/// next state of the same subject will come anyway.
const STATES_MAX: usize = 64;

/// The overtaking lane of one subscription. Bounded: [`AHEAD_MAX`] urgent events and
/// [`STATES_MAX`] states.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The most urgent first, then by number.
    urgent: BTreeMap<(Reverse<Priority>, u64), Arc<Event>>,
    states: BTreeMap<(String, String), Arc<Event>>,
    /// Numbers that have overtaken and that the log has not reached yet.
    ahead: BTreeSet<u64>,
    /// Wanted events that are not kept anywhere and went by meanwhile.
    passed_over: u64,
}

impl Lane {
    /// Lets an urgent, recorded event wait here; when the lane is full it comes in its turn.
    pub(crate) fn put_urgent(&mut self, event: &Arc<Event>) {
        let Some(seq) = event.seq else { return };
        if self.urgent.len() < AHEAD_MAX && !self.ahead.contains(&seq) {
            self.urgent.insert((Reverse(event.priority), seq), Arc::clone(event));
        }
    }

    /// Lets a state wait here in place of an older one of the same class and subject.
    pub(crate) fn put_state(&mut self, event: &Arc<Event>) {
        let key = key(event);
        if self.states.len() < STATES_MAX || self.states.contains_key(&key) {
            self.states.insert(key, Arc::clone(event));
        }
    }

    /// The next event to overtake everything up to `cursor`; `None` when there is none or as many
    /// as a cursor can name have overtaken already.
    pub(crate) fn pop_urgent(&mut self, cursor: u64) -> Option<Arc<Event>> {
        while self.ahead.len() < AHEAD_MAX {
            let ((_, seq), event) = self.urgent.pop_first()?;
            if seq > cursor {
                self.ahead.insert(seq);
                return Some(event);
            }
        }
        None
    }

    /// The states that wait.
    pub(crate) fn take_states(&mut self) -> Vec<Arc<Event>> {
        std::mem::take(&mut self.states).into_values().collect()
    }

    /// An event that is kept nowhere went by.
    pub(crate) fn pass_over(&mut self) {
        self.passed_over += 1;
    }

    /// How many went by since the last question.
    pub(crate) fn take_passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.passed_over)
    }

    /// Whether something waits that the log will not bring.
    pub(crate) fn has_passing(&self) -> bool {
        self.passed_over > 0 || !self.states.is_empty()
    }

    /// Whether this number has overtaken, so that it is not delivered again.
    pub(crate) fn has_overtaken(&self, seq: u64) -> bool {
        self.ahead.contains(&seq)
    }

    /// Begins with what a client's cursor says it has already.
    pub(crate) fn has_already(&mut self, ahead: &[u64]) {
        self.ahead.extend(ahead);
    }

    /// Forgets what the log has reached by now.
    pub(crate) fn reached(&mut self, cursor: u64) {
        self.ahead = self.ahead.split_off(&(cursor + 1));
        self.urgent.retain(|(_, seq), _| *seq > cursor);
    }

    /// The numbers above the cursor that were delivered, ascending.
    pub(crate) fn ahead(&self) -> Vec<u64> {
        self.ahead.iter().copied().collect()
    }

    /// Forgets everything: the subscription is live again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::tests::recorded;

    #[test]
    fn the_most_urgent_goes_first_and_never_twice() {
        let mut lane = Lane::default();
        for (seq, priority) in [(5, 6), (6, 9), (7, 6), (2, 10)] {
            lane.put_urgent(&recorded(seq, priority));
        }
        let mut order = Vec::new();
        while let Some(event) = lane.pop_urgent(3) {
            order.push(event.seq.unwrap());
        }
        assert_eq!(order, [6, 5, 7]);
        lane.put_urgent(&recorded(6, 9));
        assert_eq!(lane.pop_urgent(3), None);
        assert_eq!(lane.ahead(), [5, 6, 7]);
        lane.reached(6);
        assert_eq!(lane.ahead(), [7]);
    }

    #[test]
    fn no_more_overtake_than_a_cursor_can_name() {
        let mut lane = Lane::default();
        for seq in 1..=200 {
            lane.put_urgent(&recorded(seq, 8));
        }
        let popped = std::iter::from_fn(|| lane.pop_urgent(0)).count();
        assert_eq!(popped, AHEAD_MAX);
        lane.put_urgent(&recorded(201, 8));
        assert_eq!(lane.pop_urgent(0), None);
    }
}
