//! `sysadmctl doctor` on daemons that are well, and on daemons whose installation is broken on
//! purpose: each fault is found by its check, with what mends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use kit::plugins::manifest;
use rcgen::date_time_ymd;
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Program, Site};
use crate::tls::files::{key, made};

/// What the doctor says of a site.
struct Report {
    code: Option<i32>,
    said: Value,
}

impl Report {
    fn of(site: &Site) -> Self {
        let config = site.path().join("sysadmd.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
        command.args(["doctor", "--json", "--state-dir"]).arg(site.path());
        command.arg("--config").arg(config).env_remove("SYSADMD_TOKEN");
        let output = command.output().expect("sysadmctl runs");
        let said = serde_json::from_slice(&output.stdout);
        let said = said.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { code: output.status.code(), said }
    }

    /// This check has this verdict and says what mends it.
    fn finds(&self, check: &str, verdict: &str, mend: &str) {
        let findings = self.said["findings"].as_array().expect("a list");
        let found = findings.iter().any(|it| {
            let text = it["mend"].as_str().unwrap_or_default();
            it["check"] == check && it["verdict"] == verdict && text.contains(mend)
        });
        assert!(found, "no {verdict} of {check} with {mend:?}: {:#}", self.said);
        if verdict == "problem" {
            assert_eq!(self.code, Some(1));
        }
    }

    /// Nothing is a problem.
    fn is_well(&self) {
        assert_eq!((self.code, &self.said["problems"]), (Some(0), &0.into()), "{:#}", self.said);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is set");
}

async fn well() -> Program {
    let program = Site::new().with_kit().spawn().await;
    program.ready("kit").await;
    set_mode(program.site().path(), 0o711);
    Report::of(program.site()).is_well();
    program
}

#[tokio::test]
async fn a_daemon_that_is_well_has_no_problem() {
    let program = well().await;
    let report = Report::of(program.site());
    let findings = report.said["findings"].as_array().unwrap();
    let names: std::collections::BTreeSet<_> =
        findings.iter().filter_map(|it| it["check"].as_str()).collect();
    assert!(names.len() >= 14, "{names:?}");
    for check in ["daemon", "tls-listener", "certificate-used", "audit-trail", "plugins", "names"] {
        let ok = findings.iter().any(|it| it["check"] == check && it["verdict"] == "ok");
        assert!(ok, "{check} is not ok: {:#}", report.said);
    }
    program.stop().await;
}

#[tokio::test]
async fn what_others_may_read_or_write_is_found() {
    let program = well().await;
    let dir = program.site().path();
    for (path, wrong, right, check, mend) in [
        ("tls/key.pem", 0o644, 0o600, "tls-key", "chmod 0600"),
        ("", 0o755, 0o711, "state-directory", "chmod go-rw"),
        ("sysadmd.toml", 0o666, 0o644, "configuration", "chmod go-w"),
        ("plugins", 0o777, 0o755, "plugin-directory", "chmod -R go-w"),
        ("plugins/kit/manifest.json", 0o666, 0o644, "plugin-directory", "chmod -R go-w"),
    ] {
        let path = dir.join(path);
        set_mode(&path, wrong);
        Report::of(program.site()).finds(check, "problem", mend);
        set_mode(&path, right);
    }
    Report::of(program.site()).is_well();
    program.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_certificate_is_found() {
    let program = well().await;
    let tls = program.site().path().join("tls");
    let put = |pem: &str, key: &str| {
        fs::write(tls.join("key.pem"), key).unwrap();
        fs::write(tls.join("cert.pem"), pem).unwrap();
        Report::of(program.site())
    };
    let pair = key();
    let old = made(&pair, |it| it.not_after = date_time_ymd(2020, 1, 1));
    let report = put(&old.pem, &old.key);
    report.finds("certificate-dates", "problem", "renew it");
    report.finds("certificate-used", "problem", "systemctl reload sysadmd");
    let early = made(&pair, |it| it.not_before = date_time_ymd(2090, 1, 1));
    put(&early.pem, &early.key).finds("certificate-dates", "problem", "set the clock");
    let elsewhere = rcgen::CertificateParams::new(["elsewhere.example".to_owned()]).unwrap();
    let elsewhere = made(&pair, |it| it.subject_alt_names = elsewhere.subject_alt_names);
    let report = put(&elsewhere.pem, &elsewhere.key);
    report.finds("certificate-name", "warning", "subjectAltName");
    report.finds("names", "warning", "access.hosts: hosts = [\"elsewhere.example\"]");
    let other = made(&key(), |_| ());
    put(&elsewhere.pem, &other.key).finds("certificate-key", "problem", "made together");
    put("garbage", &other.key).finds("certificate", "problem", "write the file again");
    program.stop().await;
}

#[tokio::test]
async fn a_daemon_out_of_reach_is_found() {
    let program = well().await;
    fs::remove_file(&program.socket).unwrap();
    let report = Report::of(program.site());
    report.finds("socket", "problem", "systemctl restart sysadmd");
    report.finds("daemon", "problem", "systemctl restart sysadmd");
    program.stop().await;
    let site = Site::new().spawn().await.kill().await;
    assert!(site.socket().exists(), "a killed daemon leaves its socket");
    let report = Report::of(&site);
    report.finds("daemon", "problem", "systemctl start sysadmd");
    assert!(report.said.to_string().contains("left from one that was killed"));
    let site = site.spawn().await.stop().await;
    let report = Report::of(&site);
    report.finds("socket", "problem", "systemctl start sysadmd");
    report.finds("daemon", "problem", "systemctl start sysadmd");
    fs::write(site.path().join("sysadmd.toml"), "listen = [").unwrap();
    Report::of(&site).finds("configuration", "problem", "sysadmd --check --config");
}

#[test]
fn before_the_first_start_that_alone_is_the_problem() {
    let site = Site::new();
    fs::write(site.path().join("sysadmd.toml"), "listen = []\n").unwrap();
    let report = Report::of(&site);
    report.finds("daemon", "problem", "--state-dir DIR");
    assert_eq!(report.said["problems"], 1, "{:#}", report.said);
}

#[tokio::test]
async fn a_limit_on_open_files_and_missing_password_rules_are_found() {
    let mut site = Site::new();
    site.open_files = Some(1024);
    site.settings =
        "[access]\npam_service = 'not-there'\npam_helper = '/nowhere/sysadmd-pam'\n".to_owned();
    let program = site.spawn().await;
    set_mode(program.site().path(), 0o711);
    let report = Report::of(program.site());
    report.finds("open-files", "warning", "LimitNOFILE=12128");
    report.finds("passwords", "warning", "access.pam_helper");
    report.is_well();
    program.stop().await;
}

#[tokio::test]
async fn plugins_that_do_not_serve_are_found() {
    let site = Site::new().with_kit().with_plugin(manifest("bad", &["crash-loop", "10"]));
    let broken = site.plugins().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("manifest.json"), "{").unwrap();
    let program = site.spawn().await;
    program.plugin_is("bad", "quarantined").await;
    let report = Report::of(program.site());
    report.finds("plugins", "problem", "sysadmctl plugins restart bad");
    report.finds("plugins", "problem", "sysadmctl plugin check");
    program.stop().await;
}

#[tokio::test]
async fn a_changed_record_of_the_audit_trail_is_found() {
    let program = well().await;
    program.token("viewer").await;
    let db = Connection::open(program.site().path().join("sysadmd.db")).unwrap();
    let changed = db.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 1", []).unwrap();
    db.close().unwrap();
    assert_eq!(changed, 1);
    Report::of(program.site()).finds("audit-trail", "problem", "compare with a backup");
    program.stop().await;
}
