//! A machine with a systemd of its own as its first process: services are started, stopped and
//! watched over its message bus, accounts are made, and the machine is turned off.
//!
//! What the test changes in it goes to memory and ends with it.

use std::fs;

use kit::client::{SysAdmClient, Target};
use kit::lab::{Lab, must, wait_for};
use serde_json::{Value, json};

use crate::follower::{Follower, told, told_of};
use crate::it::harness::{Site, binary, until};
use crate::machine::{Machine, root};
use crate::run;

const SETTINGS: &str = "[plugins.config.system]\nlook_s = 1\n\
    [plugins.config.system.conditions.unit-failed]\nclear_s = 0\n\
    [plugins.config.system.conditions.clock-unsynchronized]\nfor_s = 0\n\
    [alerts.\"system.unit-failed\"]\nfor_s = 0\nclear_for_s = 0\n\
    [sinks.journal]\nkind = \"journal\"\nclasses = [\"system.unit-failed\"]\n\
    [sinks.log]\nkind = \"syslog\"\nclasses = [\"system.unit-failed\"]\n\
    [sinks.mail]\nkind = \"mail\"\nto = [\"root\"]\nclasses = [\"system.unit-failed\"]\n";
const UNITS: [(&str, &str); 3] = [
    (
        "good",
        "[Unit]\nDescription=A good one\n[Service]\nExecStart=/bin/sleep 1000\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
    ("bad", "[Unit]\nDescription=A bad one\n[Service]\nType=oneshot\nExecStart=/bin/false\n"),
    (
        "sysadmd",
        "[Unit]\nDescription=The daemon\n[Service]\nExecStart=/usr/local/bin/sysadmd \
         --config /site/sysadmd.toml --state-dir /site --listen 127.0.0.1:0\n",
    ),
];

/// Of an account that is made in it.
const PASSWORD: &str = "pass: 'word'";

/// The machine with the daemon in it.
struct Booted {
    machine: Machine,
    site: Site,
}

impl Booted {
    /// Boots it and starts the daemon in it.
    fn boot() -> Self {
        let mut site = Site::new();
        (site.system, site.settings) = (true, SETTINGS.to_owned());
        fs::write(site.path().join("sysadmd.toml"), site.toml()).expect("the configuration");
        let mut options = vec![
            "--volatile=overlay".to_owned(),
            format!("--bind-ro={}:/usr/local/bin/sysadmd", binary().display()),
            format!("--bind={}:/site", site.path().display()),
        ];
        for (name, unit) in UNITS {
            let file = site.path().join(format!("{name}.service"));
            fs::write(&file, unit).expect("a unit");
            let place = format!("/etc/systemd/system/{name}.service");
            options.push(format!("--bind-ro={}:{place}", file.display()));
        }
        let machine = Machine::boot(&root(), "sysadmd-test", &options);
        machine.inside(&["systemctl", "start", "sysadmd"]);
        Self { machine, site }
    }

    fn first(&self) -> Option<u32> {
        self.machine.first()
    }

    fn inside(&self, words: &[&str]) -> String {
        self.machine.inside(words)
    }

    async fn admin(&self) -> SysAdmClient {
        let socket = self.site.socket();
        until("the daemon's socket", async || socket.exists()).await;
        let connected = SysAdmClient::connect(Target::Unix(socket)).await;
        connected.expect("root is let in")
    }
}

async fn services(client: &mut SysAdmClient, action: &str, names: Value) -> Value {
    let args = json!({"action": action, "services": names});
    client.call("sysadm", "services", args).await.expect("an answer")
}

async fn row(client: &mut SysAdmClient, name: &str) -> Value {
    let args = json!({"action": "list_services"});
    let mut listed = client.call("sysadm", "services", args).await.expect("a list");
    listed["services"][name].take()
}

#[test]
fn services_accounts_and_the_end_of_a_real_machine() {
    let lab = Lab::enter("booted");
    let mut machine = Booted::boot();
    run(async {
        let mut admin = machine.admin().await;
        until("the plugin and systemd's services", async || {
            let listed = admin.call("system", "services", json!({})).await;
            listed.is_ok_and(|listed| listed.to_string().contains("\"good\""))
        })
        .await;
        let changes = machine.admin().await;
        let mut follower =
            Follower::new(changes, "services", "system.service.changed", "name").await;
        services_do_as_they_are_told(&mut admin).await;
        follower.check().await;
        a_failure_is_told_once(&machine, &mut admin).await;
        people_are_told(&machine).await;
        follower.check().await;
        the_bus_goes_and_comes_back(&machine, &mut admin).await;
        follower.check().await;
        accounts_are_made_and_removed(&machine, &mut admin).await;
        what_else_changes_is_noticed(&machine, &mut admin).await;
        let off = admin.call("sysadm", "systemmanager", json!({"action": "halt"})).await;
        assert_eq!(off, Ok(json!({"halt": {"response": "true"}})));
        drop((admin, follower));
    });
    wait_for("the machine to be off", || machine.machine.is_off());
    drop((machine, lab));
}

async fn services_do_as_they_are_told(admin: &mut SysAdmClient) {
    what_there_is_is_listed(admin).await;
    what_cannot_be_done_says_why(admin).await;
    done(admin, "restart", "good.service", "services_restarted").await;
    done(admin, "enable", "good", "services_enabled").await;
    assert_eq!(row(admin, "good").await["is_enabled"], "true");
    done(admin, "disable", "good", "services_disabled").await;
    assert_eq!(row(admin, "good").await["is_enabled"], "false");
    done(admin, "stop", "good", "services_stopped").await;
    assert_eq!(row(admin, "good").await["is_running"], "false");
}

async fn done(admin: &mut SysAdmClient, action: &str, name: &str, answer: &str) {
    assert_eq!(services(admin, action, json!(name)).await, json!({ answer: [name] }));
}

async fn what_there_is_is_listed(admin: &mut SysAdmClient) {
    let listed = admin.call("rpc", "query", json!("")).await.expect("the methods");
    assert_eq!(listed["sysadm/services"], "read/write");
    let expected = json!({
        "name": "good", "tag": "", "path": "/etc/systemd/system/good.service",
        "description": "A good one", "is_enabled": "false", "is_running": "false",
        "state": "inactive", "unit": "good.service",
    });
    assert_eq!(row(admin, "good").await, expected);
}

async fn what_cannot_be_done_says_why(admin: &mut SysAdmClient) {
    let started = services(admin, "start", json!(["good", "nosuch", "a b; reboot\n"])).await;
    assert_eq!(started["services_started"], json!(["good"]));
    let said = |name: &str| started["errors"][name].as_str().unwrap_or_default().to_owned();
    assert!(said("nosuch").contains("not found") && said("a b; reboot\n").contains("name"));
    assert_eq!(row(admin, "good").await["is_running"], "true");
    let nothing = services(admin, "enable", json!(["bad"])).await;
    assert_eq!(nothing["services_enabled"], json!([]));
    let refused = admin.call("sysadm", "services", json!({"action": "start"})).await;
    assert_eq!(refused.expect_err("no names")["code"], "400");
}

async fn a_failure_is_told_once(machine: &Booted, admin: &mut SysAdmClient) {
    let failed = services(admin, "start", json!("bad")).await;
    assert_eq!(failed["services_started"], json!([]));
    assert!(failed["errors"]["bad"].as_str().is_some_and(|it| it.contains("failed")), "{failed}");
    services(admin, "start", json!("bad")).await;
    until("it is raised", async || told(admin, "/services/bad").await == ["raised"]).await;
    let conditions = admin.call("system", "conditions", json!({})).await.expect("a list");
    let mut all = conditions["conditions"].as_array().expect("conditions").iter();
    let bad = all.find(|row| row["subject"] == "/services/bad").expect("it is listed");
    assert_eq!((&bad["condition"], &bad["priority"]), (&json!("unit-failed"), &json!(6)));
    machine.inside(&["systemctl", "reset-failed", "bad"]);
    until("it is cleared", async || told(admin, "/services/bad").await == ["raised", "cleared"])
        .await;
}

/// Once that it failed and once that this is over: in the journal, in the system log, and in the
/// letter box of root, where the machine's own mail system has put it.
async fn people_are_told(machine: &Booted) {
    let said = |words: &[&str]| {
        let shown = machine.inside(words);
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let journal = || {
        let kind = "SYSADM_ALERT_KIND=system.unit-failed";
        let states = ["journalctl", "-q", "-o", "cat", "--output-fields=SYSADM_ALERT_STATE", kind];
        said(&states)
    };
    until("the journal has both", async || journal().len() >= 2).await;
    assert_eq!(journal(), ["open", "closed"]);
    let log = || said(&["journalctl", "-q", "-o", "cat", "-t", "sysadmd", "_TRANSPORT=syslog"]);
    until("the system log has both", async || log().len() >= 2).await;
    let lines = log();
    assert!(lines[0].starts_with("6 - Critical: ") && lines[1].starts_with("Over: "), "{lines:?}");
    let mail = || machine.inside(&["cat", "/var/mail/root"]);
    let letters = |text: &str| text.lines().filter(|line| line.starts_with("From ")).count();
    until("root has both", async || letters(&mail()) >= 2).await;
    let mail = mail();
    assert_eq!(letters(&mail), 2, "{mail}");
    assert!(
        mail.contains("\nTo: root\n") && mail.contains("\nX-Sysadmd-Kind: system.unit-failed\n")
    );
}

async fn the_bus_goes_and_comes_back(machine: &Booted, admin: &mut SysAdmClient) {
    machine.inside(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    until("the bus is missed", async || {
        let answer = admin.call("sysadm", "services", json!({"action": "list_services"})).await;
        answer.is_err_and(|refused| refused["code"] == "503")
    })
    .await;
    // systemd starts the good one meanwhile, and says it to nobody.
    machine.inside(&["systemctl", "start", "good"]);
    machine.inside(&["systemctl", "start", "dbus.socket", "dbus.service"]);
    until("the bus is back and what was missed is known", async || {
        let answer = admin.call("system", "services", json!({})).await.expect("a list");
        let rows = answer["services"].as_array().expect("rows");
        rows.iter().any(|row| row["name"] == "good" && row["active"] == "active")
    })
    .await;
    assert_eq!(services(admin, "stop", json!("good")).await, json!({"services_stopped": ["good"]}));
}

/// Asks for a change of accounts that must be made.
async fn changed(admin: &mut SysAdmClient, args: Value) {
    let answer = admin.call("sysadm", "users", args.clone()).await;
    assert_eq!(answer, Ok(json!({"result": "success"})), "{args}");
}

async fn shown(admin: &mut SysAdmClient, action: &str) -> Value {
    let answer = admin.call("sysadm", "users", json!({ "action": action })).await;
    answer.expect("they are shown")
}

async fn accounts_are_made_and_removed(machine: &Booted, admin: &mut SysAdmClient) {
    let shadow = an_account_is_made(machine, admin).await;
    changed(admin, json!({"action": "groupadd", "name": "some", "users": "somebody"})).await;
    assert_eq!(shown(admin, "groupshow").await["some"]["users"], json!(["somebody"]));
    let change =
        json!({"action": "usermod", "name": "somebody", "newname": "other", "password": "new"});
    changed(admin, change).await;
    assert_eq!(shown(admin, "usershow").await["other"]["comment"], "Some Body");
    assert_ne!(machine.inside(&["getent", "shadow", "other"]), shadow.replace("somebody", "other"));
    changed(admin, json!({"action": "userdelete", "name": "other"})).await;
    assert_eq!(machine.inside(&["getent", "passwd", "other"]), "");
    assert_eq!(machine.inside(&["ls", "-d", &format!("{}/somebody", "/home")]), "");
    the_password_is_nowhere(machine);
}

/// Returns its line in the file of passwords.
async fn an_account_is_made(machine: &Booted, admin: &mut SysAdmClient) -> String {
    let add = json!({"action": "useradd", "name": "somebody", "password": PASSWORD,
                     "comment": "Some Body", "shell": "/bin/sh"});
    changed(admin, add.clone()).await;
    let again = admin.call("sysadm", "users", add).await.expect_err("it is there already");
    assert!(again["error"].to_string().contains("already exists"), "{again}");
    let shadow = machine.inside(&["getent", "shadow", "somebody"]);
    assert!(shadow.starts_with("somebody:$"), "no password: {shadow}");
    assert!(machine.inside(&["ls", "-ld", &format!("{}/somebody", "/home")]).contains("somebody"));
    shadow
}

/// Not in the daemon's database, nor in any other file of its directory.
fn the_password_is_nowhere(machine: &Booted) {
    let files = fs::read_dir(machine.site.path()).expect("the daemon's directory");
    for file in files.flatten().filter(|file| file.path().is_file()) {
        let bytes = fs::read(file.path()).unwrap_or_default();
        let found = bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
        assert!(!found, "the password stands in {}", file.path().display());
    }
}

/// The machine has the clock of the one that the test runs on, and nobody changes that. Returns how
/// urgent a new name is beside it.
async fn urgency_of_the_clock(machine: &Booted, admin: &mut SysAdmClient) -> &'static str {
    let asked = ["timedatectl", "show", "--property=NTPSynchronized", "--value"];
    let (expected, urgency): (&[&str], _) = match machine.inside(&asked).trim() {
        "no" => (&["raised"], "4 - Warning"),
        "yes" => (&[], "3 - Warning"),
        other => panic!("timedatectl says {other:?}"),
    };
    until("the clock is judged", async || {
        told_of(admin, "/host", "clock-unsynchronized").await == expected
    })
    .await;
    urgency
}

async fn what_else_changes_is_noticed(machine: &Booted, admin: &mut SysAdmClient) {
    machine.inside(&["touch", "/run/reboot-required"]);
    until("a restart is required", async || {
        let state = admin.call("system", "state", json!({})).await.expect("a state");
        state["updates"]["status"] == "rebootrequired"
    })
    .await;
    machine.inside(&["rm", "/run/reboot-required"]);
    let all = ["raised", "cleared"];
    until("not any more", async || told_of(admin, "/host", "reboot-required").await == all).await;
    let urgency = urgency_of_the_clock(machine, admin).await;
    let mut classic = machine.admin().await;
    classic.subscribe(json!("system-state")).await.expect("subscribed");
    let first = machine.first().expect("the machine runs").to_string();
    must("nsenter", "util-linux", &["-t", &first, "-u", "--", "hostname", "renamed"]);
    loop {
        let event = classic.event().await;
        if event["args"]["hostname"] == "renamed" {
            assert_eq!(event["args"]["hostnamechanged"], "true");
            assert_eq!(event["args"]["priority"], urgency);
            return;
        }
    }
}
