//! No room: nothing half-recorded, and on again when there is room.

use std::env;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Uid;

use super::{Place, UNLIMITED, child, everything, record};
use crate::clock::Clock;
use crate::store::{EventLog, Record, Store, StoreError};

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
    let head = fill(&store.log()).await;
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
    let head = fill(&store.log()).await;
    std::fs::remove_file(ballast).unwrap();
    goes_on(&store, dir, head).await;
    umount2(dir, MntFlags::MNT_DETACH).unwrap();
}

fn opened(dir: &Path) -> Store {
    Store::open(dir, Clock::system(), UNLIMITED).unwrap()
}

fn large() -> Record {
    Record { message: "x".repeat(4000), ..record("full.test", "/disk", 3) }
}

/// Appends until there is no room, and then some more; returns the last number recorded.
async fn fill(log: &EventLog) -> u64 {
    let (mut head, mut refusals) = (0, 0);
    while refusals < 3 {
        match log.append(large()).await {
            Ok(event) => {
                head += 1;
                assert_eq!(event.seq, Some(head));
            }
            Err(StoreError::Full) => refusals += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(log.bounds().head, head);
    }
    assert!(head > 0);
    head
}

async fn goes_on(store: &Store, dir: &Path, head: u64) {
    let event = store.log().append(large()).await.unwrap();
    assert_eq!(event.seq, Some(head + 1));
    assert_eq!(everything(&store.log()).await.last(), Some(&event));
    store.close();
    Store::check_all(dir).unwrap();
    let store = opened(dir);
    assert_eq!(store.log().append(large()).await.unwrap().seq, Some(head + 2));
    store.close();
}
