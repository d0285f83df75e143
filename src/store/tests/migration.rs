//! A database of an older version becomes one of this version, or stays what it is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use protocol::{Json, Time};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{Place, UNLIMITED, child, everything, record};
use crate::clock::Clock;
use crate::store::migrate::{definitions, remake};
use crate::store::{AuditVerdict, Store, StoreError, Token};

const SCHEMA_1: &str = include_str!("../schema/v1.sql");

/// A database as version 1 made it, with `events` events and `tokens` tokens.
fn version_1(place: &Place, events: u32, tokens: u8) {
    let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
    db.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; BEGIN; {SCHEMA_1} PRAGMA application_id = 0x73616464; \
         PRAGMA user_version = 1; COMMIT; PRAGMA journal_mode = WAL;"
    ))
    .unwrap();
    db.execute("INSERT INTO instance (id) VALUES (?1)", [[7u8; 16]]).unwrap();
    let db = db.unchecked_transaction().unwrap();
    for seq in 1..=events {
        let sql = "INSERT INTO events VALUES (?1, ?1 * 10, 5, 3, 'a.b', 'test', ?2, 'text', '[1]')";
        db.execute(sql, params![seq, seq.to_string()]).unwrap();
        db.execute("INSERT INTO newest VALUES ('a.b', ?2, ?1)", params![seq, seq.to_string()])
            .unwrap();
    }
    for number in 1..=tokens {
        let expires = number.is_multiple_of(2).then_some(5_000_000);
        let values = params![
            u128::from(number).to_be_bytes(),
            [number; 32],
            format!("token {number}"),
            ["admin", "viewer"][usize::from(number % 2)],
            u32::from(number) * 1000,
            expires,
        ];
        db.execute("INSERT INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).unwrap();
    }
    db.commit().unwrap();
}

fn token(number: u8) -> Token {
    Token {
        id: Uuid::from_u128(number.into()),
        name: format!("token {number}"),
        role: ["admin", "viewer"][usize::from(number % 2)].to_owned(),
        hash: [number; 32],
        created: Time::from_micros(u64::from(number) * 1000),
        expires: number.is_multiple_of(2).then(|| Time::from_micros(5_000_000)),
        scope: Json::default(),
    }
}

/// Whether everything is there that [`version_1`] put in, and goes on.
async fn holds(store: &Store, events: u64, tokens: u8) {
    assert_eq!(store.instance(), Uuid::from_bytes([7; 16]));
    assert_eq!(everything(&store.log()).await.len() as u64, events);
    assert_eq!(store.token_list().await.unwrap(), (1..=tokens).map(token).collect::<Vec<_>>());
    let empty = AuditVerdict::Intact { first: 1, last: 0, head: [0; 32] };
    assert_eq!(store.audit().verify().await.unwrap(), empty);
}

/// Name and mode of every file but the lock.
fn files(place: &Place) -> BTreeMap<String, u32> {
    fs::read_dir(&place.0)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap()))
        .map(|(name, metadata)| (name, metadata.permissions().mode() & 0o777))
        .filter(|(name, _)| name != "sysadmd.lock")
        .collect()
}

fn has_files(place: &Place, names: &[&str]) {
    assert!(files(place).keys().eq(names), "{:?}", files(place));
}

/// Files of one place, also under another name, in a new one.
fn copied(from: &Place, names: &[(&str, &str)]) -> Place {
    let copy = Place::new();
    for (name, copied) in names {
        fs::copy(from.0.join(name), copy.0.join(copied)).unwrap();
    }
    copy
}

const DB: (&str, &str) = ("sysadmd.db", "sysadmd.db");
const LOG: (&str, &str) = ("sysadmd.db-wal", "sysadmd.db-wal");
const COPY: (&str, &str) = ("sysadmd.db.v1", "sysadmd.db");

