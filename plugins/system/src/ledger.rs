//! A list that changes, and how to follow it without a race. Pure.
//!
//! A ledger holds the rows as they were read last. Reading them again makes a change for each row
//! that differs, and each change has the next revision. Whoever subscribes to the changes first and
//! asks for the list then knows from the list's revision which changes it holds already.

use std::collections::BTreeMap;

/// Rows by their name.
#[derive(Debug)]
pub(crate) struct Ledger<R> {
    rows: BTreeMap<String, R>,
    revision: u64,
}

/// What happened to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change<R> {
    /// The ledger's revision once this has happened.
    pub(crate) revision: u64,
    /// Which row.
    pub(crate) name: String,
    /// What it is now; `None`: gone.
    pub(crate) row: Option<R>,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), revision: 0 }
    }
}

impl<R: Clone + PartialEq> Ledger<R> {
    /// The rows.
    pub(crate) fn rows(&self) -> &BTreeMap<String, R> {
        &self.rows
    }

    /// The revision at which the rows are what they are.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the rows as they are now, and returns what that changed, in the order of revisions.
    pub(crate) fn replace(&mut self, rows: BTreeMap<String, R>) -> Vec<Change<R>> {
        let gone = self.rows.keys().filter(|name| !rows.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), None));
        let is_new = |name: &String, row: &R| self.rows.get(name) != Some(row);
        let new = rows.iter().filter(|(name, row)| is_new(name, row));
        let new = new.map(|(name, row)| (name.clone(), Some(row.clone())));
        let changes: Vec<_> = (self.revision + 1..)
            .zip(gone.chain(new))
            .map(|(revision, (name, row))| Change { revision, name, row })
            .collect();
        self.revision = changes.last().map_or(self.revision, |last| last.revision);
        self.rows = rows;
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client that keeps to the rule: it takes the changes behind the list's revision.
    #[derive(Default)]
    struct Follower {
        rows: BTreeMap<String, u8>,
        revision: u64,
    }

    impl Follower {
        fn take(&mut self, change: &Change<u8>) {
            if change.revision <= self.revision {
                return;
            }
            assert_eq!(change.revision, self.revision + 1, "no revision is left out");
            self.revision = change.revision;
            match change.row {
                Some(row) => self.rows.insert(change.name.clone(), row),
                None => self.rows.remove(&change.name),
            };
        }
    }

    proptest! {
        /// Changes may come before, while and after the list is asked for: the outcome is the same.
        #[test]
        fn a_list_and_its_changes_are_the_list_of_the_end(
            tables in proptest::collection::vec(
                proptest::collection::btree_map("[a-d]", 0_u8..3, 0..4), 1..12,
            ),
            listed_after in 0_usize..12,
        ) {
            let mut ledger = Ledger::default();
            let mut stream = Vec::new();
            let mut follower = None;
            for (place, table) in tables.into_iter().enumerate() {
                if place == listed_after {
                    let rows = ledger.rows().clone();
                    follower = Some(Follower { rows, revision: ledger.revision() });
                }
                stream.extend(ledger.replace(table));
            }
            let mut follower = follower.unwrap_or_else(|| Follower {
                rows: ledger.rows().clone(),
                revision: ledger.revision(),
            });
            // The subscription was there first, so it has every change from the very beginning.
            for change in &stream {
                follower.take(change);
            }
            prop_assert_eq!(&follower.rows, ledger.rows());
            prop_assert_eq!(follower.revision, ledger.revision());
        }

        #[test]
        fn the_same_rows_again_change_nothing(
            rows in proptest::collection::btree_map("[a-f]", any::<u8>(), 0..6),
        ) {
            let mut ledger = Ledger::default();
            ledger.replace(rows.clone());
            let revision = ledger.revision();
            prop_assert!(ledger.replace(rows).is_empty());
            prop_assert_eq!(ledger.revision(), revision);
        }
    }
}
