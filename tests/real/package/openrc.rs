//! A machine with OpenRC and without systemd, on which the archive is unpacked and used.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kit::lab::{Lab, must, wait_for};
use serde_json::Value;

use super::archive::archive;
use crate::machine::{Machine, openrc_root};

const CONFIG: &str = "etc/sysadmd/sysadmd.toml";
/// Refused: passwords would cross the network in the clear.
const WRONG: &str = "listen_plain = [\"0.0.0.0:1\"]\n";
/// What looks names up elsewhere than in files: it notes who has loaded it.
const MODULE: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    char name[16];
    int comm = open("/proc/self/comm", O_RDONLY), note = open("/var/tmp/loaded", O_WRONLY | O_APPEND);
    ssize_t n = read(comm, name, sizeof name);
    if (n > 0 && write(note, name, n) < 0) _exit(1);
    close(comm);
    close(note);
}
"#;

struct OpenRc {
    machine: Machine,
    root: PathBuf,
    // The machine's files go with it.
    _lab: Lab,
}

impl OpenRc {
    fn with_archive() -> Self {
        let mut lab = Lab::enter("openrc");
        let root = lab.overlay(&openrc_root());
        let [archive, to] = [archive(), &root].map(|path| path.to_str().expect("a path"));
        must("tar", "tar", &["-C", to, "-xzf", archive]);
        another_way_of_names(&lab, &root);
        append(&root.join("etc/passwd"), "watcher:x:4321:4321::/:/bin/sh\n");
        append(&root.join("etc/group"), "sysadmd-viewer:x:4322:watcher\n");
        let machine = Machine::with_only(&root, "sysadmd-openrc", &["sleep", "infinity"]);
        for level in ["sysinit", "boot", "default"] {
            machine.output(&["openrc", level]);
        }
        Self { machine, root, _lab: lab }
    }

    /// Asks OpenRC for something; whether it is done, and what it says.
    fn service(&self, action: &str) -> (bool, String) {
        let output = self.machine.output(&["rc-service", "sysadmd", action]);
        let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        (output.status.success(), said.concat())
    }

    fn done(&self, action: &str) {
        let (done, said) = self.service(action);
        assert!(done, "{action}: {said}");
    }

    /// What the daemon says to this user, when it answers.
    fn status(&self, user: &str) -> Option<Value> {
        let words = ["setpriv", "--reuid", user, "--regid", "65534", "--init-groups", "sysadmctl"];
        let socket = ["--json", "--socket", "/run/sysadmd/sysadmd.sock", "call", "rpc", "hello"];
        let output = self.machine.output(&[&words[..], &socket[..]].concat());
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// The daemon, as far as it runs. Its plugins are called like it, and are younger.
    fn pid(&self) -> Option<u32> {
        let found = self.machine.inside(&["sh", "-c", "grep -lx sysadmd /proc/[0-9]*/comm"]);
        found.lines().filter_map(|path| path.split('/').nth(2)?.parse().ok()).min()
    }
}

fn append(path: &Path, line: &str) {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the line is written");
}

/// Names are looked up elsewhere first, by a module that tells who has loaded it.
fn another_way_of_names(lab: &Lab, root: &Path) {
    let source = lab.dir().join("module.c");
    fs::write(&source, MODULE).expect("the module's source");
    let module = root.join("usr/lib/x86_64-linux-gnu/libnss_elsewhere.so.2");
    let [source, module] = [&source, &module].map(|path| path.to_str().expect("a path"));
    must("gcc", "gcc", &["-shared", "-fPIC", "-o", module, source]);
    let ways = "passwd: elsewhere files\ngroup: elsewhere files\nhosts: elsewhere files\n";
    fs::write(root.join("etc/nsswitch.conf"), ways).expect("nsswitch.conf");
    fs::write(root.join("var/tmp/loaded"), "").expect("the list");
}

#[test]
fn unpacked_under_openrc_it_is_started_reloaded_brought_back_and_stopped() {
    let openrc = OpenRc::with_archive();
    openrc.done("start");
    wait_for("the daemon to answer", || openrc.status("root").is_some());
    let setup = openrc.machine.must(&["sysadmctl", "--json", "setup"]);
    assert!(setup.contains("sad_"), "{setup}");
    who_is_who_stands_in_the_files(&openrc);
    a_wrong_configuration_changes_nothing(&openrc);
    it_comes_back_when_it_is_killed(&openrc);
    openrc.done("stop");
    assert_eq!(openrc.pid(), None, "it is stopped, and its plugins with it");
    fs::write(openrc.root.join(CONFIG), WRONG).expect("the configuration");
    let (done, said) = openrc.service("start");
    assert!(!done && said.contains("listen_plain 0.0.0.0:1"), "{said}");
    let hint = openrc.machine.output(&["sysadmctl", "status"]);
    let hint = String::from_utf8_lossy(&hint.stderr).into_owned();
    assert!(hint.contains("rc-service sysadmd start"), "{hint}");
}

fn who_is_who_stands_in_the_files(openrc: &OpenRc) {
    let watcher = openrc.status("watcher").expect("it is let in");
    assert!(watcher.to_string().contains("viewer"), "{watcher}");
    let other = openrc.status("nobody").expect("it may ask who it is");
    assert!(!other.to_string().contains("viewer"), "it is in no group: {other}");
    let loaded = fs::read_to_string(openrc.root.join("var/tmp/loaded")).expect("the list");
    assert!(loaded.contains("setpriv"), "the module works: {loaded}");
    assert!(!loaded.contains("sysadm"), "a static program has loaded it: {loaded}");
}

fn a_wrong_configuration_changes_nothing(openrc: &OpenRc) {
    let file = openrc.root.join(CONFIG);
    let (before, pid) = (fs::read_to_string(&file).expect("it is there"), openrc.pid());
    openrc.done("reload");
    fs::write(&file, WRONG).expect("the configuration");
    let (done, said) = openrc.service("reload");
    assert!(!done && said.contains("listen_plain 0.0.0.0:1"), "{said}");
    assert!(openrc.status("root").is_some() && openrc.pid() == pid, "it runs on");
    fs::write(&file, before).expect("the configuration");
}

fn it_comes_back_when_it_is_killed(openrc: &OpenRc) {
    let first = openrc.pid().expect("it runs");
    openrc.machine.must(&["sh", "-c", &format!("kill -KILL {first}")]);
    wait_for("another process", || openrc.pid().is_some_and(|pid| pid != first));
    wait_for("it to answer", || openrc.status("root").is_some());
}