fn version(place: &Place) -> i64 {
    let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
    db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn version_2_keeps_all_it_has_and_gets_tables_for_jobs() {
    let place = Place::new();
    version_1(&place, 50, 3);
    place.open().unwrap().close();
    {
        let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
        db.execute_batch(
            "DROP TABLE jobs; DROP TABLE job_logs; DROP TABLE alerts; DROP TABLE orders; \
             DROP TABLE runs; DROP TABLE seen; PRAGMA user_version = 2;",
        )
        .unwrap();
        let expected = Connection::open_in_memory().unwrap();
        expected.execute_batch(include_str!("../schema/v2.sql")).unwrap();
        assert_eq!(definitions(&db).unwrap(), definitions(&expected).unwrap());
    }
    fs::remove_file(place.0.join("sysadmd.db.v1")).unwrap();
    Store::check_all(&place.0).unwrap();
    let store = place.open().unwrap();
    holds(&store, 50, 3).await;
    assert_eq!(store.job_list().await.unwrap().jobs, []);
    store.close();
    has_files(&place, &["sysadmd.db", "sysadmd.db.v2"]);
    assert_eq!(version(&place), 5);
}

#[tokio::test]
async fn version_3_keeps_all_it_has_and_gets_a_table_for_alerts() {
    let place = Place::new();
    version_1(&place, 50, 3);
    place.open().unwrap().close();
    {
        let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
        db.execute_batch(
            "DROP TABLE alerts; DROP TABLE orders; DROP TABLE runs; DROP TABLE seen; \
             PRAGMA user_version = 3;",
        )
        .unwrap();
        let expected = Connection::open_in_memory().unwrap();
        expected.execute_batch(include_str!("../schema/v3.sql")).unwrap();
        assert_eq!(definitions(&db).unwrap(), definitions(&expected).unwrap());
    }
    fs::remove_file(place.0.join("sysadmd.db.v1")).unwrap();
    Store::check_all(&place.0).unwrap();
    let store = place.open().unwrap();
    holds(&store, 50, 3).await;
    assert_eq!(store.alert_list().await.unwrap(), []);
    store.close();
    has_files(&place, &["sysadmd.db", "sysadmd.db.v3"]);
    assert_eq!(version(&place), 5);
}

#[tokio::test]
async fn version_4_keeps_all_it_has_and_gets_tables_for_orders() {
    let place = Place::new();
    version_1(&place, 50, 3);
    place.open().unwrap().close();
    {
        let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
        db.execute_batch(
            "DROP TABLE orders; DROP TABLE runs; DROP TABLE seen; PRAGMA user_version = 4;",
        )
        .unwrap();
        let expected = Connection::open_in_memory().unwrap();
        expected.execute_batch(include_str!("../schema/v4.sql")).unwrap();
        assert_eq!(definitions(&db).unwrap(), definitions(&expected).unwrap());
    }
    fs::remove_file(place.0.join("sysadmd.db.v1")).unwrap();
    Store::check_all(&place.0).unwrap();
    let store = place.open().unwrap();
    holds(&store, 50, 3).await;
    assert_eq!(store.order_list().await.unwrap(), []);
    assert_eq!(store.run_open().await.unwrap(), []);
    store.close();
    has_files(&place, &["sysadmd.db", "sysadmd.db.v4"]);
    assert_eq!(version(&place), 5);
}

#[tokio::test]
async fn everything_is_taken_over_and_a_copy_is_kept() {
    let place = Place::new();
    version_1(&place, 500, 9);
    Store::check_all(&place.0).unwrap();
    assert_eq!(
        Store::audit_verify_file(&place.0).unwrap(),
        AuditVerdict::Intact { first: 1, last: 0, head: [0; 32] }
    );
    let store = place.open().unwrap();
    holds(&store, 500, 9).await;
    assert_eq!(store.log().append(record("a.b", "next", 3)).await.unwrap().seq, Some(501));
    store.close();
    Store::check_all(&place.0).unwrap();
    has_files(&place, &["sysadmd.db", "sysadmd.db.v1"]);
    assert_eq!(files(&place)["sysadmd.db.v1"], 0o600);
    assert_eq!(version(&place), 5);

    // The copy in the place of the database is the database as it was.
    let old = copied(&place, &[COPY]);
    assert_eq!(version(&old), 1);
    let store = old.open().unwrap();
    holds(&store, 500, 9).await;
    store.close();
}

#[tokio::test]
async fn what_comes_of_it_is_word_for_word_a_new_one() {
    let [old, new] = [Place::new(), Place::new()];
    version_1(&old, 1, 1);
    let tables = [&old, &new].map(|place| {
        place.open().unwrap().close();
        definitions(&Connection::open(place.0.join("sysadmd.db")).unwrap()).unwrap()
    });
    assert_eq!(tables[0], tables[1]);
    assert!(tables[0].len() > 8);
}

#[tokio::test]
async fn a_copy_that_is_there_is_never_overwritten_and_never_made_twice() {
    let place = Place::new();
    version_1(&place, 5, 1);
    let [mine, again] = [&[DB][..], &[DB]].map(|names| copied(&place, names));
    fs::write(mine.0.join("sysadmd.db.v1"), "mine").unwrap();
    mine.open().unwrap().close();
    has_files(&mine, &["sysadmd.db", "sysadmd.db.v1", "sysadmd.db.v1.1"]);
    assert_eq!(fs::read(mine.0.join("sysadmd.db.v1")).unwrap(), b"mine");

    fs::copy(mine.0.join("sysadmd.db.v1.1"), again.0.join("sysadmd.db.v1")).unwrap();
    again.open().unwrap().close();
    has_files(&again, &["sysadmd.db", "sysadmd.db.v1"]);
}

#[tokio::test]
async fn one_that_cannot_be_trusted_is_left_alone() {
    for statement in [
        "CREATE TABLE mine (x)",
        "DROP TABLE tokens",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM instance",
        "PRAGMA user_version = 0",
    ] {
        let place = Place::new();
        version_1(&place, 5, 1);
        let db = Connection::open(place.0.join("sysadmd.db")).unwrap();
        db.execute_batch(statement).unwrap();
        db.close().unwrap();
        let before = fs::read(place.0.join("sysadmd.db")).unwrap();
        let refusal = place.open();
        assert!(matches!(refusal, Err(StoreError::Damaged { .. })), "{statement}: {refusal:?}");
        assert!(fs::read(place.0.join("sysadmd.db")).unwrap() == before);
        has_files(&place, &["sysadmd.db"]);
    }
}

#[tokio::test]
async fn a_crash_just_before_or_after_the_commit() {
    let place = Place::new();
    version_1(&place, 50, 200);
    let mut db = Connection::open(place.0.join("sysadmd.db")).unwrap();
    // So that pages are in the log before they count.
    db.execute_batch("PRAGMA cache_size = 1").unwrap();
    let transaction = db.transaction().unwrap();
    remake(&transaction, 1).unwrap();
    let before = copied(&place, &[DB, LOG]);
    transaction.commit().unwrap();
    let after = copied(&place, &[DB, LOG]);
    drop(db);
    for (place, names) in [(before, &["sysadmd.db", "sysadmd.db.v1"][..]), (after, &["sysadmd.db"])]
    {
        let log = fs::metadata(place.0.join("sysadmd.db-wal")).unwrap().len();
        assert!(log > 4096, "{log}");
        let header = fs::read(place.0.join("sysadmd.db")).unwrap();
        assert_eq!(header[60..64], [0, 0, 0, 1], "the log is folded in already");
        Store::check_all(&place.0).unwrap();
        let store = place.open().unwrap();
        holds(&store, 50, 200).await;
        store.close();
        has_files(&place, names);
        assert_eq!(version(&place), 5);
    }
}

const ROUNDS: u32 = 20;
const KILLED: &str = "SYSADMD_TEST_MIGRATION_DIR";
const KILLED_TEST: &str = "store::tests::migration::killed_at_any_moment_it_is_done_again";

#[tokio::test]
async fn killed_at_any_moment_it_is_done_again() {
    if let Some(dir) = env::var_os(KILLED) {
        println!("begin");
        Store::open(Path::new(&dir), Clock::system(), UNLIMITED).unwrap().close();
        return;
    }
    let original = Place::new();
    version_1(&original, 3000, 200);
    let whole = killed_after(&copied(&original, &[DB]), Duration::MAX);
    for round in 0..ROUNDS {
        let place = copied(&original, &[DB]);
        killed_after(&place, whole * round / ROUNDS);
        Store::check_all(&place.0).unwrap();
        if place.0.join("sysadmd.db.v1").exists() {
            let copy = copied(&place, &[COPY]);
            let store = copy.open().unwrap();
            holds(&store, 3000, 200).await;
            store.close();
        }
        let store = place.open().unwrap();
        holds(&store, 3000, 200).await;
        store.close();
        has_files(&place, &["sysadmd.db", "sysadmd.db.v1"]);
        Store::check_all(&place.0).unwrap();
    }
}

/// Migrates in a process of its own and kills it so long after its beginning, if it is still there;
/// returns how long it was.
fn killed_after(place: &Place, patience: Duration) -> Duration {
    let mut victim = child(KILLED_TEST, KILLED, &place.0).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap() == "begin"));
    let begin = Instant::now();
    if patience < Duration::MAX {
        std::thread::sleep(patience);
        victim.kill().unwrap();
    }
    victim.wait().unwrap();
    begin.elapsed()
}

const LIMITED: &str = "SYSADMD_TEST_MIGRATION_LIMITED";
const LIMITED_TEST: &str = "store::tests::migration::without_room_for_the_copy_nothing_is_done";

#[tokio::test]
async fn without_room_for_the_copy_nothing_is_done() {
    let Some(dir) = env::var_os(LIMITED) else {
        let place = Place::new();
        version_1(&place, 5000, 5);
        assert!(child(LIMITED_TEST, LIMITED, &place.0).status().unwrap().success());
        has_files(&place, &["sysadmd.db"]);
        assert_eq!(version(&place), 1);
        let store = place.open().unwrap();
        holds(&store, 5000, 5).await;
        return store.close();
    };
    SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 100 << 10, most).unwrap();
    let refusal = Store::open(Path::new(&dir), Clock::system(), UNLIMITED).unwrap_err();
    assert!(refusal.to_string().contains("cannot keep a copy of the database"), "{refusal}");
    assert!(refusal.to_string().contains("no storage space"), "{refusal}");
}
