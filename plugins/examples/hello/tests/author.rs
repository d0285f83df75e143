//! The way of an author through `docs/guide/write-a-plugin.md`, with the real `sysadmctl`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests and their helpers")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

const GUIDE: &str = include_str!("../../../../docs/guide/write-a-plugin.md");

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sysadmd-author-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Runs `sysadmctl plugin WORDS…` here, with this typed in.
    fn plugin(&self, words: &[&str], typed: &str) -> Output {
        let mut child = Command::new(sysadmctl())
            .arg("plugin")
            .args(words)
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input closes it.
        child.stdin.take().unwrap().write_all(typed.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn sysadmctl() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| kit::plugins::workspace_program("sysadmd", "sysadmctl"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_new_plugin_passes_its_check_and_answers_at_once() {
    for language in ["python", "shell"] {
        let place = Place::new(language);
        let new = place.plugin(&["new", "disk-watch", "--lang", language], "");
        assert!(new.status.success(), "{new:?}");
        let check = place.plugin(&["check", "disk-watch", "--json"], "");
        let report: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(
            (report["passed"].as_bool(), check.status.code()),
            (Some(true), Some(0)),
            "{report}"
        );
        let run = place.plugin(&["run", "disk-watch"], "say {\"to\":\"x\"}\nsing\n");
        let shown = text(&run);
        assert!(shown.contains("event 1 disk-watch.said (1 - Information)"), "{shown}");
        assert!(shown.contains("hello, x"), "{shown}");
        assert!(shown.contains("fault: there is no"), "{shown}");
        assert!(run.status.success(), "{run:?}");
    }
}

#[test]
fn nothing_of_an_author_is_overwritten() {
    let place = Place::new("twice");
    let words = ["new", "mine", "--lang", "shell"];
    assert!(place.plugin(&words, "").status.success());
    let again = place.plugin(&words, "");
    assert_eq!(again.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"), "{again:?}");
}

#[test]
fn a_plugin_that_breaks_a_rule_is_told_which_and_what_to_do() {
    let place = Place::new("rude");
    kit::plugins::install(&place.0, kit::plugins::manifest("kit", &["answer-twice"])).unwrap();
    let check = place.plugin(&["check", "kit"], "");
    assert_eq!(check.status.code(), Some(1));
    let shown = text(&check);
    let line = shown.lines().find(|line| line.starts_with("FAIL one-answer")).expect(&shown);
    for part in ["expected:", "found: request", "answered twice", "to do:"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_plugin_that_dies_on_the_desk_is_said_to_have_died() {
    let place = Place::new("dies");
    kit::plugins::install(&place.0, kit::plugins::manifest("kit", &["good"])).unwrap();
    let run = place.plugin(&["run", "kit"], "exit {\"code\": 3}\n");
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run).contains("the plugin ended: exit status: 3"), "{run:?}");
}

#[test]
fn the_manifest_in_the_guide_is_one() {
    let (_, rest) = GUIDE.split_once("```json\n").unwrap();
    let (members, _) = rest.split_once("```").unwrap();
    let mut manifest: Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
    manifest["manifest_version"] = json!(1);
    manifest["id"] = json!("disk-watch");
    manifest["version"] = json!("1.0.0");
    let read = sdk::Manifest::parse(&manifest.to_string()).unwrap();
    assert_eq!(read.methods[0].method, "disk-watch/free");
}

#[test]
fn what_a_plugin_asks_for_is_shown_as_the_line_that_grants_it() {
    let place = Place::new("asks");
    place.plugin(&["new", "disk-watch", "--lang", "shell"], "");
    let path = place.0.join("disk-watch/manifest.json");
    let mut manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let (_, rest) = GUIDE.split_once("\"sandbox\": ").unwrap();
    let (asked, _) = rest.split_once('\n').unwrap();
    manifest["sandbox"] = serde_json::from_str(asked).unwrap();
    std::fs::write(&path, manifest.to_string()).unwrap();
    let (_, rest) = GUIDE.split_once("\ngrants.").unwrap();
    let (grant, _) = rest.split_once('\n').unwrap();
    let check = place.plugin(&["check", "disk-watch"], "");
    assert!(check.status.success(), "{check:?}");
    let shown = text(&check);
    let line = shown.lines().find(|line| line.starts_with("NOTE sandbox")).expect(&shown);
    assert!(line.ends_with(&format!("grants.{grant}")), "{line}");
}
