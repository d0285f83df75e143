//! What stands in the archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kit::lab::{Lab, must};

use super::{assets, built};
use crate::it::harness::binary;

/// Built once, with programs that are linked statically.
pub(super) fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/archive");
        built(&["--profile", "dev", "--out", out, "--version", "1.0.0", "tar"]).into()
    })
}

#[test]
fn the_archive_holds_all_assets_and_no_directory() {
    let listed = must("tar", "tar", &["-tvzf", archive().to_str().expect("a path")]);
    let mut there: Vec<(&str, String)> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[1], "0/0", "another's: {line}");
            (words[0], format!("/{}", words[5]))
        })
        .collect();
    for asset in assets("tar") {
        let before = there.len();
        let mode = letters(&asset.mode);
        there.retain(|(shown, path)| !(asset.is(path) && *shown == mode));
        assert!(there.len() < before, "{} is missing or has another mode:\n{listed}", asset.place);
    }
    assert!(there.is_empty(), "not in the list: {there:?}");
}

/// A file's mode as tar shows it.
fn letters(octal: &str) -> String {
    let triple = |digit: char| {
        let bits = digit.to_digit(8).expect("an octal digit");
        [(4, 'r'), (2, 'w'), (1, 'x')]
            .map(|(bit, letter)| if bits & bit == 0 { '-' } else { letter })
    };
    let letters: String = octal.chars().skip(1).flat_map(triple).collect();
    format!("-{letters}")
}

#[test]
fn an_archive_of_programs_that_need_libraries_is_refused() {
    let lab = Lab::enter("archive-shared");
    let binaries = binary();
    let binaries = binaries.parent().expect("a directory").to_str().expect("a path");
    let script = super::root().join("packaging/build");
    let options = ["--binaries", binaries, "--fast", "--out"];
    let output = Command::new(script)
        .args(options)
        .arg(lab.dir())
        .arg("tar")
        .output()
        .expect("the script starts");
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{why}");
    assert!(why.contains("needs libraries of the machine"), "{why}");
}
