//! What an administrator keeps elsewhere: a backup, and what somebody who is to help may see.

use std::fs;

use kit::lab::wait_for;

use super::installed::Installed;

/// Stands wherever a secret might.
const CANARY: &str = "xyzzy-7f3a";

#[test]
fn a_backup_comes_back_and_a_bundle_holds_no_secret() {
    let installed = Installed::new("sysadmd-keep");
    the_bundle_holds_no_secret(&installed);
    the_backup_comes_back(&installed);
}

fn the_bundle_holds_no_secret(installed: &Installed) {
    let config = installed.root.join("etc/sysadmd/sysadmd.toml");
    let before = fs::read_to_string(&config).expect("the configuration");
    let secret = format!(
        "\n[sinks.chat]\nurl = \"https://127.0.0.1:9/{CANARY}\"\n\
         [plugins.config.other]\npassword = \"{CANARY}\"\n"
    );
    // `sinks = {{}}` stands in the file that is shipped.
    let with = before.replace("sinks = {}\n", "") + &secret;
    fs::write(&config, with).expect("it is written");
    installed.must(&["systemctl", "restart", "sysadmd"]);
    let token = installed.ctl(&["setup"])["token"].as_str().expect("a token").to_owned();
    let data = format!("{{\"password\":\"{CANARY}\"}}");
    installed.must(&["sysadmctl", "events", "fire", "it happened", "--data", &data]);
    // A line that is wrong must not get into the journal.
    let good = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, format!("{CANARY} = 1\n{good}")).expect("it is written");
    installed.must(&["systemctl", "kill", "--kill-whom=main", "--signal=HUP", "sysadmd"]);
    wait_for("it is refused", || {
        installed.must(&["journalctl", "-u", "sysadmd", "--no-pager"]).contains("--check says why")
    });
    fs::write(&config, good).expect("it is written");
    let out = "/var/opt/bundle.tar";
    installed.must(&["sysadmctl", "support-bundle", "--out", out]);
    assert_eq!(installed.must(&["stat", "-c", "%a", out]), "600\n");
    let bundle = fs::read(installed.root.join(&out[1..])).expect("the bundle");
    let has = |text: &str| bundle.windows(text.len()).any(|part| part == text.as_bytes());
    let parts = ["doctor.json", "journal.txt", "events.json", "configuration.toml", "metrics.json"];
    for part in parts {
        assert!(has(&format!("sysadmd-support/{part}")), "{part} is missing");
    }
    assert!(has("it happened") && has("sinks.chat"), "it says too little");
    assert!(!has(CANARY), "a secret of the configuration or of an event is in the bundle");
    assert!(!has(&token), "the token is in the bundle");
    fs::write(&config, before).expect("it is written");
    installed.must(&["systemctl", "restart", "sysadmd"]);
}

fn the_backup_comes_back(installed: &Installed) {
    let hello = || installed.ctl(&["call", "rpc", "hello"]);
    let before = hello();
    installed.must(&["sysadmctl", "events", "fire", "before", "--class", "user.kept"]);
    let file = "/var/opt/backup.tar";
    installed.must(&["sysadmd", "backup", file]);
    assert_eq!(installed.must(&["stat", "-c", "%a %U", file]), "600 root\n");
    installed.must(&["sysadmctl", "events", "fire", "after", "--class", "user.kept"]);
    let refused = installed.machine.output(&["sysadmd", "restore", file]);
    assert_eq!(refused.status.code(), Some(75), "a daemon runs");
    installed.must(&["systemctl", "stop", "sysadmd"]);
    installed.must(&["sysadmd", "restore", file]);
    installed.must(&["systemctl", "start", "sysadmd"]);
    let after = hello();
    assert_ne!(after["instance"], before["instance"]);
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    let kept = installed.ctl(&["events", "list", "user.kept"]).to_string();
    assert!(kept.contains("\"before\"") && !kept.contains("\"after\""), "{kept}");
    installed.must(&["ls", "/var/lib/sysadmd/before-restore.1/sysadmd.db"]);
    let doctor = installed.machine.inside(&["sysadmctl", "--json", "doctor"]);
    assert!(doctor.contains("\"findings\""), "{doctor}");
}
