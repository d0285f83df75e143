//! Every version of a method finds its own entry.

use super::*;
use crate::dispatch::shape::Nothing;

impl Builtin {
    const fn from(self, since: u32) -> Self {
        Self { since, ..self }
    }

    const fn until(self, deprecated: Ending) -> Self {
        Self { deprecated: Some(deprecated), ..self }
    }
}

#[test]
fn every_version_finds_its_own_entry() {
    let entry = |action| query::<Nothing, Nothing>("a/b", LOGIN, "x").on(action);
    let table = [entry("list"), entry("list").from(3), entry("make").from(2)];
    let since = |action, version| {
        pick(table.iter(), "a/b", Some(action), version).map(|found| found.map(|entry| entry.since))
    };
    assert_eq!(since("list", 1), Ok(Some(1)));
    assert_eq!(since("list", 2), Ok(Some(1)));
    assert_eq!(since("list", 4), Ok(Some(3)));
    assert!(since("make", 1).is_err(), "there is the method, but not yet this action");
    assert_eq!(since("make", 2), Ok(Some(2)));
    assert_eq!(pick(table.iter(), "a/c", None, 9).unwrap().map(|entry| entry.since), None);
}

#[test]
fn the_days_of_every_ending_are_days() {
    let ending = Ending { since: "2026-01-01", instead: None, until: Some("2027-01-01") };
    let entry = query::<Nothing, Nothing>("a/b", LOGIN, "x").until(ending);
    assert!(entry.deprecated.and_then(Ending::read).is_some());
    let swapped = Ending { since: "2027-01-01", until: Some("2026-01-01"), ..ending };
    assert_eq!(swapped.read(), None);
    for own in own_methods() {
        assert!(own.deprecated.is_none_or(|it| it.read().is_some()), "{}", own.method);
    }
}
