//! What a snapshot of a directory holds.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::XattrFlags;
use snapshot::backend::tree::manifest::Node;
use snapshot::backend::tree::{Effort, Tree};
use snapshot::backend::{Backend, Consistency, SnapshotState};
use uuid::Uuid;

use crate::bench::{TreeBench, verify};
use crate::cases::{Place, new};

/// Set when a test runs itself again with fewer rights.
const AGAIN: &str = "SNAPSHOT_TEST_AGAIN";

fn take(bench: &TreeBench, place: &Place) -> Effort {
    bench.tree.take(&place.id, &new("manual")).unwrap().1
}

#[test]
fn every_kind_of_entry_is_recorded_with_its_attributes() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    let at = |name: &str| place.dir.join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), "x").unwrap();
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o4640)).unwrap();
    symlink("dir/../nowhere \u{fc}", at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = UnixListener::bind(at("socket"));
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    let entries = bench.entries(&made);
    let paths: Vec<&[u8]> = entries.keys().map(Vec::as_slice).collect();
    assert_eq!(paths, [&b""[..], b"dir", b"dir/file", b"link", b"pipe"]);
    assert_eq!(entries[&b""[..]].node, Node::Dir);
    assert_eq!(entries[&b"pipe"[..]].node, Node::Fifo);
    let Node::Symlink { target } = &entries[&b"link"[..]].node else { panic!("no link") };
    assert_eq!(target, "dir/../nowhere \u{fc}".as_bytes());
    let (file, meta) = (&entries[&b"dir/file"[..]], fs::metadata(at("dir/file")).unwrap());
    assert_eq!(file.mode & 0o7777, 0o4640);
    assert_eq!((file.uid, file.gid, file.inode), (meta.uid(), meta.gid(), meta.ino()));
    assert_eq!(
        (file.mtime.seconds, i64::from(file.mtime.nanos)),
        (meta.mtime(), meta.mtime_nsec())
    );
}

#[test]
fn links_to_directories_are_not_followed() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    let outside = bench.place("outside");
    fs::write(outside.dir.join("secret"), "secret").unwrap();
    symlink(&outside.dir, place.dir.join("link")).unwrap();
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    assert_eq!(bench.entries(&made).len(), 2);
    assert_eq!(bench.content(&made, b"link/secret"), None);
}

#[test]
fn hard_links_are_stored_once_and_stay_links() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    fs::write(place.dir.join("b"), "content").unwrap();
    fs::create_dir(place.dir.join("sub")).unwrap();
    fs::hard_link(place.dir.join("b"), place.dir.join("a")).unwrap();
    fs::hard_link(place.dir.join("b"), place.dir.join("sub/c")).unwrap();
    let (made, effort) = bench.tree.take(&place.id, &new("manual")).unwrap();
    let entries = bench.entries(&made);
    assert!(matches!(entries[&b"a"[..]].node, Node::File { size: 7, .. }));
    for name in [&b"b"[..], b"sub/c"] {
        assert_eq!(entries[name].node, Node::HardLink { to: b"a".to_vec() });
    }
    assert_eq!((effort.copied, effort.bytes), (1, 7));
    assert_eq!(bench.content(&made, b"sub/c").unwrap(), b"content");
}

#[test]
fn extended_attributes_are_kept_also_on_directories() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|errno| {
            panic!("{} needs extended attributes: put the target directory on ext4, xfs or btrfs ({errno})", path.display())
        });
    };
    fs::write(place.dir.join("file"), "x").unwrap();
    set(&place.dir.join("file"), "user.odd =,name", b"\x00\xff value,=\n");
    set(&place.dir.join("file"), "user.empty", b"");
    set(&place.dir, "user.dir", b"d");
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    let entries = bench.entries(&made);
    let mut of_file = entries[&b"file"[..]].xattrs.clone();
    of_file.retain(|(name, _)| name.starts_with(b"user."));
    of_file.sort();
    assert_eq!(
        of_file,
        [
            (b"user.empty".to_vec(), Vec::new()),
            (b"user.odd =,name".to_vec(), b"\x00\xff value,=\n".to_vec()),
        ]
    );
    assert!(entries[&b""[..]].xattrs.contains(&(b"user.dir".to_vec(), b"d".to_vec())));
}

