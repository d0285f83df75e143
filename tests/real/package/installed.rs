//! A machine on which the package is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kit::lab::{Lab, wait_for};
use serde_json::Value;

use super::build;
use crate::machine::{Machine, root};

/// Where the package writes, and where nothing of it may be left.
const PLACES: [&str; 7] = ["/etc", "/usr", "/var/lib", "/var/log", "/var/cache", "/run", "/opt"];
/// What others write there while it is used.
const OTHERS: [&str; 8] = [
    "/var/lib/dpkg/",
    "/var/log/dpkg.log",
    "/var/log/journal",
    "/var/log/wtmp",
    "/run/systemd/",
    "/run/udev",
    "/run/user",
    "/var/cache/ldconfig",
];

/// A machine with the package, and what was there before.
pub(super) struct Installed {
    pub(super) machine: Machine,
    pub(super) before: BTreeSet<String>,
    /// Its files, as they are seen from outside.
    pub(super) root: PathBuf,
    // The machine's files go with it.
    _lab: Lab,
}

impl Installed {
    pub(super) fn new(name: &str) -> Self {
        let mut lab = Lab::enter(name);
        let package = build("deb", "1.0.0", lab.dir());
        let root = lab.overlay(&root());
        let machine = Machine::boot(&root, name, &[]);
        fs::copy(package, root.join("var/tmp/sysadmd.deb")).expect("the package is put there");
        let installed = Self { before: files(&machine), machine, root, _lab: lab };
        let said = installed.machine.must(&["dpkg", "--install", "/var/tmp/sysadmd.deb"]);
        assert!(said.contains("sysadmctl setup"), "{said}");
        installed.wait_until_active();
        installed
    }

    pub(super) fn property(&self, name: &str) -> String {
        let answer = self.must(&["systemctl", "show", "--value", "--property", name, "sysadmd"]);
        answer.trim().to_owned()
    }

    pub(super) fn wait_until_active(&self) {
        wait_for("the service to be active", || self.property("ActiveState") == "active");
    }

    pub(super) fn must(&self, words: &[&str]) -> String {
        self.machine.must(words)
    }

    /// What `sysadmctl --json` answers.
    pub(super) fn ctl(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = ["sysadmctl", "--json"].iter().chain(words).copied().collect();
        serde_json::from_str(&self.must(&words)).expect("JSON")
    }

    /// The ports on which something listens.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let listening = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = fields.get(1)?.rsplit(':').next()?;
            (*fields.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
        };
        self.must(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])
            .lines()
            .filter_map(listening)
            .collect()
    }
}

pub(super) fn files(machine: &Machine) -> BTreeSet<String> {
    let mut words = vec!["find"];
    words.extend(PLACES);
    words.push("-xdev");
    let found = machine.inside(&words);
    let of_others = |path: &&str| OTHERS.iter().any(|other| path.starts_with(other));
    found.lines().filter(|path| !of_others(path)).map(str::to_owned).collect()
}
