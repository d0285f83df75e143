//! The packages: what they hold, and a machine on which one is installed, used, removed and purged.

mod deb;
mod life;

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::lab::command;
use kit::plugins::workspace_program;

use crate::it::harness::binary;

/// Builds a package from the programs that were built with these tests; where it lies.
fn build(kind: &str, version: &str, out: &Path) -> PathBuf {
    workspace_program("sysadmd-pam", "sysadmd-pam");
    let binaries = binary();
    let binaries = binaries.parent().expect("a directory");
    let mut build = Command::new(root().join("packaging/build"));
    build.arg("--binaries").arg(binaries).arg("--out").arg(out);
    build.args(["--version", version, "--fast", kind]);
    let output = build.output().expect("the script starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "packaging/build {kind}:\n{said}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
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
