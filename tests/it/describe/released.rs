//! What was promised with a release is kept: `docs/releases` holds each release's description.
//!
//! A release is written down with `RELEASE=1 cargo test --test it describe::released`. What breaks
//! clients of the last one is refused here unless the protocol has got a new number
//! (`docs/decisions/0027-one-description-and-a-guard.md`).

use std::fs;
use std::path::{Path, PathBuf};

use protocol::Manifest;
use sysadmd::description::Description;
use sysadmd::description::compare::{compare, refused};
use sysadmd::dispatch::describe_all;

#[test]
fn nothing_that_was_released_is_broken() {
    let now = now();
    if std::env::var_os("RELEASE").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&now).expect("JSON");
        let path = folder().join(format!("{}.json", now.version));
        fs::write(path, format!("{text}\n")).expect("the release is written down");
    }
    let released = last();
    let broken: Vec<String> = refused(&released, &now).iter().map(ToString::to_string).collect();
    assert!(
        broken.is_empty(),
        "clients of {} would break; keep the old entry beside a new one with a higher `since`, or \
         give the protocol a new number:\n{}",
        released.version,
        broken.join("\n"),
    );
    for change in compare(&released, &now) {
        println!("since {}: {change}", released.version);
    }
}

#[test]
fn the_guard_sees_what_is_taken_out_of_the_real_description() {
    let released = last();
    for gone in 0..released.methods.len() {
        let mut now = released.clone();
        let method = now.methods.remove(gone);
        assert_eq!(refused(&released, &now).len(), 1, "{}", method.method);
    }
    let mut now = released.clone();
    for entry in &mut now.methods {
        let members = entry.result["properties"].as_object_mut();
        if let Some(name) = members.as_ref().and_then(|it| it.keys().next().cloned()) {
            members.and_then(|it| it.remove(&name));
            let found = refused(&released, &now);
            assert!(!found.is_empty(), "{} lost {name} of its answer", entry_name(&now));
            return;
        }
    }
    panic!("no answer has a member");
}

fn entry_name(description: &Description) -> String {
    description.methods.first().map(|entry| entry.method.clone()).unwrap_or_default()
}

/// What this build has, with the plugins that ship with it.
fn now() -> Description {
    let manifests = sysadmd::daemon::built_in_manifests();
    let manifests: Vec<Manifest> =
        manifests.map(|text| Manifest::parse(text).expect("a right manifest")).collect();
    describe_all(&manifests)
}

/// What the newest release had.
fn last() -> Description {
    let entries = fs::read_dir(folder()).expect("docs/releases").flatten();
    let paths = entries.map(|entry| entry.path());
    let numbered = paths.filter_map(|path| {
        let numbers = path.file_stem()?.to_str()?.split('.').map(|part| part.parse::<u32>().ok());
        Some((numbers.collect::<Option<Vec<u32>>>()?, path))
    });
    let (_, newest) = numbered.max().expect("a release");
    let text = fs::read_to_string(&newest).expect("it is read");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", newest.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/releases")
}
