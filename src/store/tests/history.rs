//! History answers as a list in memory would.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use protocol::{Event, Filter, Priority, Time};
use rusqlite::{Connection, params_from_iter};

use super::{Place, UNLIMITED, record};
use crate::clock::Clock;
use crate::store::Store;
use crate::store::history::{self, Page, Query, Route};

const COUNT: u64 = 200;
const START: u64 = 1_000_000;

/// A store with events of all kinds, and the same in memory.
async fn filled(place: &Place) -> (Store, Vec<Arc<Event>>) {
    let clock = Clock::fake(Time::from_micros(START));
    let store = place.open_at(&clock, UNLIMITED).unwrap();
    let mut events = Vec::new();
    for n in 0..COUNT {
        let class = ["a", "a.b", "a.c", "b.a", "b.b.b"][usize::try_from(n * n % 5).unwrap()];
        let mut record = record(class, &format!("/{}", n * 7 % 11), u8::try_from(n % 11).unwrap());
        record.source = ["x", "y"][usize::try_from(n % 2).unwrap()].to_owned();
        clock.advance(std::time::Duration::from_micros(n % 3 * 10));
        events.push(store.log().append(record).await.unwrap());
    }
    (store, events)
}

fn filters() -> impl Strategy<Value = Filter> {
    let pattern = select(vec!["*", "a", "a.*", "a.b", "b.*", "b.b.b", "c", "c.*"]);
    let subject = select(vec!["/1", "/1*", "*", "/5", "/none"]);
    (
        vec(pattern, 0..3),
        0u8..=10,
        of(subject),
        of(select(vec!["x", "z"])),
        of(select(vec!["B", "to /7"])),
    )
        .prop_map(|(classes, priority, subject, source, text)| Filter {
            min_priority: Priority::clamped(priority),
            subject: subject.map(str::to_owned),
            source: source.map(str::to_owned),
            text: text.map(str::to_owned),
            ..Filter::classes(classes)
        })
}

fn queries() -> impl Strategy<Value = Query> {
    let time = || of((START - 10..START + 3000).prop_map(Time::from_micros));
    let seq = || of(0..COUNT + 3);
    (filters(), (time(), time()), (seq(), seq()), 0usize..40, any::<bool>()).prop_map(
        |(filter, (since, until), (after_seq, before_seq), limit, newest_first)| Query {
            interest: filter.into(),
            since,
            until,
            after_seq,
            before_seq,
            limit,
            newest_first,
        },
    )
}

/// What a list in memory answers, all pages together.
fn expected(events: &[Arc<Event>], query: &Query) -> Vec<Arc<Event>> {
    let seq = |event: &Event| event.seq.unwrap();
    let mut found: Vec<_> = events
        .iter()
        .filter(|event| query.interest.matches(event))
        .filter(|event| query.since.is_none_or(|since| event.time >= since))
        .filter(|event| query.until.is_none_or(|until| event.time < until))
        .filter(|event| query.after_seq.is_none_or(|after| seq(event) > after))
        .filter(|event| query.before_seq.is_none_or(|before| seq(event) < before))
        .cloned()
        .collect();
    if query.newest_first {
        found.reverse();
    }
    found
}

/// Follows `resume` to the end, looking at `scan_max` rows at a time.
async fn all_pages(store: &Store, query: &Query, scan_max: usize) -> Vec<Arc<Event>> {
    let (mut query, mut found) = (query.clone(), Vec::new());
    loop {
        let asked = query.clone();
        let page = move |db: &mut Connection| history::page(db, &asked, scan_max);
        let page: Page = store.shared.history.run(page).await.unwrap();
        assert!(page.events.len() <= query.limit.max(1));
        assert_eq!(page.more, page.resume.is_some());
        found.extend(page.events);
        match page.resume {
            None => return found,
            Some(seq) if query.newest_first => query.before_seq = Some(seq),
            Some(seq) => query.after_seq = Some(seq),
        }
    }
}

fn check<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
    test: impl Fn(&Store, &[Arc<Event>], T, &tokio::runtime::Runtime),
) {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, events) = runtime.block_on(filled(&place));
    TestRunner::new(Config::with_cases(300))
        .run(&strategy, |value| {
            test(&store, &events, value, &runtime);
            Ok(())
        })
        .unwrap();
    store.close();
}

#[test]
fn pages_together_are_what_a_list_in_memory_answers() {
    check((queries(), 1usize..50), |store, events, (query, scan_max), runtime| {
        let found = runtime.block_on(all_pages(store, &query, scan_max));
        assert_eq!(found, expected(events, &query));
    });
}

#[test]
fn the_newest_is_the_last_of_a_list_in_memory() {
    check(filters(), |store, events, filter, runtime| {
        let newest = runtime.block_on(store.log().newest(filter.clone().into())).unwrap();
        assert_eq!(newest.as_ref(), events.iter().rfind(|event| filter.matches(event)));
    });
}

#[test]
fn the_newest_of_each_are_those_of_a_list_in_memory() {
    check((filters(), 0usize..60), |store, events, (filter, limit), runtime| {
        let found =
            runtime.block_on(store.log().newest_each(filter.clone().into(), limit)).unwrap();
        let each: BTreeMap<_, _> =
            events.iter().map(|event| ((event.class.as_str(), &event.subject), event)).collect();
        let mut expected: Vec<_> =
            each.into_values().filter(|event| filter.matches(event)).cloned().collect();
        expected.sort_by_key(|event| std::cmp::Reverse(event.seq));
        expected.truncate(limit);
        expected.reverse();
        assert_eq!(found, expected);
    });
}

#[tokio::test]
async fn no_route_sorts() {
    let place = Place::new();
    let (store, _) = filled(&place).await;
    let classes = |count: usize| Route::Classes((0..count).map(|n| n.to_string()).collect());
    let routes = || [Route::All, Route::Urgent, classes(0), classes(1), classes(2), classes(16)];
    for newest_first in [false, true] {
        for route in routes() {
            let sql = format!("EXPLAIN QUERY PLAN {}", route.sql(newest_first));
            let plan = store.shared.history.run(move |db| {
                let mut statement = db.prepare(&sql)?;
                let values = params_from_iter(route.values(0, COUNT));
                let steps = statement.query_map(values, |row| row.get::<_, String>(3))?;
                Ok(steps.collect::<Result<Vec<_>, _>>()?.join("\n"))
            });
            let plan = plan.await.unwrap();
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            assert!(!plan.contains("SCAN events\n"), "{plan}");
        }
    }
    store.close();
}
