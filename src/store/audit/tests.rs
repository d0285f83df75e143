//! Whatever is done to a trail shows, at the right place.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::Connection;
use sha2::Digest as _;

use super::verify::{Piece, Walk};
use super::*;
use crate::store::open::SCHEMA;

const ALL: Piece = Piece { records: usize::MAX, bytes: usize::MAX };
const TEXTS: [&str; 5] = ["actor", "origin", "method", "outcome", "details"];

fn entry(texts: &[String]) -> AuditEntry {
    let text = |n: usize| texts[n].clone();
    AuditEntry {
        actor: text(0),
        origin: text(1),
        method: text(2),
        outcome: text(3),
        details: Json::of(&texts[4]).unwrap(),
    }
}

/// A trail of these entries, of which the first `removed` have been pruned.
fn trail(entries: &[Vec<String>], removed: usize) -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    db.execute_batch(SCHEMA).unwrap();
    Ends::insert(&db).unwrap();
    let mut records = Vec::new();
    let mut at = BEGIN;
    for texts in entries {
        records.push(at.next(Time::from_micros(at.seq * 10), entry(texts)));
        at = records.last().unwrap().link();
    }
    extend(&db, &records).unwrap();
    if removed > 0 {
        assert!(prune(&mut db, u64::MAX, removed).unwrap());
    }
    db
}

fn entries(least: usize) -> impl Strategy<Value = Vec<Vec<String>>> {
    vec(vec(".{0,6}", 5), least..8)
}

/// At least one record is left.
fn trails() -> impl Strategy<Value = (Vec<Vec<String>>, usize)> {
    (entries(1), any::<Index>()).prop_map(|(entries, removed)| {
        let removed = removed.index(entries.len());
        (entries, removed)
    })
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn broken(db: &mut Connection) -> Option<u64> {
    match verify_all(db).unwrap() {
        AuditVerdict::Broken { seq, .. } => Some(seq),
        AuditVerdict::Intact { .. } => None,
    }
}

/// What somebody does to one value.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Insert(Index, u8),
    Remove(Index),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<Index>().prop_map(Change::Remove),
    ]
}

