//! A database that cannot be trusted is refused, and left exactly as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::{Place, everything, record};
use crate::store::{Store, StoreError};

/// Every file but the lock, with its content.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "sysadmd.lock")
        .collect()
}

/// Opens it in vain and for ever in vain, without changing anything; returns why.
fn refused(place: &Place) -> StoreError {
    let before = files(&place.0);
    let error = place.open().expect_err("it was opened");
    let again = place.open().expect_err("it was opened at the second attempt");
    assert_eq!(error.to_string(), again.to_string());
    assert!(Store::check_all(&place.0).is_err());
    assert!(files(&place.0) == before, "something was changed");
    error
}

fn refused_as_damaged(place: &Place, why: &str) {
    let error = refused(place);
    let StoreError::Damaged { what, .. } = &error else { panic!("{error:?}") };
    assert!(what.contains(why), "{what}");
    assert!(error.to_string().contains("sysadmd.db is damaged"), "{error}");
}

/// A closed database with 20 events.
async fn written() -> Place {
    let place = Place::new();
    let store = place.open().unwrap();
    for n in 0..20 {
        store.log().append(record("a.b", &n.to_string(), 3)).await.unwrap();
    }
    store.close();
    place
}

fn file(place: &Place) -> std::path::PathBuf {
    place.0.join("sysadmd.db")
}

fn sql(place: &Place, statement: &str) {
    let db = Connection::open(file(place)).unwrap();
    db.execute_batch(statement).unwrap();
    db.close().unwrap();
}

fn overwrite(place: &Place, at: usize, bytes: &[u8]) {
    let mut content = fs::read(file(place)).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(file(place), content).unwrap();
}

#[tokio::test]
async fn a_good_one_is_opened_and_checked() {
    let place = written().await;
    Store::check_all(&place.0).unwrap();
    let store = place.open().unwrap();
    assert_eq!(everything(&store.log()).await.len(), 20);
    assert!(matches!(Store::check_all(&place.0), Err(StoreError::InUse { .. })));
    store.close();
    let nowhere = Place::new();
    Store::check_all(&nowhere.0).unwrap();
    assert_eq!(fs::metadata(file(&place)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(files(&nowhere.0).is_empty());
}

#[tokio::test]
async fn a_damaged_file() {
    let place = written().await;
    overwrite(&place, 0, b"Oh no");
    refused_as_damaged(&place, "does not begin like");

    let place = written().await;
    fs::write(file(&place), b"").unwrap();
    refused_as_damaged(&place, "only 0 bytes");

    let place = written().await;
    let length = fs::metadata(file(&place)).unwrap().len();
    fs::File::options().write(true).open(file(&place)).unwrap().set_len(length - 4096).unwrap();
    refused_as_damaged(&place, "cut short");

    let place = written().await;
    fs::write(place.0.join("sysadmd.db-wal"), b"an old log").unwrap();
    fs::remove_file(file(&place)).unwrap();
    refused_as_damaged(&place, "missing");
}

#[tokio::test]
async fn damage_on_any_page() {
    let pages = fs::metadata(file(&written().await)).unwrap().len() / 4096;
    let mut harmless = 0;
    for page in 2..usize::try_from(pages).unwrap() {
        let place = written().await;
        overwrite(&place, page * 4096, &[0xA5; 64]);
        match place.open() {
            Err(StoreError::Damaged { .. }) => drop(refused(&place)),
            Err(other) => panic!("{other:?}"),
            // A page that holds nothing.
            Ok(store) => {
                store.close();
                harmless += 1;
            }
        }
    }
    assert!(harmless <= 1, "{harmless} of {pages} pages were not looked at");
}

#[tokio::test]
async fn rows_that_the_daemon_never_writes() {
    for (statement, why) in [
        ("DELETE FROM events WHERE seq = 17", "after event 16 comes event 18"),
        ("UPDATE events SET priority = 11 WHERE seq = 20", "priority above 10"),
        ("UPDATE events SET data = '{\"half' WHERE seq = 20", "no JSON"),
        ("UPDATE events SET class = 'Not A Class' WHERE seq = 19", "a class"),
        ("UPDATE events SET time = -1 WHERE seq = 18", "before 1970"),
        ("UPDATE events SET time = 4 WHERE seq = 18", "not later"),
        ("DROP INDEX events_urgent", "its tables"),
        ("CREATE TABLE mine (x)", "its tables"),
        ("DELETE FROM instance", "which database"),
        ("DELETE FROM audit_ends", "audit trail begins and ends"),
        ("UPDATE audit_ends SET head_seq = -1", "audit trail begins and ends"),
        ("UPDATE audit_ends SET head_hash = x'00'", "audit trail begins and ends"),
        (
            "INSERT INTO audit VALUES (4, 1, '', '', '', '', 'null', x'00')",
            "audit record 4 stands behind the end of the trail (0)",
        ),
    ] {
        let place = written().await;
        sql(&place, statement);
        refused_as_damaged(&place, why);
    }
}

#[tokio::test]
async fn one_of_another_program_and_one_of_a_later_version() {
    let place = written().await;
    sql(&place, "PRAGMA application_id = 252006675");
    assert!(matches!(refused(&place), StoreError::Foreign { .. }));

    let place = written().await;
    sql(&place, "PRAGMA user_version = 6");
    let error = refused(&place);
    assert!(matches!(error, StoreError::Newer { found: 6, known: 5, .. }), "{error:?}");
    assert!(error.to_string().contains("newer sysadmd"), "{error}");
}

/// As a crash leaves it: the database and its write-ahead log, without having been closed.
async fn crashed(statement: &str) -> Place {
    let place = written().await;
    let store = place.open().unwrap();
    store.log().append(record("a.b", "the last", 9)).await.unwrap();
    sql(&place, statement);
    let copy = Place::new();
    for name in ["sysadmd.db", "sysadmd.db-wal"] {
        fs::copy(place.0.join(name), copy.0.join(name)).unwrap();
    }
    store.close();
    copy
}

#[tokio::test]
async fn after_a_crash_the_write_ahead_log_is_looked_at_too() {
    let place = crashed("").await;
    assert!(fs::metadata(place.0.join("sysadmd.db-wal")).unwrap().len() > 0);
    let store = place.open().unwrap();
    assert_eq!(everything(&store.log()).await.last().unwrap().subject, "the last");
    store.close();
    assert_eq!(files(&place.0).len(), 1);

    let place = crashed("DELETE FROM events WHERE seq = 20").await;
    refused_as_damaged(&place, "after event 19 comes event 21");
    assert_eq!(files(&place.0).len(), 2);
}
