//! What is recorded stays recorded: a conversation that could be had once can be had for ever.
//!
//! `tests/transcripts/KEPT` has the SHA-256 of every kept conversation, as `sha256sum` prints it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{listed, root};

#[test]
fn what_is_kept_is_unchanged() {
    let root = root();
    let manifest = root.join("KEPT");
    let mut kept = read(&std::fs::read_to_string(&manifest).unwrap_or_default());
    let there = conversations(&root);
    let wrong = differences(&kept, &there);
    assert!(
        wrong.is_empty(),
        "{}\nA client of today relies on it. If the daemon must answer otherwise, that is a new \
         version: put the new conversation into a new folder and serve both.",
        wrong.join("\n")
    );
    let new: Vec<_> = there.keys().filter(|name| !kept.contains_key(*name)).cloned().collect();
    if std::env::var_os("UPDATE").is_some_and(|what| what == "kept") {
        kept.extend(there);
        let lines = kept.iter().map(|(name, hash)| format!("{hash}  {name}\n"));
        std::fs::write(&manifest, lines.collect::<String>()).unwrap();
    } else {
        assert!(new.is_empty(), "not kept yet; look at it, then UPDATE=kept: {}", new.join(", "));
    }
}

type Hashes = BTreeMap<String, String>;

/// What is kept and is not as it was.
fn differences(kept: &Hashes, there: &Hashes) -> Vec<String> {
    let changed = kept.iter().filter(|(name, hash)| there.get(*name) != Some(hash));
    let say = |name| if there.contains_key(name) { "has changed" } else { "is gone" };
    changed.map(|(name, _)| format!("{name} {}", say(name))).collect()
}

fn read(manifest: &str) -> Hashes {
    let lines = manifest.lines().filter_map(|line| line.split_once("  "));
    lines.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
}

/// Every conversation of every face and version, with its hash.
fn conversations(root: &Path) -> Hashes {
    let folders = listed(root).into_iter().filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| listed(&folder));
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (name, hash(&std::fs::read(&path).unwrap()))
        })
        .collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn a_change_to_what_is_kept_is_found() {
    let of = |pairs: &[(&str, &str)]| -> Hashes {
        pairs.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect()
    };
    let kept = of(&[("a", "1"), ("b", "2")]);
    assert!(differences(&kept, &of(&[("a", "1"), ("b", "2"), ("new", "3")])).is_empty());
    assert_eq!(differences(&kept, &of(&[("a", "9")])), ["a has changed", "b is gone"]);
    assert_eq!(read("1  a\n2  b\n"), kept);
    assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
