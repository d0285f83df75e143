//! The plugin `containers` on a Docker Engine of the test's own: what happens is told and listed, and
//! what happens while nobody hears it is found.

use std::process::Command;

use kit::client::SysAdmClient;
use kit::lab::wait_for;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::engine::Dockerd;
use crate::it::harness::{Program, Site, until};
use crate::run;

async fn daemon(engine: &Dockerd) -> (Program, SysAdmClient) {
    let mut site = Site::new();
    (site.containers, site.settings) = (true, engine.settings());
    let program = site.spawn().await;
    program.ready("containers").await;
    let admin = program.admin().await;
    (program, admin)
}

pub(crate) async fn list(admin: &mut SysAdmClient, what: &str, name: &str) -> Vec<Value> {
    let answer = admin.call("containers", what, json!({})).await.expect("a list");
    answer[name].as_array().expect("rows").clone()
}

/// Waits until a row of a list is in this state.
pub(crate) async fn is(
    admin: &mut SysAdmClient,
    (what, list_name): (&str, &str),
    name: &str,
    state: &str,
) -> Value {
    let mut found = Value::Null;
    until(&format!("{name} is {state}"), async || {
        let rows = list(admin, what, list_name).await;
        found = rows.into_iter().find(|row| row["name"] == name).unwrap_or_default();
        found["state"] == state
    })
    .await;
    found
}

pub(crate) const CONTAINERS: (&str, &str) = ("list", "containers");
pub(crate) const SERVICES: (&str, &str) = ("services", "services");
pub(crate) const STACKS: (&str, &str) = ("stacks", "stacks");
pub(crate) const NODES: (&str, &str) = ("nodes", "nodes");

/// What was told of something, oldest first: class without its kind, state and priority.
async fn told(admin: &mut SysAdmClient, kind: &str, name: &str) -> Vec<(String, String, u64)> {
    events(admin, kind, name)
        .await
        .iter()
        .map(|event| {
            let class = event["class"].as_str().expect("a class");
            let verb = class.rsplit('.').next().unwrap_or_default().to_owned();
            let state = event["data"]["state"].as_str().expect("a state").to_owned();
            (verb, state, event["priority_num"].as_u64().expect("a priority"))
        })
        .collect()
}

pub(crate) async fn events(admin: &mut SysAdmClient, kind: &str, name: &str) -> Vec<Value> {
    let question = json!({"filter": {"classes": [format!("{kind}.*")]}, "limit": 1000});
    let page = admin.call("events", "list", question).await.expect("a page");
    let events = page["events"].as_array().expect("events").iter();
    events.filter(|event| event["data"]["name"] == name).cloned().collect()
}

/// The same when the last of it says this state: what is listed is told a moment later.
async fn told_until(
    admin: &mut SysAdmClient,
    (kind, name): (&str, &str),
    state: &str,
) -> Vec<(String, String, u64)> {
    let mut all = Vec::new();
    until(&format!("it is told that {name} is {state}"), async || {
        all = told(admin, kind, name).await;
        all.last().is_some_and(|(_, last, _)| last == state)
    })
    .await;
    all
}

fn steps(told: &[(String, String, u64)]) -> Vec<(&str, &str, u64)> {
    told.iter().map(|(verb, state, priority)| (verb.as_str(), state.as_str(), *priority)).collect()
}

pub(crate) fn ctl(program: &Program, words: &[&str]) -> String {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
    ctl.arg("--socket").arg(&program.socket).args(words);
    let output = ctl.output().expect("sysadmctl starts");
    let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{words:?}: {}", said.join("\n"));
    said[0].clone().into_owned()
}

const SHOP: [&str; 4] =
    ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];

#[test]
fn a_life_in_an_engine_is_told_listed_and_read() {
    let engine = Dockerd::up(&[]);
    run(async {
        let (program, mut admin) = daemon(&engine).await;
        is(&mut admin, NODES, "lab", "Deployed").await;
        let script = "echo hello; echo trouble >&2; sleep 3600";
        let id = engine.run("shop_web_1", &SHOP, &["/bin/busybox", "sh", "-c", script]);
        let row = is(&mut admin, CONTAINERS, "shop_web_1", "Running").await;
        let uuid = row["uuid"].as_str().expect("a uuid");
        assert_eq!(uuid.replace('-', "")[..12], id[..12], "it begins like the id");
        is(&mut admin, SERVICES, "web", "Running").await;
        is(&mut admin, STACKS, "shop", "Running").await;

        engine.must(&["pause", "shop_web_1"]);
        engine.must(&["unpause", "shop_web_1"]);
        engine.must(&["rename", "shop_web_1", "renamed"]);
        engine.must(&["stop", "-t", "0", "renamed"]);
        is(&mut admin, CONTAINERS, "renamed", "Stopped").await;
        is(&mut admin, STACKS, "shop", "Stopped").await;
        engine.must(&["rm", "renamed"]);
        until("the stack is gone", async || list(&mut admin, "stacks", "stacks").await.is_empty())
            .await;

        let then = told_until(&mut admin, ("container", "renamed"), "Terminated").await;
        let stack = told_until(&mut admin, ("stack", "shop"), "Terminated").await;
        let first = told(&mut admin, "container", "shop_web_1").await;
        let (update, gone) = ("update", ("delete", "Terminated", 1));
        let wanted = [
            ("create", "Starting", 1),
            (update, "Running", 1),
            (update, "Stopped", 4),
            (update, "Running", 1),
        ];
        assert_eq!(steps(&first), wanted);
        let wanted =
            [(update, "Running", 1), (update, "Stopping", 1), (update, "Stopped", 1), gone];
        assert_eq!(steps(&then), wanted);
        assert_eq!(stack.first().map(|it| it.0.as_str()), Some("create"));
        let parents =
            events(&mut admin, "container", "renamed").await[0]["data"]["parents"].clone();
        let kinds = ["service", "stack", "node", "nodecluster"];
        for (parent, kind) in parents.as_array().expect("parents").iter().zip(kinds) {
            assert!(parent.as_str().expect("a text").contains(&format!("/{kind}/")), "{parents}");
        }
        fails(&engine, &mut admin).await;
        reads(&engine, &program);
        drop(admin);
        program.stop().await;
    });
}