impl Change {
    /// `None` where there is nothing to change.
    fn of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            _ if bytes.is_empty() => return None,
            Self::Flip(at, bits) => *at.get_mut(&mut bytes) ^= bits,
            Self::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        }
        Some(bytes)
    }

    /// Changes a text or blob; whether it did.
    fn apply(&self, db: &Connection, table: &str, column: &str, row: usize) -> bool {
        let find = format!("SELECT CAST({column} AS BLOB) FROM {table} LIMIT 1 OFFSET ?1");
        let bytes: Vec<u8> = db.query_row(&find, [signed(row)], |row| row.get(0)).unwrap();
        let Some(changed) = self.of(&bytes) else { return false };
        let kind = if column.ends_with("hash") { "BLOB" } else { "TEXT" };
        let sql = format!(
            "UPDATE {table} SET {column} = CAST(?1 AS {kind}) WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET ?2)"
        );
        assert_eq!(db.execute(&sql, rusqlite::params![changed, signed(row)]).unwrap(), 1);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_trail_left_alone_is_intact((entries, removed) in trails(), size in 1usize..4) {
        let mut db = trail(&entries, removed);
        let ends = Ends::of(&db).unwrap();
        let (first, last) = (removed as u64 + 1, entries.len() as u64);
        let intact = AuditVerdict::Intact { first, last, head: ends.head.hash };
        prop_assert_eq!(verify_all(&mut db).unwrap(), intact.clone());
        // In pieces it comes to the same.
        let (mut walk, mut pieces) = (Walk::upto(ends.head), 1);
        let verdict = loop {
            match walk.piece(&mut db, Piece { records: size, bytes: usize::MAX }).unwrap() {
                Some(verdict) => break verdict,
                None => pieces += 1,
            }
        };
        prop_assert_eq!(verdict, intact);
        prop_assert_eq!(pieces, (entries.len() - removed).div_ceil(size));
    }

    #[test]
    fn an_altered_value_breaks_its_own_record(
        (entries, removed) in trails(),
        row in any::<Index>(),
        column in 0usize..6,
        change in changes(),
    ) {
        let mut db = trail(&entries, removed);
        let row = row.index(entries.len() - removed);
        let column = TEXTS.get(column).copied().unwrap_or("hash");
        prop_assume!(change.apply(&db, "audit", column, row));
        prop_assert_eq!(broken(&mut db), Some((removed + row) as u64 + 1));
    }

    #[test]
    fn an_altered_number_breaks_the_record_it_was_of_or_shows_what_is_added(
        (entries, removed) in trails(),
        row in any::<Index>(),
        (is_time, byte, bits) in (any::<bool>(), 0u32..8, 1i64..256),
    ) {
        let mut db = trail(&entries, removed);
        let seq = signed(removed + row.index(entries.len() - removed) + 1);
        let column = if is_time { "time" } else { "seq" };
        let altered = bits << (8 * byte);
        let xor = format!("({column} | ?2) - ({column} & ?2)");
        let sql = format!("UPDATE audit SET {column} = {xor} WHERE seq = ?1");
        // A number that another record has is refused by the database itself.
        prop_assume!(db.execute(&sql, [seq, altered]).is_ok());
        let now = if is_time { seq } else { seq ^ altered };
        let expected = if now <= signed(removed) { now.max(0) } else { seq };
        prop_assert_eq!(broken(&mut db), Some(expected.cast_unsigned()));
    }

    #[test]
    fn a_removed_record_is_named(
        (entries, removed) in trails(),
        first in any::<Index>(),
        count in any::<Index>(),
    ) {
        // Anywhere, also the oldest, also the newest, also all.
        let mut db = trail(&entries, removed);
        let first = removed + 1 + first.index(entries.len() - removed);
        let count = 1 + count.index(entries.len() + 1 - first);
        let sql = "DELETE FROM audit WHERE seq >= ?1 AND seq < ?2";
        prop_assert_eq!(db.execute(sql, [first, first + count].map(signed)).unwrap(), count);
        prop_assert_eq!(broken(&mut db), Some(first as u64));
    }

    #[test]
    fn records_that_have_changed_places_show_at_the_first(
        entries in entries(2),
        one in any::<Index>(),
        other in any::<Index>(),
    ) {
        let mut db = trail(&entries, 0);
        let (one, other) = (one.index(entries.len()) + 1, other.index(entries.len()) + 1);
        prop_assume!(one != other);
        let swap = "UPDATE audit SET seq = CASE seq WHEN ?1 THEN -?2 ELSE -?1 END \
                    WHERE seq IN (?1, ?2)";
        prop_assert_eq!(db.execute(swap, [one, other].map(signed)).unwrap(), 2);
        db.execute("UPDATE audit SET seq = -seq WHERE seq < 0", []).unwrap();
        prop_assert_eq!(broken(&mut db), Some(one.min(other) as u64));
    }

    #[test]
    fn an_added_record_shows_even_where_its_hash_is_right(entries in entries(0), ahead in 1u64..5) {
        let mut db = trail(&entries, 0);
        let Ends { head, .. } = Ends::of(&db).unwrap();
        let mut added = head.next(Time::from_micros(99), entry(&vec![String::new(); 5]));
        added.seq = head.seq + ahead;
        extend(&db, &[added]).unwrap();
        let restore = "UPDATE audit_ends SET head_seq = ?1, head_hash = ?2";
        db.execute(restore, rusqlite::params![head.seq.cast_signed(), head.hash]).unwrap();
        prop_assert_eq!(broken(&mut db), Some(head.seq + ahead));
    }

    #[test]
    fn what_is_noted_of_the_ends_cannot_be_altered_alone(
        (entries, removed) in trails(),
        (is_anchor, seq, change) in (any::<bool>(), -1i64..20, changes()),
    ) {
        let [first, last] = [removed as u64 + 1, entries.len() as u64];
        let end = if is_anchor { "anchor" } else { "head" };
        let mut db = trail(&entries, removed);
        let has_changed = change.apply(&db, "audit_ends", &format!("{end}_hash"), 0);
        prop_assert!(has_changed);
        // A hash of another length is none.
        let length = db.query_row(
            &format!("SELECT length({end}_hash) FROM audit_ends"), [], |row| row.get(0));
        let expected = if is_anchor || length != Ok(32) { first } else { last };
        prop_assert_eq!(broken(&mut db), Some(expected));

        let mut db = trail(&entries, removed);
        let old = if is_anchor { signed(removed) } else { last.cast_signed() };
        prop_assume!(seq != old);
        db.execute(&format!("UPDATE audit_ends SET {end}_seq = ?1"), [seq]).unwrap();
        let expected = match u64::try_from(seq) {
            Ok(anchor) if is_anchor && anchor + 1 < first => anchor + 1,
            Ok(head) if !is_anchor && head + 1 >= first => head.min(last) + 1,
            _ => first,
        };
        prop_assert_eq!(broken(&mut db), Some(expected));
    }
}

