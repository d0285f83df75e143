//! What a client that is too slow and allowed it is not given: pure choice over a stretch of the
//! log, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::{Event, Priority};

use super::latest::key;

/// Events chosen from one stretch: a thousand, the queue a slow client may have.
const CHOSEN_MAX: usize = 1_000;

/// Chooses, event by event, which of a stretch are delivered.
#[derive(Debug)]
pub(crate) struct Selection {
    chosen: Chosen,
    missed: u64,
}

#[derive(Debug)]
enum Chosen {
    /// The least urgent first, and of equal ones the oldest: the order in which they are left out.
    Urgent(BTreeMap<(Priority, u64), Arc<Event>>),
    /// The newest of each class and subject.
    Newest(HashMap<(String, String), Arc<Event>>),
}

impl Selection {
    /// Leaves out the least urgent, and never priority 6 and above.
    pub(crate) fn most_urgent() -> Self {
        Self { chosen: Chosen::Urgent(BTreeMap::new()), missed: 0 }
    }

    /// Leaves out all but the newest of each class and subject.
    pub(crate) fn newest() -> Self {
        Self { chosen: Chosen::Newest(HashMap::new()), missed: 0 }
    }

    /// Takes the next wanted event of the stretch. `false`: there is no room for it and it may not
    /// be left out, so the stretch ends before it.
    pub(crate) fn take(&mut self, event: &Arc<Event>) -> bool {
        let left_out = match &mut self.chosen {
            Chosen::Urgent(chosen) => take_urgent(chosen, event),
            Chosen::Newest(chosen) => take_newest(chosen, event),
        };
        self.missed += u64::from(left_out.unwrap_or(false));
        left_out.is_some()
    }

    /// The chosen events in order, and how many were left out.
    pub(crate) fn finish(self) -> (Vec<Arc<Event>>, u64) {
        let mut chosen: Vec<Arc<Event>> = match self.chosen {
            Chosen::Urgent(chosen) => chosen.into_values().collect(),
            Chosen::Newest(chosen) => chosen.into_values().collect(),
        };
        chosen.sort_by_key(|event| event.seq);
        (chosen, self.missed)
    }
}

/// Whether one was left out for it; `None` when there is no room.
fn take_urgent(
    chosen: &mut BTreeMap<(Priority, u64), Arc<Event>>,
    event: &Arc<Event>,
) -> Option<bool> {
    let key = (event.priority, event.seq.unwrap_or_default());
    chosen.insert(key, Arc::clone(event));
    if chosen.len() <= CHOSEN_MAX {
        return Some(false);
    }
    let least = *chosen.first_key_value()?.0;
    if least.0.is_critical() {
        chosen.remove(&key);
        return None;
    }
    chosen.remove(&least);
    Some(true)
}

/// Whether an older one was left out for it; `None` when there is no room.
fn take_newest(
    chosen: &mut HashMap<(String, String), Arc<Event>>,
    event: &Arc<Event>,
) -> Option<bool> {
    let key = key(event);
    if chosen.len() == CHOSEN_MAX && !chosen.contains_key(&key) {
        return None;
    }
    Some(chosen.insert(key, Arc::clone(event)).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::tests::recorded;

    proptest! {
        #[test]
        fn what_is_left_out_is_counted_exactly_and_is_never_critical(
            priorities in proptest::collection::vec(0u8..=10, 0..3_000),
        ) {
            let mut selection = Selection::most_urgent();
            let mut offered = Vec::new();
            for (seq, priority) in (1..).zip(&priorities) {
                let event = recorded(seq, *priority);
                if !selection.take(&event) {
                    break;
                }
                offered.push(event);
            }
            let (chosen, missed) = selection.finish();
            prop_assert!(chosen.len() <= CHOSEN_MAX);
            prop_assert_eq!(chosen.len() + usize::try_from(missed).unwrap(), offered.len());
            prop_assert!(chosen.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            let critical = |events: &[Arc<Event>]| {
                events.iter().filter(|event| event.priority.is_critical()).count()
            };
            prop_assert_eq!(critical(&chosen), critical(&offered));
        }
    }

    #[test]
    fn only_the_newest_of_each_subject_is_kept() {
        let mut selection = Selection::newest();
        for seq in 1..=10 {
            let mut event = (*recorded(seq, 1)).clone();
            event.subject = format!("/things/{}", seq % 3);
            assert!(selection.take(&Arc::new(event)));
        }
        let (chosen, missed) = selection.finish();
        let seqs: Vec<u64> = chosen.iter().filter_map(|event| event.seq).collect();
        assert_eq!((seqs, missed), (vec![8, 9, 10], 7));
    }
}
