//! What every back end must do, written once. A bench brings the back end and the means to disturb
//! it from outside; the cases know neither which one it is nor how it works.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::slice::from_ref;

use chrono::{DateTime, Utc};
use snapshot::backend::{
    Backend, DatasetId, Error, ErrorKind, Mark, NewSnapshot, Owner, Snapshot, SnapshotId,
    SnapshotState,
};

/// A dataset to work on.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: DatasetId,
    pub(crate) dir: PathBuf,
}

/// A back end in surroundings of its own.
pub(crate) trait Bench {
    fn backend(&self) -> &dyn Backend;
    /// A name for a dataset, as odd as the storage takes it.
    fn odd_name(&self) -> &'static str;
    /// Makes a dataset.
    fn fresh(&self, name: &str) -> Place;
    /// Makes a child of a dataset, or what comes nearest to it.
    fn child(&self, parent: &Place, name: &str) -> Place;
    /// Takes a snapshot as somebody else would.
    fn foreign(&self, place: &Place, name: &str);
    /// Does to the dataset what must not change its identity; returns where it is now.
    fn disturb(&self, place: &Place) -> Place;
    /// A file's content in one of the snapshots of a (possibly recursive) creation.
    fn read(&self, made: &[Snapshot], place: &Place, file: &[u8]) -> Option<Vec<u8>>;
    /// Everything the back end keeps, so that leftovers show.
    fn inventory(&self) -> BTreeSet<String>;
}

/// Declares one test per case; `$bench` is evaluated in each.
macro_rules! suite {
    ($bench:expr) => {
        cases::suite!($bench;
            a_snapshot_is_listed_readable_and_destroyed
            a_snapshot_does_not_change_with_its_dataset
            order_grows_and_labels_and_comments_come_back
            the_mark_of_a_policy_comes_back
            what_has_changed_is_never_called_unchanged
            a_name_that_exists_is_refused
            odd_file_names_survive
            odd_dataset_names_work
            foreign_snapshots_are_shown_and_never_destroyed
            recursion_covers_the_children
            identity_survives_renaming
            an_identity_is_not_a_name
            bad_names_are_refused_before_anything_happens
            unknown_things_are_not_found
            nothing_is_left_after_destroy);
    };
    ($bench:expr; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            cases::$case(&$bench);
        })*
    };
}
pub(crate) use suite;

pub(crate) fn new(label: &str) -> NewSnapshot {
    NewSnapshot {
        label: label.to_owned(),
        name: None,
        comment: None,
        mark: None,
        recursive: false,
        at: Utc::now(),
    }
}

pub(crate) fn named(name: &str) -> NewSnapshot {
    NewSnapshot { name: Some(name.to_owned()), ..new("manual") }
}

fn one(bench: &dyn Bench, place: &Place, new: &NewSnapshot) -> Snapshot {
    let made = bench.backend().create(&place.id, new).unwrap();
    assert_eq!(made.len(), 1, "{made:?}");
    made[0].clone()
}

fn list(bench: &dyn Bench, place: &Place) -> Vec<Snapshot> {
    bench.backend().list(&place.id).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    let error = result.unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.ends_with(['.', '?', ')']) && !sentence.contains('\n'), "{sentence}");
    error.kind()
}

pub(crate) fn a_snapshot_is_listed_readable_and_destroyed(bench: &dyn Bench) {
    let place = bench.fresh("data");
    fs::write(place.dir.join("file"), "content").unwrap();
    let made = one(bench, &place, &new("manual"));
    assert_eq!(made.dataset, place.id);
    assert_eq!(made.owner, Owner::Ours);
    assert_eq!(made.state, SnapshotState::Complete);
    assert!(made.name.starts_with("sysadm-") && made.name.contains("-manual-"), "{}", made.name);
    assert_eq!(list(bench, &place), from_ref(&made));
    assert_eq!(bench.read(from_ref(&made), &place, b"file").unwrap(), b"content");
    assert_eq!(bench.backend().destroy(&made.id).unwrap(), made);
    assert_eq!(list(bench, &place), []);
    assert_eq!(kind(bench.backend().destroy(&made.id)), ErrorKind::NotFound);
}

pub(crate) fn a_snapshot_does_not_change_with_its_dataset(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let file = place.dir.join("file");
    fs::write(&file, "before").unwrap();
    let made = one(bench, &place, &new("manual"));
    fs::write(&file, "after, and longer").unwrap();
    fs::write(place.dir.join("new"), "new").unwrap();
    let later = one(bench, &place, &new("manual"));
    assert_eq!(bench.read(from_ref(&made), &place, b"file").unwrap(), b"before");
    assert_eq!(bench.read(&[made], &place, b"new"), None);
    assert_eq!(bench.read(&[later], &place, b"file").unwrap(), b"after, and longer");
}

