//! The checks against plugins that keep to the protocol and plugins that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::target::{StateDir, Target, TargetArgs};
use super::suite;

/// The names of the checks that fail.
fn failing(dir: &Path) -> Vec<&'static str> {
    let args =
        TargetArgs { dir: Some(dir.to_owned()), config: "null".into(), ..Default::default() };
    let target = Target::find(&args).unwrap().unwrap();
    let (verdicts, _) = suite::run(&target).unwrap();
    let failed = verdicts.iter().filter(|verdict| verdict.found.is_some());
    failed.map(|verdict| verdict.name).collect()
}

/// A directory with a kit plugin of this behaviour and deadlines short enough for a test that must
/// see them pass.
fn misbehaving(place: &StateDir, behaviour: &[&str]) -> PathBuf {
    let mut manifest = kit::plugins::manifest("kit", behaviour);
    manifest["limits"] = json!({ "start_ms": 3000, "call_ms": 1000, "stop_ms": 1000 });
    kit::plugins::install(place.path(), manifest).unwrap().parent().unwrap().to_owned()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/examples").join(name)
}

#[test]
fn every_example_passes() {
    let place = StateDir::make().unwrap();
    let rust = place.path().join("hello");
    fs::create_dir(&rust).unwrap();
    fs::copy(example("hello/manifest.json"), rust.join("manifest.json")).unwrap();
    let program = kit::plugins::workspace_program("sysadmd-example-hello", "hello");
    fs::copy(program, rust.join("hello")).unwrap();
    for dir in [rust, example("hello-python"), example("hello-shell")] {
        assert_eq!(failing(&dir), Vec::<&str>::new(), "{}", dir.display());
    }
}

#[test]
fn a_good_plugin_passes_and_so_does_one_that_is_only_slow_or_chatty() {
    for behaviour in [&["good"][..], &["slow", "20"], &["chatty"], &["slow-start", "100"]] {
        let place = StateDir::make().unwrap();
        let dir = misbehaving(&place, behaviour);
        assert_eq!(failing(&dir), Vec::<&str>::new(), "{behaviour:?}");
    }
}

#[test]
fn each_misbehaviour_fails_the_check_that_is_about_it() {
    let cases: [(&[&str], &str); 16] = [
        (&["exit-before-hello"], "handshake"),
        (&["refuse"], "handshake"),
        (&["wrong-id"], "handshake"),
        (&["wrong-version"], "handshake"),
        (&["crash-loop", "20"], "steady"),
        (&["no-health"], "health"),
        (&["late", "100"], "examples"),
        (&["garbage-before-hello"], "pure-output"),
        (&["garbage-after-hello"], "pure-output"),
        (&["huge-line"], "pure-output"),
        (&["invalid-utf8"], "pure-output"),
        (&["undeclared-class"], "declared-events"),
        (&["flood", "1000"], "never-overdrawn"),
        (&["unknown-ids"], "one-answer"),
        (&["answer-twice"], "one-answer"),
        (&["ignore-shutdown"], "end-of-input"),
    ];
    // Most of the time is waiting, so they wait together.
    std::thread::scope(|scope| {
        for (behaviour, check) in cases {
            scope.spawn(move || {
                let place = StateDir::make().unwrap();
                let dir = misbehaving(&place, behaviour);
                let failing = failing(&dir);
                assert!(failing.contains(&check), "{behaviour:?} failed {failing:?}, not {check}");
            });
        }
    });
}

#[test]
fn a_process_left_behind_is_found_and_ended() {
    let place = StateDir::make().unwrap();
    let dir = misbehaving(&place, &["good"]);
    let program = dir.join("leaves-one");
    let manifest = dir.join("manifest.json");
    let mut text: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let own = text["exec"][0].as_str().unwrap().to_owned();
    let order = format!("--manifest={}", manifest.display());
    let script = format!("#!/bin/sh\nsleep 60 &\nexec {own} '{order}' good\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    text["exec"] = json!(["./leaves-one"]);
    fs::write(&manifest, text.to_string()).unwrap();
    assert_eq!(failing(&dir), ["no-orphan"]);
}
