//! The audit trail: what was appended is there, and a later change shows.

use std::time::Duration;

use protocol::{Json, Time};
use serde_json::json;

use super::{Place, UNLIMITED, record};
use crate::clock::Clock;
use crate::store::{
    AuditEntry, AuditQuery, AuditVerdict, Record, Store, StoreError, StoreSettings,
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
    let page = audit.page(AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
    assert!((!page.more) && page.resume.is_none());
    let given = [entry("a/b", 1), entry("a/c", 2), entry("a/d", 3)];
    assert!(page.records.iter().map(|record| &record.entry).eq(&given));
    assert!(page.records.iter().map(|record| record.seq).eq(1..=3));
    assert_eq!(page.records[1].time, event.time);
    assert!(page.records.windows(2).all(|pair| pair[0].time < pair[1].time));
    let head = (3, page.records[2].hash);
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
    let (_, hash) = store.audit().head();
    let intact = AuditVerdict::Intact { first: 1, last: 2, head: hash };
    assert_eq!(store.audit().verify().await.unwrap(), intact);
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
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while store.audit().page(AuditQuery::default()).await.unwrap().records[0].seq != last {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, head) = store.audit().head();
    let intact = AuditVerdict::Intact { first: last, last, head };
    assert_eq!(store.audit().verify().await.unwrap(), intact);
    store.close();
    assert_eq!(Store::audit_verify_file(&place.0).unwrap(), intact);
}