pub(crate) fn order_grows_and_labels_and_comments_come_back(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let comment = "vor dem Umzug: \u{fc}ber 100 % = \"gut\", \\ und ,";
    let first = NewSnapshot { comment: Some(comment.to_owned()), ..new("first") };
    let first = one(bench, &place, &first);
    let second = one(bench, &place, &named("zz-2"));
    // A name that sorts before the others, to see that names do not decide.
    let third = one(bench, &place, &named("a-3"));
    assert!(first.order < second.order && second.order < third.order);
    assert_eq!(list(bench, &place), [first.clone(), second, third.clone()]);
    assert_eq!(first.label.as_deref(), Some("first"));
    assert_eq!(first.comment.as_deref(), Some(comment));
    assert_eq!((third.name.as_str(), third.comment), ("a-3", None));
}

pub(crate) fn a_name_that_exists_is_refused(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let made = one(bench, &place, &named("same"));
    assert_eq!(kind(bench.backend().create(&place.id, &named("same"))), ErrorKind::AlreadyExists);
    assert_eq!(list(bench, &place), [made]);
}

pub(crate) fn odd_file_names_survive(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let names: [&[u8]; 7] = [
        b" sp ace ",
        "\u{fc}n\u{ef}c\u{f6}de \u{1f4f7}".as_bytes(),
        b"-rf",
        b"--help",
        b"new\nline\ttab",
        b"back\\slash,comma=equals",
        b"not-utf8-\xff\xfe",
    ];
    for name in names {
        fs::write(place.dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let made = one(bench, &place, &new("manual"));
    for name in names {
        assert_eq!(bench.read(from_ref(&made), &place, name).as_deref(), Some(name));
    }
}

pub(crate) fn odd_dataset_names_work(bench: &dyn Bench) {
    let place = bench.fresh(bench.odd_name());
    fs::write(place.dir.join("file"), "content").unwrap();
    let found = bench.backend().datasets().unwrap();
    let found = found.iter().find(|dataset| dataset.id == place.id).unwrap();
    assert!(found.name.ends_with(bench.odd_name()), "{}", found.name);
    assert_eq!(found.mount.as_ref(), Some(&place.dir));
    let made = one(bench, &place, &new("manual"));
    assert_eq!(bench.read(from_ref(&made), &place, b"file").unwrap(), b"content");
    bench.backend().destroy(&made.id).unwrap();
    assert_eq!(list(bench, &place), []);
}

pub(crate) fn foreign_snapshots_are_shown_and_never_destroyed(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let ours = one(bench, &place, &new("manual"));
    bench.foreign(&place, "theirs");
    let both = list(bench, &place);
    assert_eq!(both.len(), 2, "{both:?}");
    let theirs = both.iter().find(|snapshot| snapshot.id != ours.id).unwrap();
    assert_eq!((theirs.name.as_str(), theirs.owner), ("theirs", Owner::Foreign));
    assert_eq!(kind(bench.backend().destroy(&theirs.id)), ErrorKind::Foreign);
    assert_eq!(list(bench, &place), both);
    bench.backend().destroy(&ours.id).unwrap();
    assert_eq!(list(bench, &place), from_ref(theirs));
}

pub(crate) fn the_mark_of_a_policy_comes_back(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let mark = Mark {
        policy: "6f1c1f2e-95a4-4c0e-8f0e-0d6f2f0c9a11".parse().unwrap(),
        slot: DateTime::from_timestamp(1_795_299_600, 0).unwrap(),
    };
    let made = one(bench, &place, &NewSnapshot { mark: Some(mark), ..new("hourly") });
    assert_eq!((made.mark, made.label.as_deref()), (Some(mark), Some("hourly")));
    let by_hand = one(bench, &place, &new("manual"));
    assert_eq!(by_hand.mark, None);
    assert_eq!(list(bench, &place), [made, by_hand]);
}

pub(crate) fn what_has_changed_is_never_called_unchanged(bench: &dyn Bench) {
    let place = bench.fresh("data");
    fs::write(place.dir.join("file"), "before").unwrap();
    let made = one(bench, &place, &new("manual"));
    let unchanged = |of: &Snapshot| bench.backend().unchanged_since(&place.id, of).unwrap();
    // Whoever cannot tell says so, and whoever can is not in doubt for ever.
    assert_ne!(unchanged(&made), Some(false));
    fs::write(place.dir.join("file"), "after!").unwrap();
    assert_ne!(unchanged(&made), Some(true));
    let again = one(bench, &place, &new("manual"));
    assert_ne!(unchanged(&again), Some(false));
    fs::remove_file(place.dir.join("file")).unwrap();
    assert_ne!(unchanged(&again), Some(true));
}

pub(crate) fn recursion_covers_the_children(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let child = bench.child(&place, "child");
    let deeper = bench.child(&child, "deeper");
    fs::write(place.dir.join("file"), "top").unwrap();
    fs::write(child.dir.join("file"), "child").unwrap();
    fs::write(deeper.dir.join("file"), "deeper").unwrap();
    let all = NewSnapshot { recursive: true, ..new("manual") };
    let made = bench.backend().create(&place.id, &all).unwrap();
    assert_eq!(made[0].dataset, place.id);
    assert!(made.iter().all(|snapshot| snapshot.name == made[0].name), "{made:?}");
    assert_eq!(bench.read(&made, &place, b"file").unwrap(), b"top");
    assert_eq!(bench.read(&made, &child, b"file").unwrap(), b"child");
    assert_eq!(bench.read(&made, &deeper, b"file").unwrap(), b"deeper");
    for snapshot in &made {
        assert_eq!(bench.backend().destroy(&snapshot.id).unwrap(), *snapshot);
    }
}

pub(crate) fn identity_survives_renaming(bench: &dyn Bench) {
    let place = bench.fresh("data");
    fs::write(place.dir.join("file"), "content").unwrap();
    let made = one(bench, &place, &new("manual"));
    let moved = bench.disturb(&place);
    assert_eq!(moved.id, place.id);
    let datasets = bench.backend().datasets().unwrap();
    assert!(datasets.iter().any(|dataset| dataset.id == place.id), "{datasets:?}");
    let listed = list(bench, &place);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, &listed[0].name, listed[0].owner),
        (&made.id, &made.name, Owner::Ours)
    );
    let second = one(bench, &moved, &new("manual"));
    assert!(second.order > made.order);
    bench.backend().destroy(&made.id).unwrap();
    assert_eq!(list(bench, &place), [second]);
}

