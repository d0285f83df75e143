//! `config.md`: the remarks of the shipped configuration, and what the program itself says of types.

use std::collections::BTreeSet;
use std::path::Path;

use sysadmd::config::{File, Overrides, Runner};

use super::{code, head, root, row};

const HEAD: &str = "\
# Configuration

`sysadmd` reads one TOML file: the one named with `--config`, or as root `/etc/sysadmd/sysadmd.toml` when it is there.
Every key may be left out.
Unknown keys are refused; `sysadmd --check` says what is wrong.
Options of the [command line](sysadmd.md) win over the file.
The defaults here are root's.

";

/// A key of the shipped file.
#[derive(Debug)]
struct Key {
    /// With its sections, dotted.
    path: String,
    /// As TOML; empty for a section.
    default: String,
    meaning: String,
}

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page += &head(&["Key", "Type", "Default", ""]);
    for key in keys(&shipped()) {
        let default = if key.default.is_empty() { "–".to_owned() } else { code(&key.default) };
        page += &row(&[&code(&key.path), &kind(&key.path), &default, &key.meaning]);
    }
    page += "\nThe same as a file to begin with: ";
    page += "[`packaging/sysadmd.toml`](../../packaging/sysadmd.toml).\n";
    page
}

#[test]
fn the_shipped_file_has_every_key_that_is_read() {
    let documented = keys(&shipped());
    let documented: BTreeSet<&str> = documented.iter().map(|key| key.path.as_str()).collect();
    let mut read = BTreeSet::new();
    for section in
        ["", "tls.", "log.", "audit.", "access.", "limits.", "jobs.", "consul.", "plugins."]
    {
        read.extend(known(section).into_iter().map(|name| format!("{section}{name}")));
    }
    // Sections are not keys, and what `plugins.config` holds belongs to the plugins.
    let has = |path: &String| {
        let below = format!("{path}.");
        documented.iter().any(|key| key == path || key.starts_with(&below))
    };
    let missing: Vec<&String> = read.iter().filter(|path| !has(path)).collect();
    assert!(missing.is_empty(), "packaging/sysadmd.toml does not say what {missing:?} is");
}

#[test]
fn what_the_shipped_file_comments_out_is_roots_default() {
    let name = Path::new("sysadmd.toml");
    let mut all = String::new();
    for line in shipped().lines() {
        all += line.strip_prefix("# ").filter(|line| setting(line).is_some()).unwrap_or(line);
        all += "\n";
    }
    let root = Runner { is_root: true, state_home: None };
    let complete = |text: &str| {
        let file = File::parse(text, name).expect("legal settings");
        file.complete(Overrides::default(), &root).expect("complete settings")
    };
    let (written, default) = (complete(&all), complete(""));
    assert_eq!(written.state_dir, default.state_dir);
    assert_eq!(written.listen, default.listen);
    assert_eq!(written.plugin_dir, default.plugin_dir);
}

fn shipped() -> String {
    std::fs::read_to_string(root().join("packaging/sysadmd.toml")).expect("the shipped file")
}

/// Every key, commented out or not, with the remark above it.
fn keys(text: &str) -> Vec<Key> {
    let (mut found, mut remark, mut section) = (Vec::new(), Vec::new(), String::new());
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
            if !remark.is_empty() {
                let path = name.to_owned();
                found.push(Key { path, default: String::new(), meaning: remark.join(" ") });
            }
            remark.clear();
        } else if let Some((name, value)) = setting(bare) {
            let (path, default) = (format!("{section}{name}"), value.to_owned());
            assert!(!remark.is_empty(), "packaging/sysadmd.toml does not say what {path} is");
            found.push(Key { path, default, meaning: remark.join(" ") });
            remark.clear();
        } else if line.is_empty() {
            remark.clear();
        } else {
            remark.push(bare);
        }
    }
    found
}

/// `name = value`, if the line is that.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" = ")?;
    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some((name, value))
}

/// What the program says it expected for a key, in words for people.
fn kind(path: &str) -> String {
    let expected = |value: &str| {
        let refusal = refusal(&format!("{path} = {value}"));
        refusal.and_then(|text| Some(text.rsplit_once("expected ")?.1.trim().to_owned()))
    };
    let word = |expected: Option<String>| match expected.as_deref() {
        Some("path string") => "path",
        Some("a string") => "text",
        Some("u32" | "u64" | "usize") => "whole number",
        Some("socket address") => "`\"ADDRESS:PORT\"`",
        Some("a map" | "map" | "struct Rights") => "section",
        Some("struct Service") => "`{ id, tags }`",
        None => "`true` or `false`",
        Some(other) => panic!("put {other:?} into words for people here"),
    };
    match expected("true") {
        Some(list) if list == "a sequence" => format!("list of {}", word(expected("[true]"))),
        other => word(other).to_owned(),
    }
}

/// The keys the program says it knows in a section.
fn known(section: &str) -> Vec<String> {
    let text = refusal(&format!("{section}no-such-key = 0")).expect("an unknown key is refused");
    let names = text.split("expected ").nth(1).expect("the keys it knows").lines().next();
    let quoted = names.unwrap_or_default().split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

fn refusal(text: &str) -> Option<String> {
    File::parse(text, Path::new("sysadmd.toml")).err().map(|error| error.to_string())
}