/// Ends with errors, and starts that fail.
async fn fails(engine: &Dockerd, admin: &mut SysAdmClient) {
    engine.run("bad", &[], &["/bin/busybox", "sh", "-c", "exit 5"]);
    let row = is(admin, CONTAINERS, "bad", "Stopped with errors").await;
    assert_eq!(row["exit_code"], 5);
    let bad = told_until(admin, ("container", "bad"), "Stopped with errors").await;
    let ended = ("update", "Stopped with errors", 4);
    assert_eq!(steps(&bad), [("create", "Starting", 1), ("update", "Running", 1), ended]);
    let failed = engine.try_to(&["run", "-d", "--name", "never", crate::engine::IMAGE, "/nothing"]);
    assert!(!failed.status.success());
    is(admin, CONTAINERS, "never", "Start failed").await;
    until("it is told", async || {
        let told = told(admin, "container", "never").await;
        steps(&told).contains(&("update", "Start failed", 7))
    })
    .await;
    let never = told(admin, "container", "never").await;
    assert_eq!(steps(&never), [("create", "Starting", 1), ("update", "Start failed", 7)]);
    engine.must(&["create", "--name", "idle", crate::engine::IMAGE]);
    is(admin, CONTAINERS, "idle", "Stopped").await;
}

/// What people read.
fn reads(engine: &Dockerd, program: &Program) {
    let script = "echo hello; echo trouble >&2; exec /bin/busybox sleep 3600";
    engine.run("talks", &["-e", "PASSWORD=secret"], &["/bin/busybox", "sh", "-c", script]);
    wait_for("it to run", || {
        let all = ctl(program, &["containers", "list"]);
        all.lines().any(|line| line.starts_with("talks") && line.contains("Running"))
    });
    wait_for("its log", || ctl(program, &["containers", "logs", "talks"]).contains("trouble"));
    assert!(ctl(program, &["containers", "logs", "talks"]).contains("hello"));
    assert_eq!(ctl(program, &["containers", "logs", "talks", "--tail", "1"]).lines().count(), 1);
    assert!(
        ctl(program, &["containers", "logs", "talks", "--since", "2100-01-01T00:00:00Z"])
            .is_empty()
    );
    assert!(ctl(program, &["containers", "stats", "talks"]).contains('%'));
    assert!(ctl(program, &["containers", "show", "talks"]).contains("PASSWORD"));
    assert!(ctl(program, &["containers", "engines"]).contains("Deployed"));
    assert!(ctl(program, &["services"]).contains("talks"));
    assert!(!ctl(program, &["events", "list"]).contains("secret"));
}

#[test]
fn what_happens_while_the_engine_is_away_is_told_once() {
    let mut engine = Dockerd::up(&["--live-restore"]);
    run(async {
        let script = "/bin/busybox sleep 2; exit 5";
        let (program, mut admin) = daemon(&engine).await;
        is(&mut admin, NODES, "lab", "Deployed").await;
        let id = engine.run("ends", &[], &["/bin/busybox", "sh", "-c", script]);
        engine.run("stays", &[], &[]);
        is(&mut admin, CONTAINERS, "ends", "Running").await;
        let pid = engine.must(&["inspect", "-f", "{{.State.Pid}}", &id]);
        engine.end(Signal::SIGKILL);
        is(&mut admin, NODES, "lab", "Unreachable").await;
        let answer = admin.call("containers", "list", json!({})).await.expect("what was known");
        assert_eq!(answer["unreachable"][0]["engine"], "lab", "{answer}");
        wait_for("it to end", || Dockerd::has_ended(pid.parse().expect("a number")));
        engine.start();
        is(&mut admin, NODES, "lab", "Deployed").await;
        let row = is(&mut admin, CONTAINERS, "ends", "Stopped with errors").await;
        assert_eq!(row["exit_code"], 5);
        is(&mut admin, CONTAINERS, "stays", "Running").await;
        // What is listed is told a moment later; the engine's being there is told behind it.
        until("all is told", async || told(&mut admin, "node", "lab").await.len() == 3).await;
        let ended = events(&mut admin, "container", "ends").await;
        let ended: Vec<&Value> =
            ended.iter().filter(|it| it["data"]["state"] == "Stopped with errors").collect();
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert_eq!(ended[0]["data"]["reconciled"], true);
        assert_eq!(
            (&ended[0]["data"]["exit_code"], &ended[0]["priority_num"]),
            (&json!(5), &json!(7))
        );
        let node = told(&mut admin, "node", "lab").await;
        let (up, down) = (("update", "Deployed", 1), ("update", "Unreachable", 1));
        assert_eq!(steps(&node), [up, down, ("update", "Deployed", 5)]);
        drop(admin);
        program.stop().await;
    });
}

