//! No room: nothing half-recorded, and on again when there is room.

use std::env;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Uid;

use super::audit::{all_records, entry};
use super::{Place, UNLIMITED, child, everything, record};
use crate::clock::Clock;
use crate::store::{AuditEntry, Record, Store, StoreError};

const LIMITED: &str = "SYSADMD_TEST_FULL_LIMITED";
const SMALL_DISK: &str = "SYSADMD_TEST_FULL_DISK";
const TEST: &str = "store::tests::full::a_full_disk_is_told_and_survived";
const ROOM: u64 = 2 << 20;

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    if let Some(dir) = env::var_os(LIMITED) {
        return behind_a_limit(Path::new(&dir)).await;
    }
    if let Some(dir) = env::var_os(SMALL_DISK) {
        return on_a_small_disk(Path::new(&dir)).await;
    }
    // A limit on the size of files anybody can set; a small disk only root can make.
    let ways = if Uid::effective().is_root() { &[LIMITED, SMALL_DISK][..] } else { &[LIMITED] };
    for way in ways {
        let place = Place::new();
        let status = child(TEST, way, &place.0).status().unwrap();
        assert!(status.success(), "{way}: {status}");
    }
}

async fn behind_a_limit(dir: &Path) {
    // The writer holds the signal back itself; this is for the opening.
    SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, ROOM, most).unwrap();
    let store = opened(dir);
    let head = fill(&store).await;
    setrlimit(Resource::RLIMIT_FSIZE, most, most).unwrap();
    goes_on(&store, dir, head).await;
}

async fn on_a_small_disk(dir: &Path) {
    // A mount namespace of this thread and those it starts: nothing is left when they end.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let size = format!("size={ROOM}");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
    let store = opened(dir);
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 512 << 10]).unwrap();
    let head = fill(&store).await;
    std::fs::remove_file(ballast).unwrap();
    goes_on(&store, dir, head).await;
    umount2(dir, MntFlags::MNT_DETACH).unwrap();
}

fn opened(dir: &Path) -> Store {
    Store::open(dir, Clock::system(), UNLIMITED).unwrap()
}

fn large() -> Record {
    let audit = Some(AuditEntry { origin: "x".repeat(500), ..entry("full/test", 1) });
    Record { message: "x".repeat(4000), audit, ..record("full.test", "/disk", 3) }
}

/// How many events and records of the audit trail there are.
type Heads = (u64, u64);

/// Appends until there is no room, and then some more; returns the last numbers recorded.
async fn fill(store: &Store) -> Heads {
    let (log, audit) = (store.log(), store.audit());
    let (mut heads, mut refusals) = ((0, 0), 0);
    while refusals < 3 {
        // An event with its record, and a record alone.
        let event = log.append(large()).await.map(|event| event.seq.unwrap());
        let record = match &event {
            Ok(_) => audit.append(entry("full/test", 2)).await,
            Err(_) => Ok(0),
        };
        match (event, record) {
            (Ok(event), Ok(record)) => {
                assert_eq!((event, record), (heads.0 + 1, heads.1 + 2));
                heads = (event, record);
            }
            (Ok(event), Err(StoreError::Full)) => {
                heads = (event, heads.1 + 1);
                refusals += 1;
            }
            (Err(StoreError::Full), _) => refusals += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!((log.bounds().head, audit.head().0), heads);
    }
    assert!(heads.0 > 0);
    assert_eq!(all_records(store).await.len() as u64, heads.1);
    heads
}

async fn goes_on(store: &Store, dir: &Path, (event, record): Heads) {
    let next = store.log().append(large()).await.unwrap();
    assert_eq!(next.seq, Some(event + 1));
    assert_eq!(everything(&store.log()).await.last(), Some(&next));
    let records = all_records(store).await;
    assert_eq!(records.last().map(|last| (last.seq, last.time)), Some((record + 1, next.time)));
    store.close();
    Store::check_all(dir).unwrap();
    let store = opened(dir);
    assert_eq!(store.log().append(large()).await.unwrap().seq, Some(event + 2));
    assert_eq!(all_records(&store).await.len() as u64, record + 2);
    store.close();
}
