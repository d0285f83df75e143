//! Over a real store: what is told, what survives, what is refused.

use std::path::Path;

use protocol::alert::{AlertDeclaration, Clear, Raise, Report, Sync};
use protocol::link::Alerted;
use protocol::{Event, Filter, Json};

use super::*;
use crate::alarm::Alarm;
use crate::lifecycle::Gone;
use crate::sight::Interest;
use crate::store::{Query, StoreSettings};

struct House {
    alerts: Alerts,
    alarm: Alarm,
    store: Arc<Store>,
    clock: Clock,
    tasks: Tasks,
    gone: Gone,
}

impl House {
    async fn open(dir: &Path, clock: Clock) -> Self {
        let settings = StoreSettings { max_age: None, max_bytes: None, audit_max_age: None };
        let store = Arc::new(Store::open(dir, clock.clone(), settings).unwrap());
        let (tasks, gone) = Tasks::new();
        let bus = Bus::start(store.log(), clock.clone(), store.instance(), tasks.clone()).unwrap();
        let (alarm, rings) = Alarm::new();
        let rules = BTreeMap::new();
        let ground = Ground { store: Arc::clone(&store), bus, clock: clock.clone(), rules };
        let alerts = Alerts::begin(ground, rings, &tasks).await.unwrap();
        Self { alerts, alarm, store, clock, tasks, gone }
    }

    async fn close(self) {
        let Self { alerts, alarm, store, tasks, gone, .. } = self;
        tasks.stop();
        drop((alerts, alarm, tasks));
        assert!(gone.wait(Duration::from_secs(10)).await);
        store.close();
    }

    async fn report(&self, source: &str, report: Report) -> Result<Alerted, Fault> {
        self.alarm.submit(source, (report, declared()), true).await?.done().await
    }

    async fn raise(&self, subject: &str) -> Alerted {
        self.report("demo", Report::Raise(raise("demo.broken", subject))).await.unwrap()
    }

    /// The events about alerts, in order: what has happened, and whether people are told.
    async fn events(&self) -> Vec<(String, bool)> {
        let query = Query {
            interest: Interest::from(Filter::classes(["alert.*"])),
            limit: 1_000,
            ..Query::default()
        };
        let page = self.store.log().page(query).await.unwrap();
        page.events.iter().map(|event| told(event)).collect()
    }

    /// Time passes, and somebody looks.
    async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        assert!(self.alerts.0.look().await);
    }
}

fn told(event: &Event) -> (String, bool) {
    let data: serde_json::Value = event.data.read().unwrap();
    (data["verb"].as_str().unwrap().to_owned(), data["notify"].as_bool().unwrap())
}

fn declared() -> Vec<AlertDeclaration> {
    let text = r#"[{"kind":"demo.broken","clear_for_s":5,"priority_max":7},
                   {"kind":"demo.full","clear_for_s":0,"raise_at":90,"clear_at":80}]"#;
    serde_json::from_str(text).unwrap()
}

fn raise(kind: &str, subject: &str) -> Raise {
    let text =
        format!(r#"{{"kind":"{kind}","subject":"{subject}","priority":9,"message":"it is"}}"#);
    serde_json::from_str(&text).unwrap()
}

fn clear(subject: &str) -> Report {
    let kind = protocol::Class::parse("demo.broken").unwrap();
    Report::Clear(Clear { kind, subject: subject.to_owned() })
}

fn clock() -> Clock {
    Clock::fake("2026-11-26T12:00:00Z".parse().unwrap())
}

fn verbs(told: &[(&str, bool)]) -> Vec<(String, bool)> {
    told.iter().map(|(verb, notify)| ((*verb).to_owned(), *notify)).collect()
}

#[tokio::test]
async fn what_is_wrong_is_one_alert_over_restarts() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock.clone()).await;
    let first = house.raise("/x").await;
    assert_eq!((first.id, first.state.as_str()), (Some(1), "open"));
    assert_eq!(house.raise("/x").await, first);
    assert_eq!(house.raise("/y").await.id, Some(2));
    house.close().await;

    let house = House::open(dir.path(), clock.clone()).await;
    let all = house.alerts.all().await.alerts;
    let counts: Vec<_> = all.iter().map(|it| (it.subject.as_str(), it.count, it.told)).collect();
    assert_eq!(counts, [("/x", 2, true), ("/y", 1, true)]);
    assert_eq!(all[0].priority.number(), 7, "lowered to what is declared");
    assert_eq!(house.raise("/x").await, first);
    assert_eq!(house.report("demo", clear("/x")).await.unwrap().state, "clearing");
    house.close().await;

    let house = House::open(dir.path(), clock).await;
    house.pass(5).await;
    let expected =
        verbs(&[("raised", true), ("raised", true), ("easing", false), ("cleared", true)]);
    assert_eq!(house.events().await, expected);
    assert_eq!(house.alerts.all().await.alerts[0].state, State::Closed);
    let again = house.raise("/x").await;
    assert_eq!(again, Alerted { id: Some(1), state: "open".to_owned() });
    house.close().await;
}

