//! Which job begins when: pure.
//!
//! Jobs wait in the order in which they came. One begins when everything it must have for itself is
//! free and nobody before it waits for the same, when its client and its plugin have a place, and
//! when the machine has one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use protocol::{Fault, FaultKind};
use uuid::Uuid;

/// How many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Running in all.
    pub(crate) running: usize,
    /// Running of one client.
    pub(crate) running_of_one: usize,
    /// Waiting in all.
    pub(crate) waiting: usize,
    /// Waiting of one client.
    pub(crate) waiting_of_one: usize,
}

/// A client's name, as far as places are counted.
pub(crate) type Client = String;

/// A job, as far as its turn is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The job.
    pub(crate) id: Uuid,
    /// Whose it is.
    pub(crate) client: Client,
    /// What it must have for itself.
    pub(crate) locks: Vec<String>,
    /// Whose calls it takes a place of, and how many of them may be jobs.
    pub(crate) plugin: Option<(String, usize)>,
}

/// Who waits and who runs.
#[derive(Debug)]
pub(crate) struct Plan {
    bounds: Bounds,
    waiting: VecDeque<Place>,
    running: BTreeMap<Uuid, Place>,
    /// Places in line for jobs that are being put on record.
    reserved: HashMap<Client, usize>,
}

impl Plan {
    /// Nobody yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            reserved: HashMap::new(),
        }
    }

    /// Keeps places in line for so many more of this client, until [`Plan::push`] or
    /// [`Plan::give_back`].
    ///
    /// # Errors
    /// `too-many` when there are none.
    pub(crate) fn reserve(&mut self, client: &str, more: usize) -> Result<(), Fault> {
        let waiting_own = self.waiting.iter().filter(|place| place.client == client).count();
        let own = waiting_own + self.reserved.get(client).copied().unwrap_or_default();
        let all = self.waiting.len() + self.reserved.values().sum::<usize>();
        let Bounds { waiting, waiting_of_one, .. } = self.bounds;
        let sentence = if own + more > waiting_of_one {
            format!("{own} of your jobs wait, and at most {waiting_of_one} may")
        } else if all + more > waiting {
            format!("{all} jobs wait, and at most {waiting} may")
        } else {
            *self.reserved.entry(client.to_owned()).or_default() += more;
            return Ok(());
        };
        Err(Fault::new(FaultKind::TooMany, sentence)
            .with_hint("wait until some have ended, or abort some")
            .with_retry_after_ms(5_000))
    }

    /// A reserved place is not needed.
    pub(crate) fn give_back(&mut self, client: &str) {
        if let Some(count) = self.reserved.get_mut(client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.reserved.remove(client);
            }
        }
    }

    /// One more waits; it takes the place that was reserved for it, if one was.
    pub(crate) fn push(&mut self, place: Place) {
        self.give_back(&place.client);
        self.waiting.push_back(place);
    }

    /// The next one that may begin; from now on it runs.
    pub(crate) fn begin_next(&mut self) -> Option<Uuid> {
        let found = self.first_free()?;
        let place = self.waiting.remove(found)?;
        let id = place.id;
        self.running.insert(id, place);
        Some(id)
    }

    fn first_free(&self) -> Option<usize> {
        if self.running.len() >= self.bounds.running {
            return None;
        }
        let mut taken: HashSet<&str> = HashSet::new();
        let mut of_client: HashMap<&str, usize> = HashMap::new();
        let mut of_plugin: HashMap<&str, usize> = HashMap::new();
        for place in self.running.values() {
            taken.extend(place.locks.iter().map(String::as_str));
            *of_client.entry(&place.client).or_default() += 1;
            if let Some((plugin, _)) = &place.plugin {
                *of_plugin.entry(plugin).or_default() += 1;
            }
        }
        let count = |counts: &HashMap<&str, usize>, name: &str| {
            counts.get(name).copied().unwrap_or_default()
        };
        self.waiting.iter().position(|place| {
            let has_locks = place.locks.iter().all(|lock| !taken.contains(lock.as_str()));
            let has_place = count(&of_client, &place.client) < self.bounds.running_of_one;
            let plugin = place.plugin.as_ref();
            let has_plugin = plugin.is_none_or(|(name, most)| count(&of_plugin, name) < *most);
            let free = has_locks && has_place && has_plugin;
            // Whoever comes later must not take what this one waits for.
            taken.extend(place.locks.iter().map(String::as_str));
            free
        })
    }

    /// A running one has ended.
    pub(crate) fn end(&mut self, id: Uuid) {
        self.running.remove(&id);
    }

    /// Takes one that waits out of the line; `false` when it does not wait.
    pub(crate) fn leave(&mut self, id: Uuid) -> bool {
        let found = self.waiting.iter().position(|place| place.id == id);
        found.is_some_and(|at| self.waiting.remove(at).is_some())
    }

    /// How many are before it; `None` when it does not wait.
    pub(crate) fn before(&self, id: Uuid) -> Option<usize> {
        let at = self.waiting.iter().position(|place| place.id == id)?;
        let own = &self.waiting[at].locks;
        if own.is_empty() {
            return Some(at);
        }
        let shares = |place: &&Place| place.locks.iter().any(|lock| own.contains(lock));
        Some(self.waiting.iter().take(at).filter(shares).count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { running: 4, running_of_one: 2, waiting: 40, waiting_of_one: 20 };

    fn place(number: u128, client: &str, locks: &[&str]) -> Place {
        let locks = locks.iter().map(|lock| (*lock).to_owned()).collect();
        Place { id: Uuid::from_u128(number), client: client.to_owned(), locks, plugin: None }
    }

    #[test]
    fn a_lock_is_had_in_order_and_others_pass_by() {
        let mut plan = Plan::new(BOUNDS);
        for (number, locks) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["b"]), (4, &[])] {
            plan.push(place(number, &number.to_string(), locks));
        }
        let id = Uuid::from_u128;
        assert_eq!(plan.begin_next(), Some(id(1)));
        assert_eq!(plan.begin_next(), Some(id(4)), "it needs nothing");
        assert_eq!(plan.begin_next(), None, "3 must not overtake 2");
        assert_eq!((plan.before(id(2)), plan.before(id(3))), (Some(0), Some(1)));
        plan.end(id(1));
        assert_eq!(plan.begin_next(), Some(id(2)));
        assert!(plan.leave(id(3)) && !plan.leave(id(3)) && !plan.leave(id(2)));
        assert_eq!(plan.begin_next(), None);
    }

    #[test]
    fn nobody_fills_all_places_and_nobody_waits_without_bound() {
        let mut plan = Plan::new(BOUNDS);
        for number in 0..20 {
            plan.reserve("greedy", 1).unwrap();
            plan.push(place(number, "greedy", &[]));
        }
        assert_eq!(plan.reserve("greedy", 1).unwrap_err().kind, FaultKind::TooMany);
        assert!(plan.reserve("other", 21).is_err());
        plan.reserve("other", 20).unwrap();
        assert!(plan.reserve("other", 1).is_err(), "all are reserved");
        plan.give_back("other");
        plan.reserve("other", 1).unwrap();
        assert!(plan.reserve("third", 1).is_err(), "the whole line is full");
        plan.push(place(99, "other", &[]));
        let begun: Vec<_> = std::iter::from_fn(|| plan.begin_next()).collect();
        assert_eq!(begun, [0, 1, 99].map(Uuid::from_u128));
    }

    proptest! {
        #[test]
        fn locks_are_never_shared_bounds_hold_and_everybody_has_a_turn(
            jobs in proptest::collection::vec(
                (0u8..4, proptest::collection::btree_set("[abc]", 0..3), proptest::option::of(0u8..2)),
                1..30,
            ),
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut plan = Plan::new(BOUNDS);
            let mut all = BTreeMap::new();
            for (number, (client, locks, plugin)) in (0u128..).zip(jobs) {
                let id = Uuid::from_u128(number);
                let place = Place {
                    id,
                    client: client.to_string(),
                    locks: locks.into_iter().collect(),
                    plugin: plugin.map(|plugin| (plugin.to_string(), 2)),
                };
                plan.push(place.clone());
                all.insert(id, place);
            }
            let mut running: Vec<Uuid> = Vec::new();
            let mut order: Vec<Uuid> = Vec::new();
            let mut ends = ends.into_iter();
            while order.len() < all.len() || !running.is_empty() {
                while let Some(id) = plan.begin_next() {
                    running.push(id);
                    order.push(id);
                }
                let held: Vec<&String> = running.iter().flat_map(|id| &all[id].locks).collect();
                let distinct: HashSet<&String> = held.iter().copied().collect();
                prop_assert_eq!(held.len(), distinct.len());
                prop_assert!(running.len() <= BOUNDS.running);
                for client in 0..4 {
                    let own = running.iter().filter(|id| all[id].client == client.to_string());
                    prop_assert!(own.count() <= BOUNDS.running_of_one);
                }
                prop_assert!(!running.is_empty(), "somebody can always begin");
                let which = ends.next().map_or(0, |index| index.index(running.len()));
                plan.end(running.swap_remove(which));
            }
            // Of those that want the same, the earlier one began earlier.
            for (first, earlier) in &all {
                for (second, later) in all.range(first..).skip(1) {
                    if earlier.locks.iter().any(|lock| later.locks.contains(lock)) {
                        let at = |id| order.iter().position(|begun| begun == id);
                        prop_assert!(at(first) < at(second));
                    }
                }
            }
        }
    }
}
