//! The store itself: what may be registered, what is swept, what damage does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use snapshot::backend::tree::{Swept, Tree};
use snapshot::backend::{Backend, ErrorKind, Owner, SnapshotState};

use crate::bench::{TreeBench, files, verify};
use crate::cases::{named, new};

#[test]
fn the_store_never_snapshots_itself() {
    let bench = TreeBench::new();
    fs::write(bench.dir.join("file"), "x").unwrap();
    let id = bench.tree.register(&bench.dir).unwrap().id;
    for _ in 0..3 {
        let made = bench.tree.create(&id, &new("manual")).unwrap().remove(0);
        let entries = bench.entries(&made);
        let paths: Vec<&[u8]> = entries.keys().map(Vec::as_slice).collect();
        assert_eq!(paths, [&b""[..], b"data", b"file"]);
    }
    for inside in [bench.store(), bench.store().join("blobs"), bench.store().join("../store/tmp")] {
        assert_eq!(bench.tree.register(&inside).unwrap_err().kind(), ErrorKind::BadRequest);
    }
}

#[test]
fn only_real_directories_that_are_allowed_can_be_registered() {
    let bench = TreeBench::new();
    fs::write(bench.dir.join("file"), "x").unwrap();
    let refused = |path: &Path| bench.tree.register(path).unwrap_err().kind();
    for kernel in ["/proc", "/proc/self", "/sys", "/sys/kernel", "/dev", "/dev/shm"] {
        assert_eq!(refused(Path::new(kernel)), ErrorKind::BadRequest, "{kernel}");
    }
    assert_eq!(refused(&bench.dir.join("file")), ErrorKind::BadRequest);
    assert_eq!(refused(Path::new("relative")), ErrorKind::BadRequest);
    assert_eq!(refused(&bench.dir.join("nowhere")), ErrorKind::NotFound);

    let allowed = bench.dir.join("data");
    let strict = Tree::open(&bench.store(), vec![allowed.clone()]).unwrap();
    assert_eq!(strict.register(&bench.dir).unwrap_err().kind(), ErrorKind::BadRequest);
    let first = strict.register(&allowed).unwrap();
    assert_eq!(strict.register(&allowed.join("../data/.")).unwrap().id, first.id);
    let ids: Vec<_> = strict.datasets().unwrap().into_iter().map(|dataset| dataset.id).collect();
    assert_eq!(ids, [first.id]);
}

#[test]
fn the_store_is_for_its_owner_only() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    fs::write(place.dir.join("file"), "secret").unwrap();
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    let bits = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(bits(&bench.store()), 0o700);
    let blob = verify(&bench.store(), &made).into_iter().next().unwrap();
    assert_eq!(bits(&bench.store().join("blobs").join(&blob[..2]).join(&blob)), 0o400);
}

#[test]
fn sweeping_keeps_what_any_snapshot_refers_to() {
    let bench = TreeBench::new();
    let (one, two) = (bench.place("one"), bench.place("two"));
    fs::write(one.dir.join("shared"), "shared").unwrap();
    fs::write(two.dir.join("same-elsewhere"), "shared").unwrap();
    fs::write(one.dir.join("own"), "only in the first").unwrap();
    let first = bench.tree.create(&one.id, &new("manual")).unwrap().remove(0);
    let second = bench.tree.create(&two.id, &new("manual")).unwrap().remove(0);
    assert_eq!(files(&bench.store().join("blobs")).len(), 2);
    assert_eq!(bench.tree.sweep().unwrap(), Swept::default());
    bench.tree.destroy(&first.id).unwrap();
    assert_eq!(files(&bench.store().join("blobs")).len(), 1);
    verify(&bench.store(), &second);
    assert_eq!(bench.content(&second, b"same-elsewhere").unwrap(), b"shared");
}

#[test]
fn a_damaged_manifest_is_shown_frees_nothing_and_can_be_destroyed() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    fs::write(place.dir.join("file"), "first").unwrap();
    let first = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    fs::write(place.dir.join("file"), "second").unwrap();
    let second = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    let path = bench.manifest(&first);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();

    // As another process sees it, which remembers nothing.
    let tree = Tree::open(&bench.store(), Vec::new()).unwrap();
    let listed = tree.list(&place.id).unwrap();
    assert_eq!(listed[0].id, first.id);
    assert_eq!((listed[0].state, listed[0].owner), (SnapshotState::Corrupt, Owner::Ours));
    assert_eq!(listed[1], second);
    let blobs = files(&bench.store().join("blobs"));
    assert_eq!(tree.sweep().unwrap(), Swept::default());
    assert_eq!(files(&bench.store().join("blobs")), blobs);
    assert!(tree.capabilities().reason.unwrap().contains("damaged"));
    let third = tree.create(&place.id, &new("manual")).unwrap().remove(0);
    tree.destroy(&listed[0].id).unwrap();
    assert_eq!(tree.capabilities().reason, None);
    assert_eq!(tree.list(&place.id).unwrap(), [second.clone(), third]);
    verify(&bench.store(), &second);
    assert_eq!(files(&bench.store().join("blobs")).len(), 1);
}

#[test]
fn a_store_of_another_layout_is_refused_untouched() {
    let bench = TreeBench::new();
    fs::write(bench.store().join("version"), "sysadm-tree-store 2\n").unwrap();
    let before = files(&bench.store());
    let error = Tree::open(&bench.store(), Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(files(&bench.store()), before);
}

#[test]
fn two_snapshots_at_once_of_one_directory_do_not_disturb_each_other() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    for number in 0..200 {
        fs::write(place.dir.join(number.to_string()), number.to_string()).unwrap();
    }
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (bench, place) = (&bench, &place);
                scope.spawn(move || bench.tree.create(&place.id, &named(&format!("n{n}"))))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let listed = bench.tree.list(&place.id).unwrap();
    assert!(!listed.is_empty());
    for outcome in outcomes {
        match outcome {
            Ok(made) => assert!(listed.contains(&made[0])),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
        }
    }
    let orders: Vec<u64> = listed.iter().map(|snapshot| snapshot.order).collect();
    assert!(orders.windows(2).all(|pair| pair[0] < pair[1]), "{orders:?}");
    for snapshot in &listed {
        assert_eq!(verify(&bench.store(), snapshot).len(), 200);
    }
}
