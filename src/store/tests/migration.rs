//! A database of version 1 becomes one of version 2, or stays what it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use protocol::{Json, Time};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{Place, everything, record};
use crate::store::migrate::definitions;
use crate::store::{AuditVerdict, Store, Token};

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
fn files(dir: &Path) -> BTreeMap<String, u32> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap()))
        .map(|(name, metadata)| (name, metadata.permissions().mode() & 0o777))
        .filter(|(name, _)| name != "sysadmd.lock")
        .collect()
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
    let names = ["sysadmd.db", "sysadmd.db.v1"].map(str::to_owned);
    assert!(files(&place.0).into_keys().eq(names));
    assert_eq!(files(&place.0)["sysadmd.db.v1"], 0o600);

    // The copy in the place of the database is the database as it was.
    let old = Place::new();
    fs::copy(place.0.join("sysadmd.db.v1"), old.0.join("sysadmd.db")).unwrap();
    let db = Connection::open(old.0.join("sysadmd.db")).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    db.close().unwrap();
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