#[tokio::test]
async fn what_comes_and_goes_fast_fills_no_log() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock).await;
    for _ in 0..200 {
        house.raise("").await;
        house.report("demo", clear("")).await.unwrap();
    }
    house.pass(10).await;
    let events = house.events().await;
    assert!(events.len() <= 12, "{events:?}");
    let notices: Vec<_> = events.iter().filter(|(_, notify)| *notify).collect();
    assert_eq!(notices, [&("raised".to_owned(), true), &("cleared".to_owned(), true)]);
    assert_eq!(house.alerts.all().await.alerts[0].count, 200);
    house.close().await;
}

#[tokio::test]
async fn a_source_may_say_that_this_is_all() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock).await;
    house.raise("/x").await;
    house.raise("/y").await;
    house.report("other", Report::Raise(raise("demo.broken", "/x"))).await.unwrap();
    let all = vec![raise("demo.broken", "/y"), raise("demo.broken", "/z")];
    house.report("demo", Report::Sync(Sync { alerts: all })).await.unwrap();
    house.pass(5).await;
    let all = house.alerts.all().await.alerts;
    let states: Vec<_> =
        all.iter().map(|it| (it.source.as_str(), it.subject.as_str(), it.state)).collect();
    assert_eq!(
        states,
        [
            ("demo", "/x", State::Closed),
            ("demo", "/y", State::Open),
            ("other", "/x", State::Open),
            ("demo", "/z", State::Open),
        ]
    );
    house.close().await;
}

#[tokio::test]
async fn a_figure_on_the_edge_makes_no_noise() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock).await;
    for (value, expected) in [
        (85, ""),
        (90, "open"),
        (85, "open"),
        (91, "open"),
        (80, "closed"),
        (85, "closed"),
        (89, "closed"),
    ] {
        let full = Raise { value: Some(value), ..raise("demo.full", "/disk") };
        let told = house.report("demo", Report::Raise(full)).await.unwrap();
        assert_eq!(told.state, expected, "{value}");
    }
    assert_eq!(house.events().await, verbs(&[("raised", true), ("cleared", true)]));
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock.clone()).await;
    let undeclared = Report::Raise(raise("demo.other", ""));
    let refusal = house.report("demo", undeclared).await.unwrap_err();
    assert_eq!(refusal.kind, FaultKind::BadRequest);
    let data = Json::from(serde_json::Value::from("x".repeat(20_000)));
    let large = Report::Raise(Raise { data, ..raise("demo.broken", "") });
    assert_eq!(house.report("demo", large).await.unwrap_err().kind, FaultKind::BadRequest);
    assert_eq!(house.report("demo", clear("/never")).await, Ok(Alerted::default()));
    assert!(house.alerts.all().await.alerts.is_empty());

    for number in 0..1_024 {
        house.raise(&format!("/{number}")).await;
    }
    let one_more = Report::Raise(raise("demo.broken", "/more"));
    let refusal = house.report("demo", one_more.clone()).await.unwrap_err();
    assert_eq!(refusal.kind, FaultKind::TooMany);
    assert_eq!(house.report("other", one_more).await.unwrap().state, "open");
    assert_eq!(house.raise("/5").await.id, Some(6), "what is known may be said again");
    house.close().await;
}

#[tokio::test]
async fn people_handle_what_is_wrong() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock.clone()).await;
    let order = async |order| house.alerts.order(1, order, "local:root").await;
    let note = || "on it".to_owned();
    let refused = async |wanted| order(wanted).await.unwrap_err().kind;
    assert_eq!(refused(Order::Close).await, FaultKind::NotFound);
    house.raise("").await;
    let taken = order(Order::Acknowledge { note: note() }).await.unwrap();
    assert_eq!(taken.acknowledged.map(|it| it.by), Some("local:root".to_owned()));
    let at = |seconds| state::later(clock.now(), Duration::from_secs(seconds));
    for until in [clock.now(), at(367 * 86_400)] {
        let silence = Order::Silence { until, note: note() };
        assert_eq!(refused(silence).await, FaultKind::BadRequest);
    }
    order(Order::Silence { until: at(60), note: note() }).await.unwrap();
    order(Order::Unacknowledge).await.unwrap();
    house.pass(60).await;
    order(Order::Close).await.unwrap();
    assert_eq!(refused(Order::Acknowledge { note: note() }).await, FaultKind::BadRequest);
    let expected = verbs(&[
        ("raised", true),
        ("acknowledged", false),
        ("silenced", false),
        ("unacknowledged", false),
        ("unsilenced", false),
        ("cleared", true),
    ]);
    assert_eq!(house.events().await, expected);
    house.close().await;
}

#[tokio::test]
async fn what_is_over_is_forgotten_after_a_month() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let house = House::open(dir.path(), clock.clone()).await;
    for subject in ["/x", "/y"] {
        house.raise(subject).await;
        house.report("demo", clear(subject)).await.unwrap();
    }
    house.pass(5).await;
    house.pass(30 * 86_400 + 1).await;
    let left: Vec<u64> = house.alerts.all().await.alerts.iter().map(|it| it.id).collect();
    assert_eq!(left, [2], "the newest number is not used again");
    assert_eq!(house.store.alert_list().await.unwrap().len(), 1);
    assert_eq!(house.raise("/x").await.id, Some(3));
    house.close().await;
}
