//! The packages: what they hold, and a machine on which one is installed, used, removed and purged.

mod archive;
mod deb;
mod image;
mod installed;
mod keep;
mod life;
mod openrc;
mod rpm;
mod service;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::lab::command;
use kit::plugins::workspace_program;

use crate::it::harness::binary;

/// Builds a package from the programs that were built with these tests; where it lies.
fn build(kind: &str, version: &str, out: &Path) -> PathBuf {
    workspace_program("sysadmd-pam", "sysadmd-pam");
    let binaries = binary();
    let binaries = binaries.parent().expect("a directory").to_str().expect("a path");
    let out = out.to_str().expect("a path");
    PathBuf::from(built(&["--binaries", binaries, "--out", out, "--version", version, kind]))
}

/// Runs `packaging/build`; what it says it has built.
fn built(options: &[&str]) -> String {
    built_by(Command::new(root().join("packaging/build")), options)
}

/// The same, by a command that has been made already.
fn built_by(mut build: Command, options: &[&str]) -> String {
    let output = build.arg("--fast").args(options).output().expect("the script starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "packaging/build {options:?}:\n{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program prints, on both of its outputs, whatever its exit code.
fn said(program: &str, package: &str, args: &[&str]) -> String {
    let output = command(program, package).args(args).output().expect("it starts");
    let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    texts.concat()
}

/// A line of the list of what packages hold.
struct Asset {
    source: String,
    /// A file, or a directory that several go to.
    place: String,
    /// Four octal digits.
    mode: String,
}

impl Asset {
    fn is(&self, path: &str) -> bool {
        let is_below = || path.strip_prefix(&*self.place).is_some_and(|it| it.starts_with('/'));
        path == self.place || self.source.ends_with('*') && is_below()
    }
}

/// What this kind of package is to hold.
fn assets(kind: &str) -> Vec<Asset> {
    let list = std::fs::read_to_string(root().join("packaging/assets")).expect("the list");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let read = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [source, place, mode, what] = words[..] else { panic!("not four words: {line}") };
        let only = what.split_once('-').map(|(_, kind)| kind);
        let [source, place, mode] = [source, place, mode].map(str::to_owned);
        only.is_none_or(|only| only == kind).then_some(Asset { source, place, mode })
    });
    read.collect()
}
