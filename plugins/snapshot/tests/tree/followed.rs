//! Somebody follows a snapshot while it is taken, and may give it up.

use std::cell::RefCell;
use std::fs;

use snapshot::backend::{Backend, ErrorKind, Witness};

use crate::bench::TreeBench;
use crate::cases::new;

const FILE_BYTES: usize = 600 * 1024;
const FILES: u8 = 4;

/// Phase, done, total and unit.
type Told = (String, u64, Option<u64>, String);

/// Keeps what it is told, and gives up when so many bytes are done.
#[derive(Default)]
struct Follower {
    told: RefCell<Vec<Told>>,
    most: Option<u64>,
}

impl Witness for Follower {
    fn progress(&self, phase: &str, (done, total): (u64, Option<u64>), unit: &str, _: &str) {
        self.told.borrow_mut().push((phase.to_owned(), done, total, unit.to_owned()));
    }

    fn cancelled(&self) -> bool {
        let told = self.told.borrow();
        let done = told.last().map_or(0, |(_, done, _, _)| *done);
        self.most.is_some_and(|most| done >= most)
    }
}

fn fill(bench: &TreeBench) -> crate::cases::Place {
    let place = bench.place("data");
    for number in 0..FILES {
        // No two blocks are alike, and none is a hole.
        let byte = |at: usize| u8::try_from(at % 251).unwrap().wrapping_add(number);
        let content: Vec<u8> = (0..FILE_BYTES).map(byte).collect();
        fs::write(place.dir.join(number.to_string()), content).unwrap();
    }
    place
}

#[test]
fn bytes_are_told_and_their_end_as_far_as_the_snapshot_before_knows_it() {
    let bench = TreeBench::new();
    let place = fill(&bench);
    let all = u64::from(FILES) * FILE_BYTES as u64;
    for total in [None, Some(all)] {
        let follower = Follower::default();
        bench.tree.create_told(&place.id, &new("manual"), &follower).unwrap();
        let told = follower.told.into_inner();
        let copying: Vec<_> = told.iter().filter(|(phase, ..)| phase == "copying").collect();
        assert!(copying.iter().all(|(_, _, told, unit)| *told == total && unit == "bytes"));
        let done: Vec<u64> = copying.iter().map(|(_, done, ..)| *done).collect();
        assert!(done.is_sorted(), "{done:?}");
        assert_eq!(done.last(), Some(&all));
        if total.is_none() {
            // Also within a file, or a big one would look like a standstill.
            assert!(done.iter().any(|done| done % FILE_BYTES as u64 != 0), "{done:?}");
        }
        assert_eq!(told.last().unwrap().0, "writing to the disk");
    }
}

#[test]
fn one_that_is_given_up_leaves_nothing_behind() {
    let bench = TreeBench::new();
    let place = fill(&bench);
    // In the midst of the third file.
    let most = Some(2 * FILE_BYTES as u64 + 200_000);
    let follower = Follower { most, ..Follower::default() };
    let error = bench.tree.create_told(&place.id, &new("manual"), &follower).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let done = follower.told.borrow().iter().map(|(_, done, ..)| *done).max().unwrap();
    assert!(done < 3 * FILE_BYTES as u64, "it goes on with {done}");
    assert!(bench.tree.list(&place.id).unwrap().is_empty());
    assert_eq!(bench.tree.sweep().unwrap().blobs, 0, "what it had stored is swept already");
    let blobs = walk(&bench.store().join("blobs"));
    assert_eq!(blobs, 0, "no blob is left");
    bench.tree.create(&place.id, &new("manual")).unwrap();
    assert_eq!(walk(&bench.store().join("blobs")), usize::from(FILES));
}

/// Files in a directory and below.
fn walk(dir: &std::path::Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}
