//! Every entry survives the way through text, and nothing else is taken for one.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = vec(any::<u8>().prop_map(|b| if b == 0 || b == b'/' { b'\n' } else { b }), 1..12)
        .prop_filter("dots are not names", |name| name != b"." && name != b"..");
    vec(name, 0..4).prop_map(|names| names.join(&b'/'))
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Stamp { seconds, nanos })
}

fn node() -> impl Strategy<Value = Node> {
    let blob = option::of(any::<[u8; 32]>().prop_map(blake3::Hash::from));
    prop_oneof![
        Just(Node::Dir),
        Just(Node::Fifo),
        (any::<u64>(), blob, any::<bool>()).prop_map(|(size, blob, torn)| Node::File {
            size,
            blob,
            torn
        }),
        path().prop_map(|to| Node::HardLink { to }),
        any::<Vec<u8>>().prop_map(|target| Node::Symlink { target }),
        any::<u64>().prop_map(|device| Node::CharDevice { device }),
        any::<u64>().prop_map(|device| Node::BlockDevice { device }),
    ]
}

prop_compose! {
    fn entry()(
        path in path(), node in node(), mtime in stamp(), ctime in option::of(stamp()),
        (mode, uid, gid, inode) in any::<(u32, u32, u32, u64)>(),
        xattrs in vec((vec(any::<u8>(), 1..9), any::<Vec<u8>>()), 0..3),
    ) -> Entry {
        Entry { path, mode, uid, gid, mtime, ctime, inode, xattrs, node }
    }
}

proptest! {
    #[test]
    fn an_entry_round_trips_in_one_line(entry in entry()) {
        let line = entry.encode();
        prop_assert!(line.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
        prop_assert_eq!(Entry::decode(&line), Some(entry));
    }

    #[test]
    fn a_damaged_line_is_refused_or_means_what_it_says(entry in entry(), at: usize, byte in 32..127_u8) {
        let mut line = entry.encode().into_bytes();
        let at = at % line.len();
        line[at] = byte;
        let line = String::from_utf8(line).unwrap();
        if let Some(read) = Entry::decode(&line) {
            prop_assert_eq!(Entry::decode(&read.encode()), Some(read));
        }
    }

    #[test]
    fn any_text_is_handled(line in "[-dfhl0-9a-f. \\\\/,=]{0,80}") {
        if let Some(entry) = Entry::decode(&line) {
            prop_assert!(is_inside(&entry.path));
        }
    }

    #[test]
    fn path_order_is_total_and_puts_a_directory_before_its_content(
        a in path(), b in path(), name in "[a-z]{1,3}",
    ) {
        prop_assert_eq!(path_order(&a, &b), path_order(&b, &a).reverse());
        prop_assert_eq!(path_order(&a, &b) == Ordering::Equal, a == b);
        let child = if a.is_empty() { name.into_bytes() } else { [&a[..], b"/", name.as_bytes()].concat() };
        prop_assert_eq!(path_order(&a, &child), Ordering::Less);
    }
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["..", "a/../../etc", "/etc/passwd", "a//b", "a/", "./a", "a\\00b"] {
        let line = format!("d 40755 0 0 0.0 0.0 1 - {path}");
        assert_eq!(Entry::decode(&line), None, "{path}");
    }
    assert!(Entry::decode("d 40755 0 0 0.0 0.0 1 - a..b/..c").is_some());
}
