//! What the snapshot plugin reads: answers of tools, the kernel's mount table, its own records, names
//! that callers choose.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;
use snapshot::backend::name::{
    MAX_COMMENT, MAX_LABEL, MAX_NAME, check_comment, check_label, check_name,
};
use snapshot::backend::tree::manifest::{Entry, Node, Reader};
use snapshot::backend::{DatasetId, NewSnapshot, SnapshotId};
use snapshot::fuzzing;
use snapshot::policy::schedule::{Timetable, due};
use snapshot::policy::{journal, store};

use crate::{line_and_rest, utf8};

/// Arbitrary bytes as one printable word, and back.
pub fn escape(data: &[u8]) {
    let word = fuzzing::escape(data);
    assert!(!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(fuzzing::unescape(&word).as_deref(), Some(data));
    let Some(text) = utf8(data) else { return };
    if let Some(bytes) = fuzzing::unescape(text) {
        assert_eq!(fuzzing::escape(&bytes), text, "there is one spelling");
    }
}

/// The manifest of a snapshot: a line of it, and the whole.
pub fn tree_manifest(data: &[u8]) {
    if let Some(Some(entry)) = utf8(data).map(Entry::decode) {
        assert_eq!(Some(entry.encode().as_bytes()), Some(data), "there is one spelling");
        assert!(is_inside(&entry.path));
        if let Node::HardLink { to } = &entry.node {
            assert!(is_inside(to));
        }
    }
    let Ok(mut reader) = Reader::over(data) else { return };
    let promised = reader.header().entries;
    let mut entries = 0;
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => assert!(is_inside(&entry.path)),
            Ok(None) => return assert_eq!(entries, promised),
            Err(_) => return,
        }
        entries += 1;
    }
}

/// A snapshot of a directory as another machine sends it.
pub fn tree_stream(data: &[u8]) {
    let Some(pieces) = fuzzing::tree_stream(data) else { return };
    // Whatever was said, no piece has more than came, and the last one ends the stream.
    let bytes: usize = pieces.iter().map(|(_, _, bytes)| bytes.len()).sum();
    assert!(!pieces.is_empty() && bytes < data.len());
    assert!(pieces.iter().all(|(_, size, bytes)| bytes.len() as u64 <= *size));
}

fn is_inside(path: &[u8]) -> bool {
    let name = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    path.is_empty() || path.split(|byte| *byte == b'/').all(name)
}

/// What `zfs` and `zpool` print.
pub fn zfs_output(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(rows) = fuzzing::rows::<4>(text) {
        assert_eq!(rows.len(), text.lines().count(), "a half-read list looks like a short one");
        assert!(rows.iter().zip(text.lines()).all(|(row, line)| row.join("\t") == line));
    }
    if let Ok(all) = fuzzing::properties(text) {
        let pools = BTreeMap::from([("tank", "12"), ("lab", "34")]);
        for (name, properties) in &all {
            let found = fuzzing::dataset(name.clone(), properties, &pools);
            let found =
                found.into_iter().find(|found| found.id.as_str().parse::<DatasetId>().is_ok());
            let Some(found) = found else { continue };
            assert!(pools.contains_key(found.pool.as_str()));
            if let Some(snapshot) = fuzzing::snapshot(&found, name, properties) {
                assert_eq!(snapshot.dataset, found.id);
            }
        }
    }
    let (figure, rest) = text.split_once('\n').unwrap_or((text, ""));
    fuzzing::figure(figure);
    let options = fuzzing::options("send", rest);
    assert!(options.is_sorted() && options.iter().all(|option| option.len() == 6));
    let complaint = fuzzing::complaint("do it", text).to_string();
    assert!(complaint.starts_with("Could not do it: "), "{complaint}");
}

/// The kernel's mount table.
pub fn mounts(data: &[u8]) {
    let mounts = fuzzing::mounts(data);
    assert!(mounts.len() <= data.split(|byte| *byte == b'\n').count());
    let mut points: Vec<_> = mounts.iter().map(|mount| &mount.point).collect();
    points.sort();
    points.dedup();
    assert_eq!(points.len(), mounts.len(), "one mount is seen on each point");
}

/// Records in files, identities, and the configuration.
pub fn records(data: &[u8]) {
    fuzzing::path_in(data);
    if let Ok(section) = serde_json::from_slice::<Value>(data) {
        fuzzing::config(&section);
    }
    let Some(text) = utf8(data) else { return };
    let is_plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b":@-".contains(&b));
    if let Ok(id) = text.parse::<DatasetId>() {
        assert!(id.as_str() == text && is_plain(text) && text.len() <= 128);
        assert!(text.starts_with(id.kind().as_str()));
    }
    if let Ok(id) = text.parse::<SnapshotId>() {
        assert!(id.to_string() == text && is_plain(text));
    }
}

/// Names, labels and comments that end up in arguments of a program.
pub fn names(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let is_plain = |text: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        !text.is_empty() && !text.starts_with(['-', '.']) && text.bytes().all(letter)
    };
    assert_eq!(check_name(text).is_ok(), is_plain(text) && text.len() <= MAX_NAME);
    assert_eq!(check_label(text).is_ok(), is_plain(text) && text.len() <= MAX_LABEL);
    let is_line = !text.chars().any(char::is_control) && text.len() <= MAX_COMMENT;
    assert_eq!(check_comment(text).is_ok(), is_line);
}

/// A line with a label, a line with a name, and a comment: the arguments for `zfs snapshot`.
pub fn dataset_args(data: &[u8]) {
    let (label, rest) = line_and_rest(data);
    let (name, comment) = line_and_rest(rest);
    let (Some(label), Some(name), Some(comment)) = (utf8(label), utf8(name), utf8(comment)) else {
        return;
    };
    let new = NewSnapshot {
        label: label.to_owned(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        comment: (!comment.is_empty()).then(|| comment.to_owned()),
        mark: None,
        recursive: comment.len().is_multiple_of(2),
        at: DateTime::UNIX_EPOCH,
    };
    let Ok(settled) = fuzzing::settle(&new) else { return };
    check_name(&settled).unwrap();
    let args = fuzzing::take(&format!("tank/a b@{settled}"), &new);
    let (full, options) = args.split_last().unwrap();
    assert_eq!(full.split_once('@').map(|(_, name)| name), Some(&*settled));
    assert!(args.iter().all(|arg| !arg.is_empty() && !arg.contains(char::is_control)));
    let of_ours = |arg: &&String| matches!(arg.as_str(), "-o" | "-r");
    assert!(options.iter().filter(|arg| arg.starts_with('-')).all(|arg| of_ours(&arg)));
}

/// The file of a policy, and what its schedules then say.
pub fn policy(data: &[u8]) {
    let Ok(kept) = store::parse(data) else { return };
    let text = serde_json::to_vec(&kept).unwrap();
    assert_eq!(store::parse(&text).unwrap(), kept, "what is kept comes back");
    let zone = kept.policy.zone().unwrap();
    for schedule in &kept.policy.schedules {
        let table = Timetable::read(schedule, zone).unwrap();
        let now = DateTime::from_timestamp(1_795_299_600, 0).unwrap();
        let found = due(&table, b"salt", kept.saved, now);
        assert!(found.until <= now && found.slot.is_none_or(|slot| slot <= now));
        assert!(found.next.is_none_or(|next| next > found.until));
    }
}

/// The journal of policies, which a kill may have cut anywhere.
pub fn policy_journal(data: &[u8]) {
    let state = journal::read(data);
    let whole = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert_eq!(journal::read(&data[..whole]), state, "what was cut off says nothing");
}
