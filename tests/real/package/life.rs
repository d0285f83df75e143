//! The package is installed, used, removed and purged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kit::lab::wait_for;
use serde_json::Value;

use super::installed::{Installed, files};

#[test]
fn installed_used_removed_and_purged() {
    let installed = Installed::new("sysadmd-life");
    it_serves_at_once(&installed);
    the_first_token_is_shown_once(&installed);
    what_was_decided_is_used(&installed);
    a_credential_is_the_certificate(&installed);
    it_comes_back(&installed);
    removed_it_keeps_what_was_recorded(&installed);
    installed_again_it_goes_on(&installed);
    purged_nothing_is_left_but_snapshots(&installed);
}

fn it_serves_at_once(installed: &Installed) {
    assert_eq!(installed.must(&["systemctl", "is-enabled", "sysadmd"]).trim(), "enabled");
    let unit = "/usr/lib/systemd/system/sysadmd.service";
    let complaints = installed.machine.output(&["systemd-analyze", "verify", "--man=no", unit]);
    assert!(complaints.status.success() && complaints.stderr.is_empty(), "{complaints:?}");
    assert_eq!(installed.ports(), BTreeSet::from([12150, 12151]));
    let modes = [
        "/run/sysadmd/sysadmd.sock",
        "/var/lib/sysadmd",
        "/var/lib/sysadmd/sysadmd.db",
        "/var/lib/sysadmd/tls/key.pem",
        "/etc/sysadmd/sysadmd.toml",
    ];
    let words: Vec<&str> = ["stat", "-c", "%a %U %G"].into_iter().chain(modes).collect();
    let expected = "666 root root\n711 root root\n600 root root\n600 root root\n640 root root\n";
    assert_eq!(installed.must(&words), expected);
    for group in ["sysadmd", "sysadmd-operator", "sysadmd-viewer"] {
        installed.must(&["getent", "group", group]);
    }
    // Somebody who is in no group may connect, and gets nothing.
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sysadmctl",
        "--socket",
        "/run/sysadmd/sysadmd.sock",
        "events",
        "list",
    ];
    assert_eq!(installed.machine.output(&nobody).status.code(), Some(77));
    let plugins = installed.ctl(&["plugins", "list"]);
    assert!(plugins.to_string().contains("snapshot"), "{plugins}");
}

fn the_first_token_is_shown_once(installed: &Installed) {
    let first = installed.ctl(&["setup"]);
    let token = first["token"].as_str().expect("a token");
    let fingerprint = first["fingerprint"].as_str().expect("a fingerprint");
    assert_eq!(installed.ctl(&["setup"])["token"], Value::Null, "it is shown once");
    let over_tls = [
        "--url",
        "wss://127.0.0.1:12150",
        "--fingerprint",
        fingerprint,
        "--token",
        token,
        "tokens",
        "list",
    ];
    assert!(installed.ctl(&over_tls).to_string().contains("first-administrator"));
}

fn what_was_decided_is_used(installed: &Installed) {
    let config = "/etc/sysadmd/sysadmd.toml";
    let before = installed.must(&["cat", config]);
    let wrong = ["sysadmctl", "setup", "--certificate", "/no/such", "--key", "/no/such"];
    let refused = installed.machine.output(&wrong);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("nothing was changed"), "{why}");
    assert_eq!(installed.must(&["cat", config]), before);
    let decided =
        installed.ctl(&["setup", "--listen", "127.0.0.1:12199", "--admin-group", "users"]);
    assert_eq!(decided["changed"], true);
    installed.must(&["systemctl", "restart", "sysadmd"]);
    assert_eq!(installed.ports(), BTreeSet::from([12199]));
    assert!(installed.ctl(&["tokens", "list"]).to_string().contains("first-administrator"));
}

/// A pair in a credential store takes the place of the daemon's own.
fn a_credential_is_the_certificate(installed: &Installed) {
    let before = installed.ctl(&["call", "rpc", "hello"])["fingerprint"].clone();
    let pair = rcgen::generate_simple_self_signed(vec!["nas.example".to_owned()]).expect("a pair");
    let store = "/etc/credstore";
    installed.must(&["mkdir", "-p", "-m", "0700", store]);
    let texts = [("certificate", pair.cert.pem()), ("key", pair.signing_key.serialize_pem())];
    for (name, text) in texts {
        fs::write(installed.root.join(format!("etc/credstore/sysadmd.{name}")), text)
            .expect("the credential");
    }
    installed.must(&["systemctl", "restart", "sysadmd"]);
    let with = installed.ctl(&["call", "rpc", "hello"])["fingerprint"].clone();
    assert_ne!(with, before);
    installed.must(&["rm", "-r", store]);
    installed.must(&["systemctl", "restart", "sysadmd"]);
    assert_eq!(installed.ctl(&["call", "rpc", "hello"])["fingerprint"], before);
}

fn it_comes_back(installed: &Installed) {
    let first = installed.property("MainPID");
    installed.must(&["systemctl", "reload", "sysadmd"]);
    assert_eq!(installed.property("MainPID"), first, "a reload is no restart");
    installed.must(&["sh", "-c", &format!("kill -KILL {first}")]);
    wait_for("another process", || ![&first, "0"].contains(&&*installed.property("MainPID")));
    installed.wait_until_active();
    assert_eq!(installed.ports(), BTreeSet::from([12199]));
}

fn removed_it_keeps_what_was_recorded(installed: &Installed) {
    let photos = "/var/opt/photos";
    installed.must(&["mkdir", "-p", photos]);
    wait_for("a snapshot", || {
        installed.machine.output(&["sysadmctl", "snapshots", "create", photos]).status.success()
    });
    installed.must(&["dpkg", "--remove", "sysadmd"]);
    assert_eq!(installed.ports(), BTreeSet::new());
    assert_eq!(installed.property("LoadState"), "masked");
    installed.must(&["ls", "/var/lib/sysadmd/sysadmd.db", "/etc/sysadmd/sysadmd.toml"]);
    assert!(!installed.machine.output(&["ls", "/usr/sbin/sysadmd"]).status.success());
}

fn installed_again_it_goes_on(installed: &Installed) {
    installed.must(&["dpkg", "--install", "/var/tmp/sysadmd.deb"]);
    installed.wait_until_active();
    assert_eq!(installed.ports(), BTreeSet::from([12199]), "the administrator's file is kept");
    wait_for("the snapshot to be listed", || {
        installed.machine.inside(&["sysadmctl", "snapshots", "list"]).contains("manual")
    });
}

fn purged_nothing_is_left_but_snapshots(installed: &Installed) {
    let said = installed.must(&["dpkg", "--purge", "sysadmd"]);
    let kept = "/var/lib/sysadmd/plugin-state/snapshot";
    assert!(said.contains(kept), "{said}");
    installed.must(&["ls", &format!("{kept}/store/snaps")]);
    let left: Vec<String> = files(&installed.machine)
        .difference(&installed.before)
        .filter(|path| !Path::new(path).starts_with(kept) && !Path::new(kept).starts_with(path))
        .cloned()
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(!installed.machine.output(&["getent", "group", "sysadmd"]).status.success());
    let failed = installed.must(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]);
    assert!(!failed.contains("sysadmd"), "{failed}");
}
