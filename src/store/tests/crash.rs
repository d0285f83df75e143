//! What was acknowledged is there after `kill -9`, whenever that comes.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::audit::{all_records, entry};
use super::{Place, UNLIMITED, child, everything, record};
use crate::clock::Clock;
use crate::store::{Record, Store};

const DIR: &str = "SYSADMD_TEST_CRASH_DIR";
const TEST: &str = "store::tests::crash::what_was_acknowledged_survives_being_killed";
const ROUNDS: u64 = 20;

#[tokio::test]
async fn what_was_acknowledged_survives_being_killed() {
    if let Some(dir) = env::var_os(DIR) {
        return append_for_ever(Path::new(&dir)).await;
    }
    let place = Place::new();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let patience = Duration::from_micros(500 + 7919 * round * round % 60_000);
        acknowledged.append(&mut killed_after(&place.0, patience));
        let store = place.open().unwrap();
        let events = everything(&store.log()).await;
        for (seq, subject) in &acknowledged {
            let index = usize::try_from(seq - 1).unwrap();
            assert_eq!(&events[index].subject, subject, "event {seq} in round {round}");
        }
        // Each event has its record in the audit trail, or is not there at all.
        let records = all_records(&store).await;
        assert!(records.iter().map(|record| record.time).eq(events.iter().map(|e| e.time)));
        let methods = records.iter().map(|record| &record.entry.method);
        assert!(methods.eq(events.iter().map(|event| &event.subject)), "in round {round}");
        store.close();
    }
    assert!(acknowledged.len() as u64 > ROUNDS);
    Store::check_all(&place.0).unwrap();
}

/// Runs a publisher until `patience` after its first acknowledgement; returns what was
/// acknowledged.
fn killed_after(dir: &Path, patience: Duration) -> BTreeMap<u64, String> {
    let mut publisher = child(TEST, DIR, dir).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(publisher.stdout.take().unwrap());
    let (mut acknowledged, mut deadline) = (BTreeMap::new(), None);
    for line in output.lines().map_while(Result::ok) {
        // The last line may have been cut in the middle: only those with an end count.
        let words: Vec<&str> = line.split(' ').collect();
        let ["acknowledged", seq, subject, "."] = words[..] else { continue };
        acknowledged.insert(seq.parse().unwrap(), subject.to_owned());
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
        if Instant::now() >= deadline {
            publisher.kill().unwrap();
        }
    }
    publisher.wait().unwrap();
    assert!(!acknowledged.is_empty());
    acknowledged
}

async fn append_for_ever(dir: &Path) {
    let log = Store::open(dir, Clock::system(), UNLIMITED).unwrap().log();
    let pid = std::process::id();
    for number in 0.. {
        let subject = format!("/{pid}/{number}");
        let submitted = |n| {
            let subject = format!("{subject}/{n}");
            let audit = Some(entry(&subject, n));
            log.submit(Record { audit, ..record("crash.test", &subject, 6) })
        };
        let mut waiting = Vec::new();
        for n in 0..number % 40 {
            waiting.push(submitted(n).await.unwrap());
        }
        for submitted in waiting {
            let event = submitted.recorded().await.unwrap();
            println!("acknowledged {} {} .", event.seq.unwrap(), event.subject);
        }
    }
}