/// Whatever else is the first process of a container does not hear of TERM, and ends ten seconds later.
pub(crate) const ENDS_AT_ONCE: [&str; 4] =
    ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.1; done"];

#[test]
fn what_an_engine_that_was_killed_leaves_down_is_told() {
    let mut engine = Dockerd::new(&[]);
    run(async {
        let (program, mut admin) = daemon(&engine).await;
        // Nobody is there at first.
        is(&mut admin, NODES, "lab", "Unreachable").await;
        engine.start();
        engine.load();
        is(&mut admin, NODES, "lab", "Deployed").await;
        engine.run("down", &["--restart", "unless-stopped"], &ENDS_AT_ONCE);
        engine.run("up", &["--restart", "always"], &ENDS_AT_ONCE);
        is(&mut admin, CONTAINERS, "up", "Running").await;
        engine.end(Signal::SIGKILL);
        is(&mut admin, NODES, "lab", "Unreachable").await;
        engine.start();
        is(&mut admin, NODES, "lab", "Deployed").await;
        // What the engine has started again runs; what it has not is worth a word.
        is(&mut admin, CONTAINERS, "up", "Running").await;
        until("all is told", async || told(&mut admin, "node", "lab").await.len() == 4).await;
        let states: Vec<String> = ["up", "down"]
            .map(|name| engine.must(&["inspect", "-f", "{{.State.Running}}", name]))
            .to_vec();
        for (name, running) in ["up", "down"].iter().zip(&states) {
            let loud = events(&mut admin, "container", name).await;
            let loud = loud.iter().filter(|it| it["priority_num"].as_u64() >= Some(7)).count();
            assert_eq!(loud, usize::from(running == "false"), "{name} {running}");
        }
        drop(admin);
        program.stop().await;
    });
}

#[test]
fn one_that_flaps_is_one_alert_and_what_nobody_heard_is_found() {
    let engine = Dockerd::up(&[]);
    run(async {
        let (program, mut admin) = daemon(&engine).await;
        is(&mut admin, NODES, "lab", "Deployed").await;
        engine.run("flaps", &["--restart", "always"], &["/bin/busybox", "sh", "-c", "exit 1"]);
        let flapping = json!({"action": "list", "kind": "containers.flapping"});
        let mut alerts = Value::Null;
        until("it is an alert", async || {
            alerts = admin.call("rpc", "alerts", flapping.clone()).await.expect("alerts");
            alerts["alerts"][0]["state"] == "open"
        })
        .await;
        assert_eq!(alerts["alerts"][0]["priority"], 7, "{alerts}");
        let before = told(&mut admin, "container", "flaps").await.len();
        engine.must(&["rm", "-f", "flaps"]);
        until("it is over", async || {
            alerts = admin.call("rpc", "alerts", flapping.clone()).await.expect("alerts");
            alerts["alerts"].as_array().is_none_or(|all| all.iter().all(|it| it["state"] != "open"))
        })
        .await;
        let told = told(&mut admin, "container", "flaps").await;
        assert!(told.len() <= before + 3, "its ups and downs are told by the alert: {told:?}");
        let warnings = told.iter().filter(|(_, state, it)| state.contains("errors") && *it > 1);
        assert_eq!(warnings.count(), 1, "the first end is a warning, no other: {told:?}");

        // Much happens while nobody listens.
        engine.run("kept", &[], &[]);
        engine.run("removed", &[], &[]);
        is(&mut admin, CONTAINERS, "removed", "Running").await;
        let plugin = |action: &str| json!({"action": action, "id": "containers"});
        admin.call("rpc", "plugins", plugin("stop")).await.expect("it stops");
        engine.must(&["rm", "-f", "removed"]);
        engine.run("new", &[], &[]);
        engine.must(&["rename", "kept", "other"]);
        engine.must(&["restart", "-t", "0", "other"]);
        admin.call("rpc", "plugins", plugin("start")).await.expect("it starts");
        program.ready("containers").await;
        is(&mut admin, CONTAINERS, "new", "Running").await;
        let mut listed: Vec<String> = engine
            .must(&["ps", "-a", "--format", "{{.Names}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        listed.sort_unstable();
        until(&format!("{listed:?} are listed"), async || {
            let rows = list(&mut admin, "list", "containers").await;
            let names: Vec<&str> =
                rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
            names == listed
        })
        .await;
        drop(admin);
        program.stop().await;
    });
}