pub(crate) fn an_identity_is_not_a_name(bench: &dyn Bench) {
    let place = bench.fresh("data");
    fs::write(place.dir.join("file"), "first").unwrap();
    let first = one(bench, &place, &named("same"));
    bench.backend().destroy(&first.id).unwrap();
    fs::write(place.dir.join("file"), "second").unwrap();
    let second = one(bench, &place, &named("same"));
    assert_ne!(first.id, second.id);
    assert_eq!(kind(bench.backend().destroy(&first.id)), ErrorKind::NotFound);
    assert_eq!(list(bench, &place), [second]);
}

pub(crate) fn bad_names_are_refused_before_anything_happens(bench: &dyn Bench) {
    let place = bench.fresh("data");
    let before = bench.inventory();
    let long = "x".repeat(300);
    let bad = ["", ".", "..", "-r", "a b", "a/b", "../up", "a@b", "a%b", "\u{fc}", "a\nb", &long];
    for name in bad {
        for new in [named(name), new(name)] {
            assert_eq!(
                kind(bench.backend().create(&place.id, &new)),
                ErrorKind::BadRequest,
                "{name:?}"
            );
        }
    }
    for comment in ["two\nlines", "tab\tbed", &"x".repeat(513)] {
        let new = NewSnapshot { comment: Some(comment.to_owned()), ..new("manual") };
        assert_eq!(kind(bench.backend().create(&place.id, &new)), ErrorKind::BadRequest);
    }
    assert_eq!(list(bench, &place), []);
    assert_eq!(bench.inventory(), before);
}

pub(crate) fn unknown_things_are_not_found(bench: &dyn Bench) {
    let place = bench.fresh("data");
    // The same form with other digits.
    let digit = |c: char| c.to_digit(10).and_then(|d| char::from_digit((d + 1) % 10, 10));
    let swap = |text: &str| text.chars().map(|c| digit(c).unwrap_or(c)).collect::<String>();
    let (kind_word, rest) = place.id.as_str().split_once(':').unwrap();
    let unknown: DatasetId = format!("{kind_word}:{}", swap(rest)).parse().unwrap();
    assert_ne!(unknown, place.id);
    assert_eq!(kind(bench.backend().list(&unknown)), ErrorKind::NotFound);
    assert_eq!(kind(bench.backend().create(&unknown, &new("manual"))), ErrorKind::NotFound);
    let made = one(bench, &place, &new("manual"));
    let other = SnapshotId { identity: swap(&made.id.identity), ..made.id.clone() };
    assert_eq!(kind(bench.backend().destroy(&other)), ErrorKind::NotFound);
    assert_eq!(list(bench, &place), [made]);
}

pub(crate) fn nothing_is_left_after_destroy(bench: &dyn Bench) {
    let place = bench.fresh("data");
    fs::write(place.dir.join("file"), "content").unwrap();
    // The first use may make directories for good.
    let first = one(bench, &place, &new("manual"));
    bench.backend().destroy(&first.id).unwrap();
    let before = bench.inventory();
    fs::write(place.dir.join("file"), "other content").unwrap();
    let made = [one(bench, &place, &new("a")), one(bench, &place, &new("b"))];
    assert_ne!(bench.inventory(), before);
    for snapshot in &made {
        bench.backend().destroy(&snapshot.id).unwrap();
    }
    assert_eq!(bench.inventory(), before);
}