#[test]
fn holes_stay_holes_and_content_is_exact() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    let file = File::create(place.dir.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"middle", (32 << 20) + 5).unwrap();
    drop(file);
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    let blobs = verify(&bench.store(), &made);
    let blob = blobs.iter().next().unwrap();
    let meta = fs::metadata(bench.store().join("blobs").join(&blob[..2]).join(blob)).unwrap();
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let content = bench.content(&made, b"sparse").unwrap();
    assert_eq!(&content[(32 << 20) + 5..][..6], b"middle");
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_are() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    for number in 0..50 {
        fs::write(place.dir.join(number.to_string()), number.to_string()).unwrap();
    }
    assert_eq!(take(&bench, &place).copied, 50);
    // A file written a moment ago is read once more; soon none is.
    let settled = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(30));
        take(&bench, &place).reused == 50
    });
    assert!(settled, "unchanged files were read in every snapshot");
    // Same size, and the modification time put back: the change time still tells.
    let file = place.dir.join("7");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "8").unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    let (made, effort) = bench.tree.take(&place.id, &new("manual")).unwrap();
    assert_eq!((effort.copied, effort.reused), (1, 49));
    assert_eq!(bench.content(&made, b"7").unwrap(), b"8");
    verify(&bench.store(), &made);
}

#[test]
fn a_file_that_never_holds_still_is_marked_torn() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    // A store on another file system, so that the kernel cannot clone in one step.
    let store = Path::new("/dev/shm").join(format!("sysadmd-torn-{}", Uuid::new_v4()));
    let tree = Tree::open(&store, Vec::new()).unwrap();
    let id = tree.register(&place.dir).unwrap().id;
    let path = place.dir.join("busy");
    // Long to read and cheap to keep: the writer gets its turn in every attempt.
    File::create(&path).unwrap().set_len(256 << 20).unwrap();
    fs::write(place.dir.join("calm"), "calm").unwrap();
    let stop = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"x").unwrap();
            }
        });
        let made = tree.create(&id, &new("manual"));
        stop.store(true, Ordering::Relaxed);
        made.unwrap().remove(0)
    });
    let listed = tree.list(&id).unwrap();
    let _left = fs::remove_dir_all(&store);
    assert_eq!(made.consistency, Consistency::PerFile { torn: 1, unread: 0 });
    assert_eq!(made.state, SnapshotState::Torn);
    assert_eq!(listed, [made]);
}

/// Root can read everything, so the test runs itself again without root's capabilities.
#[test]
fn what_cannot_be_read_is_counted_and_shown() {
    let bench = TreeBench::new();
    let place = bench.place("data");
    for name in ["locked", "closed/file"] {
        let path = place.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
    }
    fs::write(place.dir.join("open"), "x").unwrap();
    let lock = |name: &str, bits| {
        let permissions = fs::Permissions::from_mode(bits);
        fs::set_permissions(place.dir.join(name), permissions).unwrap();
    };
    lock("locked", 0);
    lock("closed", 0);
    if File::open(place.dir.join("locked")).is_ok() {
        assert!(std::env::var_os(AGAIN).is_none(), "setpriv left the capabilities");
        let again = Command::new("/usr/bin/setpriv")
            .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["content::what_cannot_be_read_is_counted_and_shown", "--exact"])
            .env(AGAIN, "1")
            .status();
        assert!(again.unwrap().success());
        return;
    }
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    assert_eq!(made.consistency, Consistency::PerFile { torn: 0, unread: 2 });
    assert_eq!(made.state, SnapshotState::Torn);
    let entries = bench.entries(&made);
    assert!(matches!(entries[&b"locked"[..]].node, Node::File { blob: None, .. }));
    assert_eq!(entries[&b"closed"[..]].node, Node::Dir);
    assert_eq!(bench.content(&made, b"open").unwrap(), b"x");
    // Once it can be read, it is.
    lock("locked", 0o600);
    lock("closed", 0o700);
    let made = bench.tree.create(&place.id, &new("manual")).unwrap().remove(0);
    assert_eq!(made.state, SnapshotState::Complete);
    assert_eq!(bench.content(&made, b"closed/file").unwrap(), b"x");
}
