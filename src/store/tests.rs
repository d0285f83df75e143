//! What the rest of the daemon relies on.

mod audit;
mod crash;
mod full;
mod history;
mod keys;
mod migration;
mod refusal;
mod retention;
mod sessions;
mod tokens;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Time;

use super::*;

pub(super) const UNLIMITED: StoreSettings =
    StoreSettings { max_age: None, max_bytes: None, audit_max_age: None };

/// A directory of its own, removed at the end.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("sysadmd-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn open(&self) -> Result<Store, StoreError> {
        self.open_at(&Clock::system(), UNLIMITED)
    }

    pub(super) fn open_at(
        &self,
        clock: &Clock,
        settings: StoreSettings,
    ) -> Result<Store, StoreError> {
        Store::open(&self.0, clock.clone(), settings)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs this test again in a process of its own, with `variable` set to `value`.
pub(super) fn child(test: &str, variable: &str, value: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(variable, value);
    command
}

/// Everything the log holds, checked to be without a gap. Reads again when retention or an append
/// came in between.
pub(super) async fn everything(log: &EventLog) -> Vec<Arc<Event>> {
    for _ in 0..1_000 {
        let Bounds { oldest, head } = log.bounds();
        let events = read_all(log).await;
        let after = log.bounds();
        if (after.oldest, after.head) == (oldest, head) {
            assert!(events.iter().map(|event| event.seq.unwrap()).eq(oldest..=head));
            assert!(events.windows(2).all(|pair| pair[0].time < pair[1].time));
            return events;
        }
    }
    panic!("the log never stood still");
}

async fn read_all(log: &EventLog) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = Vec::new();
    while let Some(next) = log
        .read(events.last().and_then(|last| last.seq).unwrap_or(0), 1000, 1 << 20)
        .await
        .map(|part| (!part.is_empty()).then_some(part))
        .unwrap()
    {
        events.extend(next);
    }
    events
}

pub(super) fn record(class: &str, subject: &str, priority: u8) -> Record {
    Record {
        source: "test".to_owned(),
        class: Class::parse(class).unwrap(),
        subject: subject.to_owned(),
        priority: Priority::clamped(priority),
        message: format!("{class} happened to {subject}"),
        data: serde_json::json!({ "subject": subject }).into(),
        audit: None,
        job: None,
        alert: None,
        order: None,
    }
}

#[tokio::test]
async fn an_event_is_numbered_stamped_and_read_back_as_it_was_given() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(1_000_000));
    let store = place.open_at(&clock, StoreSettings::default()).unwrap();
    let log = store.log();
    assert_eq!(log.bounds(), Bounds { oldest: 1, head: 0 });
    let first = log.append(record("a.b", "/x", 3)).await.unwrap();
    let mut silent = record("a.c", "", 10);
    silent.data = Json::default();
    let second = log.append(silent).await.unwrap();
    assert_eq!((first.seq, second.seq), (Some(1), Some(2)));
    assert_eq!(crate::clock::micros_of_id(first.id), first.time.micros());
    assert!(second.time > first.time);
    assert_eq!(log.bounds(), Bounds { oldest: 1, head: 2 });
    assert_eq!(log.read(0, 10, usize::MAX).await.unwrap(), [first, Arc::clone(&second)]);
    assert_eq!(log.read(1, 10, usize::MAX).await.unwrap(), [second]);
    assert_eq!(log.read(2, 10, usize::MAX).await.unwrap(), []);
    store.close();
    assert!(matches!(log.append(record("a.b", "", 0)).await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn numbers_times_and_the_instance_go_on_after_a_restart() {
    let place = Place::new();
    let clock = Clock::fake(Time::from_micros(9_000_000));
    let store = place.open_at(&clock, StoreSettings::default()).unwrap();
    let instance = store.instance();
    let before = store.log().append(record("a", "", 0)).await.unwrap();
    store.close();
    let earlier = Clock::fake(Time::from_micros(5));
    let store = place.open_at(&earlier, StoreSettings::default()).unwrap();
    assert_eq!(store.instance(), instance);
    let after = store.log().append(record("a", "", 0)).await.unwrap();
    assert_eq!((before.seq, after.seq), (Some(1), Some(2)));
    assert!(after.time > before.time);
    store.close();
}

#[tokio::test]
async fn the_bus_hears_of_a_batch_before_its_publishers_do() {
    let place = Place::new();
    let store = place.open().unwrap();
    let log = store.log();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (inside, bounds) = (Arc::clone(&heard), log.clone());
    log.on_commit(Box::new(move |batch| {
        assert_eq!(Some(bounds.bounds().head), batch.last().unwrap().seq);
        inside.lock().unwrap().extend(batch.iter().map(|event| event.seq.unwrap()));
    }));
    let mut waiting = Vec::new();
    for n in 0..3000 {
        waiting.push(log.submit(record("a", &n.to_string(), 0)).await.unwrap());
    }
    for submitted in waiting {
        let seq = submitted.recorded().await.unwrap().seq.unwrap();
        assert!(heard.lock().unwrap().contains(&seq));
    }
    assert_eq!(*heard.lock().unwrap(), (1..=3000).collect::<Vec<u64>>());
    let subjects = log.read(0, 3000, usize::MAX).await.unwrap();
    assert!(subjects.iter().enumerate().all(|(n, event)| event.subject == n.to_string()));
    store.close();
}

#[tokio::test]
async fn a_read_stops_at_its_bounds_but_never_before_the_first() {
    let place = Place::new();
    let store = place.open().unwrap();
    let log = store.log();
    for n in 0..5 {
        log.append(record("a", &n.to_string(), 0)).await.unwrap();
    }
    let weight = log.read(0, 1, usize::MAX).await.unwrap()[0].weight();
    assert_eq!(log.read(0, 3, usize::MAX).await.unwrap().len(), 3);
    assert_eq!(log.read(0, 9, 2 * weight).await.unwrap().len(), 2);
    assert_eq!(log.read(0, 9, 0).await.unwrap().len(), 1);
    store.close();
}

#[tokio::test]
async fn a_second_daemon_is_told_who_was_first() {
    let place = Place::new();
    let store = place.open().unwrap();
    let Err(StoreError::InUse { pid, .. }) = place.open() else { panic!("opened twice") };
    assert_eq!(pid, Some(std::process::id()));
    store.close();
    place.open().unwrap().close();
}
