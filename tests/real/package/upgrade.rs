//! What does not end when the daemon is another: an upgrade while everything runs, a reboot; and a
//! downgrade that would lose something.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kit::lab::wait_for;
use rusqlite::Connection;
use serde_json::Value;

use super::build;
use super::installed::Installed;

/// Fires numbered events, each until it was taken, and notes those that were.
const PUBLISHER: &str = "#!/bin/sh
n=0
while [ ! -e /var/opt/enough ]; do
    n=$((n + 1))
    until sysadmctl events fire \"n $n\" --class user.load >/dev/null 2>&1; do sleep 0.05; done
    echo $n >>/var/opt/taken
done
touch /var/opt/done
";
/// Follows all of them; when its connection ends it comes back by its cursor.
const FOLLOWER: &str = "#!/bin/sh
while [ ! -e /var/opt/stop ]; do
    sysadmctl --json events tail user.load --cursor-file /var/opt/cursor >>/var/opt/heard 2>/dev/null
    sleep 0.05
done
";
/// Runs until it is ended, and leaves a line each time it is run.
const JOB: &str = "#!/bin/sh\necho ran >>/var/opt/ran\nexec sleep 1000\n";

#[test]
fn nothing_is_lost_or_done_twice_when_the_daemon_is_another() {
    let mut installed = Installed::new("sysadmd-upgrade");
    upgraded_under_load(&installed);
    rebooted(&mut installed);
    a_newer_database_is_left_alone(&installed);
}

fn script(installed: &Installed, name: &str, text: &str) -> String {
    let place = format!("/var/opt/{name}.sh");
    fs::write(installed.root.join(&place[1..]), text).expect("a script");
    installed.must(&["chmod", "0755", &place]);
    place
}

fn lines(installed: &Installed, name: &str) -> Vec<String> {
    let text = fs::read_to_string(installed.root.join("var/opt").join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn touch(installed: &Installed, name: &str) {
    fs::write(installed.root.join("var/opt").join(name), "").expect("it is written");
}

fn upgraded_under_load(installed: &Installed) {
    let next = build("deb", "1.1.0", Path::new(&installed.root.join("var/tmp")));
    let next = format!("/var/tmp/{}", next.file_name().expect("a name").to_string_lossy());
    let job = script(installed, "job", JOB);
    installed.must(&["sysadmctl", "jobs", "run", "--", &job]);
    for (name, text) in [("follower", FOLLOWER), ("publisher", PUBLISHER)] {
        let place = script(installed, name, text);
        installed.must(&["systemd-run", "--quiet", &format!("--unit={name}"), &place]);
    }
    wait_for("some events before", || lines(installed, "heard").len() >= 5);
    wait_for("the job to run", || lines(installed, "ran").len() == 1);
    let before = installed.property("MainPID");
    installed.must(&["dpkg", "--install", &next]);
    installed.wait_until_active();
    assert_ne!(installed.property("MainPID"), before);
    let count = lines(installed, "taken").len();
    wait_for("some events after", || lines(installed, "taken").len() > count + 20);
    touch(installed, "enough");
    wait_for("the publisher to end", || installed.root.join("var/opt/done").exists());
    let taken: BTreeSet<String> = lines(installed, "taken").into_iter().collect();
    wait_for("everything to be heard", || heard(installed).0.is_superset(&taken));
    touch(installed, "stop");
    installed.must(&["systemctl", "stop", "follower"]);
    let (_, numbers) = heard(installed);
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "an event was delivered twice");
    assert!(numbers.is_sorted(), "in another order");
    assert_eq!(lines(installed, "ran").len(), 1, "a job was run twice");
    let jobs = installed.ctl(&["jobs", "list"]).to_string();
    assert!(!jobs.contains("\"running\""), "a job that was cut off is said to run: {jobs}");
}

/// What the follower has heard: the publisher's numbers, and those of the log.
fn heard(installed: &Installed) -> (BTreeSet<String>, Vec<u64>) {
    let events = lines(installed, "heard");
    let events = events.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let read = events.filter_map(|event| {
        let number = event["message"].as_str()?.strip_prefix("n ")?.to_owned();
        Some((number, event["seq"].as_u64()?))
    });
    read.unzip()
}

fn rebooted(installed: &mut Installed) {
    let before = installed.ctl(&["call", "rpc", "hello"])["instance"].clone();
    installed.machine.reboot();
    installed.wait_until_active();
    assert_eq!(installed.ports(), BTreeSet::from([12150, 12151]));
    assert_eq!(installed.ctl(&["call", "rpc", "hello"])["instance"], before);
    let kept = installed.must(&["sysadmctl", "events", "list", "user.load", "--limit", "1"]);
    assert!(kept.contains(" n "), "{kept}");
}

fn a_newer_database_is_left_alone(installed: &Installed) {
    installed.must(&["systemctl", "stop", "sysadmd"]);
    let file = installed.root.join("var/lib/sysadmd/sysadmd.db");
    let set = |version: u32| {
        let db = Connection::open(&file).expect("the database");
        db.pragma_update(None, "user_version", version).expect("it is changed");
    };
    let db = Connection::open(&file).expect("the database");
    let own: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a number");
    drop(db);
    set(999);
    assert!(!installed.machine.output(&["systemctl", "start", "sysadmd"]).status.success());
    assert_eq!(installed.property("ExecMainStatus"), "65");
    assert_eq!(installed.property("NRestarts"), "0", "it does not mend itself");
    let journal = installed.must(&["journalctl", "--unit=sysadmd", "--no-pager"]);
    assert!(journal.contains("was written by a newer sysadmd"), "{journal}");
    set(own);
    installed.must(&["systemctl", "reset-failed", "sysadmd"]);
    installed.must(&["systemctl", "start", "sysadmd"]);
    installed.ctl(&["status"]);
}
