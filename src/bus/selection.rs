//! What a client that is too slow and allowed it is not given: pure choice over a stretch of the
//! log, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::{Event, Priority};

use super::latest::key;

/// Events chosen from one stretch.
const CHOSEN_MAX: usize = 1_000;
/// Bytes of events chosen from one stretch (one event may exceed it): as many as wait for a slow
/// client anyway.
const CHOSEN_BYTES_MAX: usize = 256 * 1024;

/// Chooses, event by event, which of a stretch are delivered.
#[derive(Debug)]
pub(crate) struct Selection {
    chosen: Chosen,
    /// What the chosen ones weigh.
    bytes: usize,
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
        Self { chosen: Chosen::Urgent(BTreeMap::new()), bytes: 0, missed: 0 }
    }

    /// Leaves out all but the newest of each class and subject.
    pub(crate) fn newest() -> Self {
        Self { chosen: Chosen::Newest(HashMap::new()), bytes: 0, missed: 0 }
    }

    /// Takes the next wanted event of the stretch. `false`: there is no room for it and it may not
    /// be left out, so the stretch ends before it.
    pub(crate) fn take(&mut self, event: &Arc<Event>) -> bool {
        let bytes = &mut self.bytes;
        let left_out = match &mut self.chosen {
            Chosen::Urgent(chosen) => take_urgent(chosen, bytes, event),
            Chosen::Newest(chosen) => take_newest(chosen, bytes, event),
        };
        self.missed += left_out.unwrap_or(0);
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

/// How many were left out for it; `None` when there is no room.
fn take_urgent(
    chosen: &mut BTreeMap<(Priority, u64), Arc<Event>>,
    bytes: &mut usize,
    event: &Arc<Event>,
) -> Option<u64> {
    let key = (event.priority, event.seq.unwrap_or_default());
    if key.0.is_critical() && !has_room(chosen.len(), *bytes, event) {
        // Room for it is made only where that suffices.
        let spare = chosen.iter().take_while(|((priority, _), _)| !priority.is_critical());
        let (spared, count) =
            spare.fold((0, 0), |(bytes, count), (_, event)| (bytes + event.weight(), count + 1));
        if !has_room(chosen.len() - count, *bytes - spared, event) {
            return None;
        }
    }
    *bytes += event.weight();
    chosen.insert(key, Arc::clone(event));
    let mut left_out = 0;
    while chosen.len() > 1 && (chosen.len() > CHOSEN_MAX || *bytes > CHOSEN_BYTES_MAX) {
        let (_, least) = chosen.pop_first()?;
        *bytes -= least.weight();
        left_out += 1;
    }
    Some(left_out)
}

/// How many older ones were left out for it; `None` when there is no room.
fn take_newest(
    chosen: &mut HashMap<(String, String), Arc<Event>>,
    bytes: &mut usize,
    event: &Arc<Event>,
) -> Option<u64> {
    let key = key(event);
    let (count, older) = match chosen.get(&key) {
        Some(older) => (chosen.len() - 1, older.weight()),
        None => (chosen.len(), 0),
    };
    if !has_room(count, *bytes - older, event) {
        return None;
    }
    *bytes = *bytes - older + event.weight();
    Some(u64::from(chosen.insert(key, Arc::clone(event)).is_some()))
}

/// Whether the event fits beside so many of this weight. The first always does.
fn has_room(count: usize, bytes: usize, event: &Event) -> bool {
    count == 0 || count < CHOSEN_MAX && bytes + event.weight() <= CHOSEN_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::tests::recorded;

    proptest! {
        #[test]
        fn what_is_left_out_is_counted_exactly_and_is_never_critical(
            offers in proptest::collection::vec((0u8..=10, 0usize..1_000), 0..3_000),
        ) {
            let mut selection = Selection::most_urgent();
            let mut offered = Vec::new();
            for (seq, (priority, bytes)) in (1..).zip(&offers) {
                let mut event = (*recorded(seq, *priority)).clone();
                event.message = "x".repeat(*bytes);
                let event = Arc::new(event);
                if !selection.take(&event) {
                    break;
                }
                offered.push(event);
            }
            let (chosen, missed) = selection.finish();
            prop_assert!(chosen.len() <= CHOSEN_MAX);
            let bytes: usize = chosen.iter().map(|event| event.weight()).sum();
            prop_assert!(bytes <= CHOSEN_BYTES_MAX, "{} bytes", bytes);
            prop_assert_eq!(chosen.len() + usize::try_from(missed).unwrap(), offered.len());
            prop_assert!(chosen.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            let critical = |events: &[Arc<Event>]| {
                events.iter().filter(|event| event.priority.is_critical()).count()
            };
            prop_assert_eq!(critical(&chosen), critical(&offered));
        }
    }

    #[test]
    fn the_bytes_of_both_choices_are_bounded_and_one_event_always_fits() {
        let large = |seq, priority, subject: &str| {
            let mut event = (*recorded(seq, priority)).clone();
            event.data = protocol::Json::from(serde_json::json!("x".repeat(CHOSEN_BYTES_MAX)));
            event.subject = subject.to_owned();
            Arc::new(event)
        };
        let mut urgent = Selection::most_urgent();
        assert!(urgent.take(&large(1, 1, "")) && urgent.take(&large(2, 7, "")));
        assert!(!urgent.take(&large(3, 7, "")), "it may not be left out, and there is no room");
        assert!(urgent.take(&large(4, 1, "")));
        let (chosen, missed) = urgent.finish();
        assert_eq!((chosen.len(), chosen[0].seq, missed), (1, Some(2), 2));
        let mut newest = Selection::newest();
        assert!(newest.take(&large(1, 1, "/a")) && newest.take(&large(2, 1, "/a")));
        assert!(!newest.take(&large(3, 1, "/b")));
        assert_eq!(newest.finish().1, 1);
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
