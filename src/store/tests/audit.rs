//! The audit trail: what was appended is there, and a later change shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use protocol::{Json, Time};
use rusqlite::Connection;
use serde_json::json;

use super::{Place, UNLIMITED, record};
use crate::clock::Clock;
use crate::store::writer::{Errand, Job};
use crate::store::{
    AuditEntry, AuditQuery, AuditRecord, AuditVerdict, Record, Store, StoreError, StoreSettings,
};

pub(super) fn entry(method: &str, number: usize) -> AuditEntry {
    AuditEntry {
        actor: format!("token:{}", number % 3),
        origin: "127.0.0.1".to_owned(),
        method: method.to_owned(),
        outcome: if number.is_multiple_of(5) { "forbidden" } else { "ok" }.to_owned(),
        details: Json::from(json!({ "number": number })),
    }
}

/// The whole trail, found intact.
pub(super) async fn all_records(store: &Store) -> Vec<AuditRecord> {
    let (mut query, mut records) = (AuditQuery { limit: 1000, ..Default::default() }, Vec::new());
    loop {
        let page = store.audit().page(query.clone()).await.unwrap();
        records.extend(page.records);
        query.after_seq = page.resume;
        if !page.more {
            break;
        }
    }
    let (last, head) = store.audit().head();
    let intact = AuditVerdict::Intact { first: last + 1 - records.len() as u64, last, head };
    assert_eq!(store.audit().verify().await.unwrap(), intact);
    assert!(records.windows(2).all(|pair| pair[0].time < pair[1].time));
    records
}

#[tokio::test]
async fn an_entry_is_numbered_dated_and_read_back_as_it_was_given() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(1_000_000));
    let store = place.open_at(&clock, UNLIMITED).unwrap();
    let audit = store.audit();
    assert_eq!(audit.head(), (0, [0; 32]));
    let empty = AuditVerdict::Intact { first: 1, last: 0, head: [0; 32] };
    assert_eq!(audit.verify().await.unwrap(), empty);
    assert_eq!(audit.append(entry("a/b", 1)).await.unwrap(), 1);
    let both = Record { audit: Some(entry("a/c", 2)), ..record("a", "", 3) };
    let event = store.log().append(both).await.unwrap();
    assert_eq!(audit.append(entry("a/d", 3)).await.unwrap(), 3);
    let records = all_records(&store).await;
    let given = [entry("a/b", 1), entry("a/c", 2), entry("a/d", 3)];
    assert!(records.iter().map(|record| &record.entry).eq(&given));
    assert!(records.iter().map(|record| record.seq).eq(1..=3));
    assert_eq!(records[1].time, event.time);
    let head = (3, records[2].hash);
    assert_eq!(audit.head(), head);
    let intact = AuditVerdict::Intact { first: 1, last: 3, head: head.1 };
    assert_eq!(audit.verify().await.unwrap(), intact);
    assert!(matches!(Store::audit_verify_file(&place.0), Err(StoreError::InUse { .. })));
    store.close();
    assert!(matches!(audit.append(entry("a/b", 1)).await, Err(StoreError::Stopped)));
    assert_eq!(Store::audit_verify_file(&place.0).unwrap(), intact);
    let nowhere = Place::new();
    assert_eq!(Store::audit_verify_file(&nowhere.0).unwrap(), empty);
}

#[tokio::test]
async fn numbers_times_and_the_chain_go_on_after_a_restart() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(9_000_000));
    let store = place.open_at(&clock, UNLIMITED).unwrap();
    store.audit().append(entry("a/b", 1)).await.unwrap();
    let head = store.audit().head();
    store.close();
    let earlier = Clock::fake(Time::from_micros(5));
    let store = place.open_at(&earlier, UNLIMITED).unwrap();
    assert_eq!(store.audit().head(), head);
    assert_eq!(store.audit().append(entry("a/b", 2)).await.unwrap(), 2);
    let query = AuditQuery { since: Some(Time::from_micros(9_000_001)), ..AuditQuery::default() };
    assert_eq!(store.audit().page(query).await.unwrap().records[0].seq, 2);
    assert_eq!(all_records(&store).await.len(), 2);
    store.close();
}

#[tokio::test]
async fn old_records_go_and_the_rest_still_verifies() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(1_000_000_000));
    let day = StoreSettings { audit_max_age: Some(Duration::from_hours(24)), ..UNLIMITED };
    let store = place.open_at(&clock, day).unwrap();
    for number in 0..700 {
        store.audit().append(entry("a/b", number)).await.unwrap();
    }
    clock.advance(Duration::from_hours(25));
    let last = store.audit().append(entry("a/b", 700)).await.unwrap();
    store.close();
    // A start looks at once whether something is too old.
    let store = place.open_at(&clock, day).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.audit().page(AuditQuery::default()).await.unwrap().records[0].seq != last {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, head) = store.audit().head();
    let intact = AuditVerdict::Intact { first: last, last, head };
    assert_eq!(store.audit().verify().await.unwrap(), intact);
    store.close();
    assert_eq!(Store::audit_verify_file(&place.0).unwrap(), intact);
}

/// Lets the writer wait until something is sent.
async fn hold(store: &Store) -> SyncSender<()> {
    let (go, wait) = sync_channel(1);
    let room = Arc::clone(&store.shared.room).acquire_owned().await.unwrap();
    let job: Job = Box::new(move |_| wait.recv().unwrap());
    store.shared.inbox.send(Errand::Do(job, room)).unwrap();
    go
}

