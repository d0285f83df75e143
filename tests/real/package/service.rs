//! What systemd and the service promise each other: signs of life, addresses that are handed over,
//! a journal that can be searched, a configuration that is read again.

use std::collections::BTreeSet;
use std::fs;

use kit::lab::wait_for;
use serde_json::Value;

use super::installed::Installed;

#[test]
fn systemd_and_the_service_keep_what_they_promise() {
    let installed = Installed::new("sysadmd-service");
    the_unit_exposes_no_more_than_is_written_down(&installed);
    the_journal_tells_events_by_priority(&installed);
    a_bad_configuration_is_refused_and_a_good_one_taken(&installed);
    a_daemon_that_hangs_is_ended_and_comes_back(&installed);
    addresses_outlive_the_daemon_that_is_handed_them(&installed);
}

/// In tenths, as `systemd-analyze security` counts; `docs/guide/install.md` says it.
const EXPOSURE: &str = "88";

fn the_unit_exposes_no_more_than_is_written_down(installed: &Installed) {
    let threshold = format!("--threshold={EXPOSURE}");
    installed.must(&["systemd-analyze", "security", "--no-pager", &threshold, "sysadmd.service"]);
}

/// Records of the unit with this field.
fn records(installed: &Installed, field: &str) -> Vec<Value> {
    let words = ["journalctl", "--unit=sysadmd", "--output=json", "--no-pager", field];
    let lines = installed.must(&words);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn the_journal_tells_events_by_priority(installed: &Installed) {
    for (priority, syslog) in [("0", "7"), ("4", "4"), ("7", "2"), ("10", "1")] {
        let message = format!("it is {priority}");
        let fire = ["sysadmctl", "events", "fire", &message, "--priority", priority];
        installed.must(&fire);
        let field = format!("MESSAGE={message}");
        wait_for("the event to be in the journal", || !records(installed, &field).is_empty());
        let record = &records(installed, &field)[0];
        assert_eq!(record["PRIORITY"], syslog);
        assert_eq!(record["SYSADM_PRIORITY"], priority);
        assert_eq!(record["SYSADM_CLASS"], "user.event", "{record}");
        assert_eq!(record["SYSLOG_IDENTIFIER"], "sysadmd");
    }
    let lines = records(installed, "_TRANSPORT=stdout");
    let ready =
        lines.iter().find(|it| it["MESSAGE"].as_str().is_some_and(|it| it.contains("ready")));
    assert_eq!(ready.expect("the line that says ready")["PRIORITY"], "6");
}

fn a_bad_configuration_is_refused_and_a_good_one_taken(installed: &Installed) {
    let config = installed.root.join("etc/sysadmd/sysadmd.toml");
    let good = fs::read_to_string(&config).expect("the configuration");
    let pid = installed.property("MainPID");
    fs::write(&config, "= broken").expect("it is written");
    let refused = installed.machine.output(&["systemctl", "reload", "sysadmd"]);
    assert!(!refused.status.success(), "whoever asks is told");
    // Whoever only sends the signal changes nothing, either.
    installed.must(&["systemctl", "kill", "--kill-whom=main", "--signal=HUP", "sysadmd"]);
    wait_for("it is told", || {
        let events = installed.ctl(&["events", "list", "daemon.configuration"]).to_string();
        events.contains("refused")
    });
    assert_eq!(installed.ports(), BTreeSet::from([12150, 12151]));
    fs::write(&config, format!("listen = [\"127.0.0.1:12152\"]\n{good}")).expect("it is written");
    installed.must(&["systemctl", "reload", "sysadmd"]);
    wait_for("the new address", || installed.ports() == BTreeSet::from([12152]));
    fs::write(&config, good).expect("it is written");
    installed.must(&["systemctl", "reload", "sysadmd"]);
    wait_for("the old addresses", || installed.ports() == BTreeSet::from([12150, 12151]));
    assert_eq!(installed.property("MainPID"), pid);
}

fn a_daemon_that_hangs_is_ended_and_comes_back(installed: &Installed) {
    let dir = installed.root.join("etc/systemd/system/sysadmd.service.d");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("test.conf"), "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n").expect("it");
    installed.must(&["systemctl", "daemon-reload"]);
    installed.must(&["systemctl", "restart", "sysadmd"]);
    let sign = || installed.property("WatchdogTimestampMonotonic");
    for _ in 0..4 {
        let before = sign();
        wait_for("another sign of life", || sign() != before);
    }
    assert_eq!(installed.property("NRestarts"), "0");
    let pid = installed.property("MainPID");
    installed.must(&["sh", "-c", &format!("kill -STOP {pid}")]);
    wait_for("a new process", || !["0", &pid].contains(&&*installed.property("MainPID")));
    installed.wait_until_active();
    assert_eq!(installed.property("NRestarts"), "1");
    let journal = installed.must(&["journalctl", "--unit=sysadmd", "--no-pager"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    installed.ctl(&["status"]);
    fs::remove_file(dir.join("test.conf")).expect("it goes");
    fs::remove_dir(dir).expect("it goes");
    installed.must(&["systemctl", "daemon-reload"]);
}

fn addresses_outlive_the_daemon_that_is_handed_them(installed: &Installed) {
    installed.must(&["systemctl", "stop", "sysadmd.service"]);
    assert_eq!(installed.ports(), BTreeSet::new());
    installed.must(&["systemctl", "enable", "--now", "sysadmd.socket"]);
    assert_eq!(installed.ports(), BTreeSet::from([12150, 12151]));
    assert_eq!(installed.property("ActiveState"), "inactive");
    let mode = installed.must(&["stat", "-c", "%a %F", "/run/sysadmd/sysadmd.sock"]);
    assert_eq!(mode, "666 socket\n");
    // The first who comes has it started.
    let setup = installed.ctl(&["setup"]);
    installed.wait_until_active();
    installed.must(&["systemctl", "restart", "sysadmd.service"]);
    installed.must(&["ls", "/run/sysadmd/sysadmd.sock"]);
    let [token, fingerprint] = ["token", "fingerprint"].map(|it| setup[it].as_str().expect("it"));
    let over_tls =
        ["--url", "wss://127.0.0.1:12151", "--fingerprint", fingerprint, "--token", token];
    installed.ctl(&[&over_tls[..], &["status"]].concat());
    let pid = installed.property("MainPID");
    installed.must(&["sh", "-c", &format!("kill -KILL {pid}")]);
    assert_eq!(installed.ports(), BTreeSet::from([12150, 12151]), "nobody is refused meanwhile");
    installed.ctl(&["status"]);
}
