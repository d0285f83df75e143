//! What clients are told of lists: a list and the events behind it are the list of the end.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;
use crate::facts::Disk;
use crate::ledger::Ledger;
use crate::unit::Unit;

const EPOCH: &str = "one";

/// A client: it knows what it was answered and what events say, and nothing of the types here.
#[derive(Debug, PartialEq)]
struct Client {
    revision: u64,
    rows: BTreeMap<String, Value>,
}

impl Client {
    /// Begins with the answer to a call for the list; `name` says by what a row is known.
    fn begin(answer: &Value, list: &str, name: &str) -> Self {
        assert_eq!(answer["epoch"], EPOCH);
        let rows = answer[list].as_array().unwrap().iter();
        Self {
            revision: answer["revision"].as_u64().unwrap(),
            rows: rows.map(|row| (row[name].as_str().unwrap().to_owned(), row.clone())).collect(),
        }
    }

    /// Takes what an event says, unless the list had it already.
    fn hear(&mut self, event: &Draft) {
        let data: Value = event.data.read().unwrap();
        let revision = data["revision"].as_u64().unwrap();
        if data["epoch"] != EPOCH || revision <= self.revision {
            return;
        }
        assert_eq!(revision, self.revision + 1, "no revision is left out");
        self.revision = revision;
        let name = data["name"].as_str().unwrap().to_owned();
        match &data["row"] {
            Value::Null => self.rows.remove(&name),
            row => self.rows.insert(name, row.clone()),
        };
    }
}

/// Shows a list that is read again and again to somebody who asks for it after so many times, and
/// who has heard every event from the first.
fn follow<R: Clone + PartialEq + Serialize>(
    tables: Vec<BTreeMap<String, R>>,
    asked_after: usize,
    (class, name, by): (&str, &str, &str),
) -> TestCaseResult {
    let mut ledger = Ledger::default();
    let (mut events, mut client) = (Vec::new(), None);
    for (place, table) in tables.into_iter().enumerate() {
        if place == asked_after {
            client = Some(Client::begin(&list(name, EPOCH, &ledger), name, by));
        }
        for change in ledger.replace(table) {
            events.push(row(class, EPOCH, format!("/{name}/{}", change.name), &change).unwrap());
        }
    }
    let fresh = Client::begin(&list(name, EPOCH, &ledger), name, by);
    let mut client = client.unwrap_or_else(|| Client::begin(&list(name, EPOCH, &ledger), name, by));
    for event in &events {
        client.hear(event);
    }
    prop_assert_eq!(client, fresh);
    Ok(())
}

/// Few names and few values, so that rows come, change, go and come back.
fn units() -> impl Strategy<Value = BTreeMap<String, Unit>> {
    let unit = ("(enabled|static)", "(active|failed)", "(running|dead)");
    btree_map("[a-d]", unit, 0..4).prop_map(|rows| {
        let unit = |(name, (enabled, active, sub)): (String, (String, String, String))| {
            let path = format!("/lib/systemd/system/{name}.service");
            let description = format!("What {name} does");
            (name.clone(), Unit { name, description, path, enabled, active, sub })
        };
        rows.into_iter().map(unit).collect()
    })
}

fn disks() -> impl Strategy<Value = BTreeMap<String, Disk>> {
    let disk = (any::<bool>(), 90_u64..93, vec("(missing|errors)", 0..2));
    btree_map("/(srv|var|data)", disk, 0..4).prop_map(|rows| {
        let disk = |(mount, (read_only, percent, faults)): (String, (bool, u64, Vec<String>))| {
            let (source, kind) = ("/dev/sda".to_owned(), "ext4".to_owned());
            let size = 1 << 30;
            let known = mount.clone();
            (known, Disk { source, mount, kind, read_only, size, percent, faults })
        };
        rows.into_iter().map(disk).collect()
    })
}

proptest! {
    #[test]
    fn the_list_of_services_and_its_events_are_the_list_of_the_end(
        tables in vec(units(), 1..12), asked_after in 0_usize..12,
    ) {
        follow(tables, asked_after, ("system.service.changed", "services", "name"))?;
    }

    #[test]
    fn the_list_of_disks_and_its_events_are_the_list_of_the_end(
        tables in vec(disks(), 1..12), asked_after in 0_usize..12,
    ) {
        follow(tables, asked_after, ("system.disk.changed", "disks", "mount"))?;
    }
}