#[test]
fn without_its_ends_a_trail_is_broken() {
    let texts = vec![String::new(); 5];
    for (entries, sql) in [
        (vec![texts.clone(); 3], "DELETE FROM audit_ends"),
        (vec![], "DELETE FROM audit_ends"),
        (vec![], "UPDATE audit_ends SET anchor_hash = x'00'"),
    ] {
        let mut db = trail(&entries, 0);
        db.execute(sql, []).unwrap();
        assert_eq!(broken(&mut db), Some(1));
    }
    // An empty trail that has been one of records.
    let mut db = trail(&vec![texts; 3], 3);
    let Ends { anchor, head } = Ends::of(&db).unwrap();
    assert_eq!(anchor, head);
    let intact = AuditVerdict::Intact { first: 4, last: 3, head: head.hash };
    assert_eq!(verify_all(&mut db).unwrap(), intact);
    db.execute("UPDATE audit_ends SET anchor_hash = zeroblob(32)", []).unwrap();
    assert_eq!(broken(&mut db), Some(3));
    db.execute("UPDATE audit_ends SET anchor_seq = 0", []).unwrap();
    assert_eq!(broken(&mut db), Some(1));
}

#[test]
fn retention_and_appends_go_on_while_it_is_verified() {
    let texts = vec![String::new(); 5];
    let mut db = trail(&vec![texts.clone(); 20], 2);
    let one = Piece { records: 1, bytes: usize::MAX };
    let Ends { head, .. } = Ends::of(&db).unwrap();
    let mut walk = Walk::upto(head);
    assert_eq!(walk.piece(&mut db, one).unwrap(), None);
    assert!(prune(&mut db, u64::MAX, 7).unwrap());
    extend(&db, &[head.next(Time::from_micros(900), entry(&texts))]).unwrap();
    assert_eq!(walk.piece(&mut db, one).unwrap(), None);
    let intact = AuditVerdict::Intact { first: 10, last: 20, head: head.hash };
    assert_eq!(walk.piece(&mut db, ALL).unwrap(), Some(intact));
    // Everything that was to be looked at has gone.
    let mut walk = Walk::upto(Link { seq: 15, ..head });
    assert_eq!(walk.piece(&mut db, one).unwrap(), None);
    assert!(prune(&mut db, u64::MAX, 100).unwrap());
    let newest = Ends::of(&db).unwrap().head;
    let intact = AuditVerdict::Intact { first: 22, last: 21, head: newest.hash };
    assert_eq!(walk.piece(&mut db, one).unwrap(), Some(intact));
}

#[test]
fn large_records_make_small_pieces() {
    let mut large = vec![String::new(); 5];
    large[4] = "x".repeat(PIECE.bytes);
    let mut db = trail(&vec![large; 3], 0);
    let mut walk = Walk::whole();
    let pieces = std::iter::repeat_with(|| walk.piece(&mut db, PIECE).unwrap());
    assert_eq!(pieces.take_while(Option::is_none).count(), 2);
}

#[test]
fn who_computes_everything_again_is_only_caught_by_a_memory() {
    let entries = vec![vec![String::new(); 5]; 9];
    let remembered = Ends::of(&trail(&entries, 0)).unwrap().head;
    let mut rewritten = entries;
    rewritten[4][0] = "somebody else".to_owned();
    let mut db = trail(&rewritten, 0);
    assert_eq!(broken(&mut db), None);
    let verdict = Walk::upto(remembered).piece(&mut db, ALL).unwrap();
    assert!(matches!(verdict, Some(AuditVerdict::Broken { seq: 9, .. })), "{verdict:?}");
}

#[test]
fn the_hash_is_the_one_that_is_documented() {
    let first = BEGIN.next(
        Time::from_micros(258),
        AuditEntry {
            actor: "a".to_owned(),
            origin: String::new(),
            method: "m/n".to_owned(),
            outcome: "ok".to_owned(),
            details: Json::default(),
        },
    );
    let mut bytes = vec![0; 32];
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    for (length, text) in [(1, "a"), (0, ""), (3, "m/n"), (2, "ok"), (4, "null")] {
        bytes.extend([length, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(text.as_bytes());
    }
    assert_eq!(first.hash[..], sha2::Sha256::digest(&bytes)[..]);
}
