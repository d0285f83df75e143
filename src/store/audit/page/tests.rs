//! Pages answer as a list in memory would.

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::store::audit::{BEGIN, Ends, extend};
use crate::store::open::SCHEMA;

const COUNT: u64 = 60;

/// Records of all kinds, and the same in a database.
fn filled() -> (Connection, Vec<AuditRecord>) {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(SCHEMA).unwrap();
    Ends::insert(&db).unwrap();
    let (mut records, mut at) = (Vec::new(), BEGIN);
    for n in 0..COUNT {
        let pick = |of: &[&str]| of[usize::try_from(n * n % 7).unwrap() % of.len()].to_owned();
        let entry = AuditEntry {
            actor: pick(&["token:a", "token:ab", "local:root"]),
            origin: "here".to_owned(),
            method: pick(&["rpc/tokens", "rpc/plugins", "login"]),
            outcome: pick(&["ok", "forbidden"]),
            details: if n % 2 == 0 { Json::default() } else { Json::of(&[n]).unwrap() },
        };
        records.push(at.next(Time::from_micros(1000 + n * 10), entry));
        at = records[records.len() - 1].link();
    }
    extend(&db, &records).unwrap();
    (db, records)
}

fn queries() -> impl Strategy<Value = AuditQuery> {
    let time = || of((990u64..1000 + COUNT * 10 + 20).prop_map(Time::from_micros));
    let seq = || of(prop_oneof![0..COUNT + 3, Just(u64::MAX)]);
    let actor = select(vec!["token:a", "token:*", "*", "local:root", "nobody"]);
    let method = select(vec!["rpc/*", "login", "rpc/tokens", "x*"]);
    let outcome = select(vec!["ok", "forbidden", "o*"]);
    let texts = (of(actor), of(method), of(outcome));
    (texts, (time(), time()), (seq(), seq()), 0usize..20, any::<bool>()).prop_map(
        |(
            (actor, method, outcome),
            (since, until),
            (after_seq, before_seq),
            limit,
            newest_first,
        )| {
            AuditQuery {
                actor: actor.map(str::to_owned),
                method: method.map(str::to_owned),
                outcome: outcome.map(str::to_owned),
                since,
                until,
                after_seq,
                before_seq,
                limit,
                newest_first,
            }
        },
    )
}

/// What a list in memory answers, all pages together.
fn expected(records: &[AuditRecord], query: &AuditQuery) -> Vec<AuditRecord> {
    let fits = |pattern: &Option<String>, text: &str| match pattern.as_deref() {
        None => true,
        Some(pattern) if pattern.ends_with('*') => text.starts_with(pattern.trim_end_matches('*')),
        Some(exact) => exact == text,
    };
    let mut found: Vec<_> = records
        .iter()
        .filter(|record| fits(&query.actor, &record.entry.actor))
        .filter(|record| fits(&query.method, &record.entry.method))
        .filter(|record| query.outcome.as_ref().is_none_or(|text| *text == record.entry.outcome))
        .filter(|record| query.since.is_none_or(|since| record.time >= since))
        .filter(|record| query.until.is_none_or(|until| record.time < until))
        .filter(|record| query.after_seq.is_none_or(|after| record.seq > after))
        .filter(|record| query.before_seq.is_none_or(|before| record.seq < before))
        .cloned()
        .collect();
    if query.newest_first {
        found.reverse();
    }
    found
}

/// Follows `resume` to the end, looking at `scan_max` records at a time.
fn all_pages(db: &mut Connection, mut query: AuditQuery, scan_max: usize) -> Vec<AuditRecord> {
    let mut found = Vec::new();
    loop {
        let page = page(db, &query, scan_max).unwrap();
        assert!(page.records.len() <= query.limit.max(1));
        assert_eq!(page.more, page.resume.is_some());
        found.extend(page.records);
        match page.resume {
            None => return found,
            Some(seq) if query.newest_first => query.before_seq = Some(seq),
            Some(seq) => query.after_seq = Some(seq),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn pages_together_are_what_a_list_in_memory_answers(query in queries(), scan_max in 1usize..50) {
        let (mut db, records) = filled();
        let found = all_pages(&mut db, query.clone(), scan_max);
        prop_assert_eq!(found, expected(&records, &query));
    }

    #[test]
    fn a_hole_hides_nothing_else(hole in 1..=COUNT, query in queries()) {
        let (mut db, mut records) = filled();
        db.execute("DELETE FROM audit WHERE seq = ?1", [hole.cast_signed()]).unwrap();
        records.retain(|record| record.seq != hole);
        let found = all_pages(&mut db, query.clone(), 7);
        prop_assert_eq!(found, expected(&records, &query));
    }
}

#[test]
fn what_somebody_has_spoilt_is_shown_as_well_as_it_can_be() {
    let (mut db, records) = filled();
    for (seq, set) in [
        (1, "seq = -3"),
        (2, "time = -1"),
        (3, "actor = CAST(x'61ff' AS TEXT)"),
        (4, "details = '{\"half'"),
        (5, "hash = x'00'"),
    ] {
        db.execute(&format!("UPDATE audit SET {set} WHERE seq = ?1"), [seq]).unwrap();
    }
    let query = AuditQuery { limit: 1000, ..AuditQuery::default() };
    let found = page(&mut db, &query, 1000).unwrap().records;
    assert_eq!(found[0].seq, 0);
    assert_eq!(found[1].time, Time::default());
    assert_eq!(found[2].entry.actor, "a\u{fffd}");
    assert_eq!(found[3].entry.details, Json::of("{\"half").unwrap());
    assert_eq!(found[4].hash, [0; 32]);
    assert_eq!(found[5..], records[5..]);
}