/// The transactions in a write-ahead log that has not been begun afresh: the frames that end one
/// say how large the database is then (<https://sqlite.org/fileformat2.html#walformat>).
fn commits(log: &Path) -> usize {
    let log = std::fs::read(log).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + usize::try_from(number(8)).unwrap();
    (32..log.len()).step_by(frame).filter(|at| number(at + 4) > 0).count()
}

#[tokio::test]
async fn ten_thousand_appends_are_ten_transactions_when_they_wait_together() {
    let place = Place::new();
    let store = place.open().unwrap();
    let log = place.0.join("sysadmd.db-wal");
    store.audit().append(entry("first", 0)).await.unwrap();
    let before = commits(&log);
    for round in 0..10 {
        let go = hold(&store).await;
        let (mut records, mut events) = (Vec::new(), Vec::new());
        for n in 0..1000 {
            let method = format!("{round}/{n}");
            if n % 4 == 0 {
                let audit = Some(entry(&method, n));
                let record = Record { audit, ..record("a", &method, 0) };
                events.push(store.log().submit(record).await.unwrap());
            } else {
                records.push(store.audit().submit(entry(&method, n)).await.unwrap());
            }
        }
        go.send(()).unwrap();
        for submitted in events {
            submitted.recorded().await.unwrap();
        }
        for submitted in records {
            submitted.await.unwrap().unwrap();
        }
    }
    assert_eq!(commits(&log) - before, 10);
    let records = all_records(&store).await;
    let methods = (0..10).flat_map(|round| (0..1000).map(move |n| format!("{round}/{n}")));
    assert!(records[1..].iter().map(|record| record.entry.method.clone()).eq(methods));
    store.close();
}

#[tokio::test]
async fn others_are_answered_while_a_long_trail_is_verified() {
    let place = Place::new();
    let store = place.open().unwrap();
    let mut submitted = Vec::new();
    for number in 0..7000 {
        submitted.push(store.audit().submit(entry("a/b", number)).await.unwrap());
    }
    for submitted in submitted {
        submitted.await.unwrap().unwrap();
    }
    let audit = store.audit();
    let verify = audit.verify();
    let page = audit.page(AuditQuery { newest_first: true, ..AuditQuery::default() });
    tokio::pin!(verify, page);
    tokio::select! {
        biased;
        verdict = &mut verify => panic!("it kept the other waiting: {verdict:?}"),
        page = &mut page => assert_eq!(page.unwrap().records[0].seq, 7000),
    }
    assert!(matches!(verify.await.unwrap(), AuditVerdict::Intact { last: 7000, .. }));
    store.close();
}

/// What somebody does to the file of a store, open or closed.
fn tamper(place: &Place, statement: &str) {
    let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
    db.execute_batch(statement).unwrap();
    db.close().unwrap();
}

async fn broken_at(store: &Store) -> u64 {
    match store.audit().verify().await.unwrap() {
        AuditVerdict::Broken { seq, .. } => seq,
        intact @ AuditVerdict::Intact { .. } => panic!("{intact:?}"),
    }
}

#[tokio::test]
async fn an_altered_trail_goes_on_and_stays_broken() {
    for (statement, seq) in [
        ("UPDATE audit SET outcome = 'fine' WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 7", 7),
        ("DELETE FROM audit WHERE seq > 18", 19),
        ("DELETE FROM audit WHERE seq < 4", 1),
        ("DELETE FROM audit", 1),
    ] {
        let place = Place::new();
        let store = place.open().unwrap();
        for number in 0..20 {
            store.audit().append(entry("a/b", number)).await.unwrap();
        }
        tamper(&place, statement);
        assert_eq!(broken_at(&store).await, seq, "{statement}");
        store.close();
        let found = Store::audit_verify_file(&place.0).unwrap();
        assert!(matches!(found, AuditVerdict::Broken { seq: at, .. } if at == seq), "{found:?}");
        // It keeps nothing from going on.
        Store::check_all(&place.0).unwrap();
        let store = place.open().unwrap();
        assert_eq!(store.audit().append(entry("a/b", 20)).await.unwrap(), 21);
        assert_eq!(broken_at(&store).await, seq, "{statement}");
        let query = AuditQuery { newest_first: true, ..AuditQuery::default() };
        assert_eq!(store.audit().page(query).await.unwrap().records[0].seq, 21);
        store.close();
    }
}

#[tokio::test]
async fn a_trail_cut_off_with_its_end_shows_while_the_daemon_runs() {
    let place = Place::new();
    let store = place.open().unwrap();
    for number in 0..20 {
        store.audit().append(entry("a/b", number)).await.unwrap();
    }
    let cut = "DELETE FROM audit WHERE seq > 9; UPDATE audit_ends SET (head_seq, head_hash) = \
               (SELECT seq, hash FROM audit WHERE seq = 9);";
    tamper(&place, cut);
    assert_eq!(broken_at(&store).await, 10);
    store.audit().append(entry("a/b", 20)).await.unwrap();
    store.close();
    // And what it went on with does not fit what is left.
    let found = Store::audit_verify_file(&place.0).unwrap();
    assert!(matches!(found, AuditVerdict::Broken { seq: 10, .. }), "{found:?}");
}
