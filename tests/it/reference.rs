//! The pages in `docs/reference`: made from the code, and wrong as soon as the code says otherwise.

mod commands;
mod config;
mod events;
mod faults;
mod methods;
mod schema;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::Manifest;
use protocol::manifest::Retain;
use serde::Serialize;
use serde_json::Value;

/// How the pages are made.
const UPDATE: &str = "UPDATE=1 cargo test --test it reference";
/// A page's name and what makes it.
type Page = (&'static str, fn() -> String);

const PAGES: [Page; 6] = [
    ("methods.md", methods::page),
    ("events.md", events::page),
    ("config.md", config::page),
    ("sysadmctl.md", commands::sysadmctl),
    ("sysadmd.md", commands::sysadmd),
    ("faults.md", faults::page),
];

#[test]
fn every_reference_page_says_what_the_code_says() {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut stale = String::new();
    for (name, render) in PAGES {
        let path = folder().join(name);
        let page = format!("<!-- Made by `{UPDATE}`; do not edit. -->\n\n{}\n", render().trim());
        let there = fs::read_to_string(&path).unwrap_or_default();
        if there == page {
            continue;
        }
        if update {
            fs::write(&path, page).expect("the page is written");
        } else {
            writeln!(stale, "{}: {}", path.display(), difference(&there, &page)).unwrap();
        }
    }
    assert!(stale.is_empty(), "the pages are not what the code says; run `{UPDATE}`\n{stale}");
}

#[test]
fn every_page_in_the_folder_is_made() {
    for entry in fs::read_dir(folder()).expect("docs/reference") {
        let name = entry.expect("a file").file_name();
        assert!(PAGES.iter().any(|(page, _)| **page == *name), "nobody makes {name:?}");
    }
}

/// The first line that differs.
fn difference(there: &str, page: &str) -> String {
    let pairs = there.lines().map(Some).chain(std::iter::repeat(None)).zip(page.lines());
    let found = pairs.enumerate().find(|(_, (there, page))| *there != Some(page));
    match found {
        Some((line, (there, page))) => {
            format!(
                "line {}\n  it says      {}\n  the code says {page}",
                line + 1,
                there.unwrap_or("")
            )
        }
        None => "it has lines too many".to_owned(),
    }
}

fn folder() -> PathBuf {
    root().join("docs/reference")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manifests of the plugins that ship with the daemon.
fn built_in() -> Vec<Manifest> {
    let manifests = sysadmd::daemon::built_in_manifests();
    manifests.map(|text| Manifest::parse(text).expect("a right manifest")).collect()
}

/// The word a value has in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value).expect("JSON") {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

/// A row of a table.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The first row of a table, and the line below it.
fn head(cells: &[&str]) -> String {
    format!("{}|{}\n", row(cells), "---|".repeat(cells.len()))
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// How long an event is kept, for people.
fn kept(retain: Retain) -> &'static str {
    match retain {
        Retain::Log => "in the log",
        Retain::Latest => "the newest of each subject, in memory",
        Retain::None => "not at all",
    }
}
