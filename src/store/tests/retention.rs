//! Old events go, the newest stays, and the file keeps its size.

use std::time::{Duration, Instant};

use protocol::{Filter, Time};

use super::{Place, UNLIMITED, everything, record};
use crate::clock::Clock;
use crate::store::{Bounds, EventLog, Record, StoreSettings};

async fn until(log: &EventLog, what: &str, reached: impl Fn(Bounds) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reached(log.bounds()) {
        assert!(Instant::now() < deadline, "{what}: still {:?}", log.bounds());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn append_many(log: &EventLog, count: usize, bytes: usize) {
    let mut waiting = Vec::new();
    for n in 0..count {
        let message = "x".repeat(bytes);
        let record = Record { message, ..record("retention.test", &(n % 10).to_string(), 7) };
        waiting.push(log.submit(record).await.unwrap());
    }
    for submitted in waiting {
        submitted.recorded().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_too_old_goes_except_the_newest() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(1_000_000_000));
    let store = place.open_at(&clock, UNLIMITED).unwrap();
    append_many(&store.log(), 3000, 10).await;
    clock.advance(Duration::from_hours(1));
    append_many(&store.log(), 5, 10).await;
    store.close();
    clock.advance(Duration::from_mins(30));
    let hour = StoreSettings { max_age: Some(Duration::from_hours(1)), ..UNLIMITED };
    let store = place.open_at(&clock, hour).unwrap();
    until(&store.log(), "old ones go", |bounds| bounds.oldest == 3001).await;
    assert_eq!(everything(&store.log()).await.len(), 5);
    // What the snapshot knows of removed events goes with them.
    let newest = store.log().newest_each(Filter::default().into(), 100).await.unwrap();
    assert!(newest.iter().map(|event| event.seq.unwrap()).eq(3001..=3005));
    store.close();
    clock.advance(Duration::from_hours(1));
    let store = place.open_at(&clock, hour).unwrap();
    until(&store.log(), "all but one go", |bounds| bounds.oldest == 3005).await;
    assert_eq!(store.log().append(record("a", "", 0)).await.unwrap().seq, Some(3006));
    store.close();
}

#[tokio::test]
async fn the_file_stays_near_its_limit_however_much_is_recorded() {
    let place = Place::new();
    let limit = 2 << 20;
    let settings = StoreSettings { max_bytes: Some(limit), ..UNLIMITED };
    let store = place.open_at(&Clock::system(), settings).unwrap();
    for _ in 0..10 {
        append_many(&store.log(), 1000, 1000).await;
    }
    let log = store.log();
    until(&log, "the oldest go", |bounds| bounds.oldest > 8000 && bounds.head == 10_000).await;
    assert!(everything(&log).await.len() > 500);
    store.close();
    let size = std::fs::metadata(place.0.join("sysadmd.db")).unwrap().len();
    assert!(size < limit + (4 << 20), "{size}");
}

#[tokio::test]
async fn a_lower_limit_makes_the_file_smaller() {
    let place = Place::new();
    let store = place.open_at(&Clock::system(), UNLIMITED).unwrap();
    append_many(&store.log(), 3000, 4000).await;
    store.close();
    let file = place.0.join("sysadmd.db");
    assert!(std::fs::metadata(&file).unwrap().len() > 12 << 20);
    let settings = StoreSettings { max_bytes: Some(1 << 20), ..UNLIMITED };
    let store = place.open_at(&Clock::system(), settings).unwrap();
    until(&store.log(), "most go", |bounds| bounds.oldest > 2700).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // Only a checkpoint shows in the file; closing makes one.
        let log = store.log();
        log.append(record("a", "", 0)).await.unwrap();
        let pages = store
            .shared
            .replay
            .run(|db| Ok(db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?));
        if pages.await.unwrap() * 4096 <= (1 << 20) + (4 << 20) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    store.close();
    assert!(std::fs::metadata(&file).unwrap().len() <= (1 << 20) + (4 << 20));
}
