//! What is changed through the plugin `containers`, on a Docker Engine of the test's own: started,
//! stopped, removed, alone and in the order in which a stack needs it; and what is refused.

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::containers::{CONTAINERS, ENDS_AT_ONCE, NODES, STACKS, ctl, events, is, list};
use crate::engine::{Dockerd, IMAGE};
use crate::it::harness::{Program, Site, until};
use crate::run;

/// A daemon with this engine and more of the plugin's settings.
async fn daemon(engine: &Dockerd, settings: &str) -> (Program, SysAdmClient) {
    let mut site = Site::new();
    let more = format!("[plugins.config.containers]\n{settings}\n");
    site.settings = engine.settings().replace("[plugins.config.containers]\n", &more);
    site.containers = true;
    let program = site.spawn().await;
    program.ready("containers").await;
    let mut admin = program.admin().await;
    is(&mut admin, NODES, "lab", "Deployed").await;
    (program, admin)
}

/// Runs a container of a service of the stack `shop`, which ends as soon as it is asked to.
fn member(engine: &Dockerd, service: &str, after: &str, options: &[&str]) {
    let labels = [
        "com.docker.compose.project=shop".to_owned(),
        format!("com.docker.compose.service={service}"),
        format!("com.docker.compose.depends_on={after}"),
    ];
    let mut words: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
    words.extend(options);
    engine.run(&format!("shop-{service}-1"), &words, &ENDS_AT_ONCE);
}

fn steps(answer: &Value) -> Vec<(&str, &str)> {
    let rows = answer["containers"].as_array().expect("rows").iter();
    rows.map(|row| (row["name"].as_str().unwrap(), row["step"].as_str().unwrap())).collect()
}

async fn change(admin: &mut SysAdmClient, verb: &str, args: Value) -> Value {
    admin.call("containers", verb, args).await.unwrap_or_else(|fault| panic!("{verb}: {fault:?}"))
}

#[test]
fn a_stack_is_stopped_and_started_in_order_and_that_is_no_alarm() {
    let engine = Dockerd::up(&[]);
    run(async {
        let (program, mut admin) = daemon(&engine, "").await;
        // By its name it would come last, and it has to come first.
        let well = ["--restart", "always", "--health-cmd", "/bin/busybox true"];
        let well: Vec<&str> = well.into_iter().chain(["--health-interval", "200ms"]).collect();
        member(&engine, "zdb", "", &well);
        member(&engine, "app", "zdb:service_healthy:false", &["--restart", "always"]);
        engine.run("alone", &[], &ENDS_AT_ONCE);
        is(&mut admin, STACKS, "shop", "Running").await;

        let dry = json!({"stack": "shop", "dry_run": true});
        let plan = change(&mut admin, "stop", dry).await;
        assert_eq!(steps(&plan), [("shop-app-1", "stop"), ("shop-zdb-1", "stop")]);
        assert_eq!(list(&mut admin, "stacks", "stacks").await[0]["state"], "Running");

        let stopped = change(&mut admin, "stop", json!({"stack": "shop"})).await;
        assert_eq!((steps(&stopped), &stopped["changed"]), (steps(&plan), &json!(2)));
        // What was done is listed when the answer is there.
        assert_eq!(list(&mut admin, "stacks", "stacks").await[0]["state"], "Stopped");
        let again = change(&mut admin, "stop", json!({"stack": "shop"})).await;
        assert_eq!(again["changed"], 0, "it is so already");

        let started = change(&mut admin, "start", json!({"stack": "shop"})).await;
        assert_eq!(steps(&started), [("shop-zdb-1", "start"), ("shop-app-1", "start")]);
        let order = "{{.State.StartedAt}} {{.State.Health.Status}}";
        let db = engine.must(&["inspect", "-f", order, "shop-zdb-1"]);
        let app = engine.must(&["inspect", "-f", "{{.State.StartedAt}}", "shop-app-1"]);
        assert!(db.ends_with("healthy") && db < app, "{db} before {app}");

        // Classic clients say the verb as an action.
        let args = json!({"action": "restart", "service": "app.shop", "timeout_s": 1});
        let restarted = admin.call("sysadm", "containers", args).await.expect("it restarts");
        assert_eq!(steps(&restarted), [("shop-app-1", "restart")]);
        for event in events(&mut admin, "container", "shop-app-1").await {
            assert!(event["priority_num"].as_u64() <= Some(1), "an alarm: {event}");
        }
        let alerts = admin.call("rpc", "alerts", json!({"action": "list"})).await.expect("alerts");
        assert_eq!(alerts["alerts"], json!([]), "stopped because somebody wanted it");

        one_by_one(&engine, &mut admin).await;
        by_people(&engine, &mut admin, &program).await;
        drop(admin);
        program.stop().await;
    });
}

/// A lone container, by its name and its uuid.
async fn one_by_one(engine: &Dockerd, admin: &mut SysAdmClient) {
    let row = is(admin, CONTAINERS, "alone", "Running").await;
    let uuid = row["uuid"].as_str().expect("a uuid").to_owned();
    change(admin, "pause", json!({"container": uuid})).await;
    let row = list(admin, "list", "containers").await;
    let phase = row.iter().find(|row| row["name"] == "alone").map(|row| row["phase"].clone());
    assert_eq!(phase, Some(json!("paused")));
    change(admin, "start", json!({"container": uuid})).await;
    is(admin, CONTAINERS, "alone", "Running").await;
    change(admin, "kill", json!({"container": "alone", "signal": "HUP"})).await;
    is(admin, CONTAINERS, "alone", "Running").await;
    let runs = admin.call("containers", "remove", json!({"container": "alone"})).await;
    assert_eq!(runs.expect_err("it runs")["code"], "409");
    let up = engine.must(&["inspect", "-f", "{{.State.Running}}", "alone"]);
    assert_eq!(up, "true");
}

/// The same by the command line.
async fn by_people(engine: &Dockerd, admin: &mut SysAdmClient, program: &Program) {
    let said = ctl(program, &["containers", "kill", "alone"]);
    assert_eq!(said, "alone: kill done\n");
    is(admin, CONTAINERS, "alone", "Stopped").await;
    assert_eq!(ctl(program, &["services", "stop", "alone"]), "alone: nothing to do\n");
    let job = ctl(program, &["containers", "remove", "--detach", "alone"]);
    let args = json!({"action": "wait", "id": job.trim()});
    let done = admin.call("rpc", "jobs", args).await.expect("a job");
    assert_eq!((&done["job"]["state"], &done["result"]["changed"]), (&json!("done"), &json!(1)));
    assert_eq!(done["job"]["resource"], "/containers/alone");
    let names = engine.must(&["ps", "-a", "--format", "{{.Names}}"]);
    assert!(!names.contains("alone"), "{names}");
    let gone = admin.call("containers", "start", json!({"container": "alone"})).await;
    assert_eq!(gone.expect_err("it is gone")["code"], "404");
}

#[test]
fn what_may_not_be_changed_is_not() {
    let engine = Dockerd::up(&[]);
    run(async {
        let settings = "protect = [\"db-*\"]\nadopt = \"labelled\"";
        let (program, mut admin) = daemon(&engine, settings).await;
        let labels = ["--label", "io.sysadmd.adopt=yes"];
        engine.run("db-1", &labels, &ENDS_AT_ONCE);
        engine.run("mine", &labels, &ENDS_AT_ONCE);
        engine.run("theirs", &[], &ENDS_AT_ONCE);
        engine.must(&[
            "run",
            "--name",
            "bad",
            "-d",
            "--label",
            labels[1],
            IMAGE,
            "/bin/busybox",
            "false",
        ]);
        is(&mut admin, CONTAINERS, "theirs", "Running").await;
        for (verb, name, named) in [
            ("stop", "db-1", "protect"),
            ("remove", "db-1", "protect"),
            ("stop", "theirs", "adopt"),
            ("pause", "bad", "does not run"),
        ] {
            let refused = admin.call("containers", verb, json!({"container": name})).await;
            let refused = refused.expect_err("it is refused");
            assert!(refused.to_string().contains(named), "{verb} {name}: {refused}");
        }
        // A viewer changes nothing, and a token only what it was made for.
        let scope = json!({"name": "one", "role": "operator", "scope": {
            "methods": ["containers/stop", "containers/start", "sysadm/containers"],
            "resources": ["/containers/mine"]}});
        let one = program.make_token(scope).await["token"].as_str().expect("a token").to_owned();
        let viewer = program.token("viewer").await;
        for (token, args, code) in [
            (&viewer, json!({"container": "mine"}), "403"),
            (&one, json!({"container": "theirs"}), "403"),
            (&one, json!({"service": "mine"}), "403"),
            (&one, json!({"container": "mine", "service": "theirs"}), "400"),
        ] {
            let mut client = program.remote(token).await;
            let refused = client.call("containers", "stop", args.clone()).await;
            assert_eq!(refused.expect_err("it is refused")["code"], code, "{args}");
            client.close().await;
        }
        assert_eq!(engine.must(&["ps", "--format", "{{.Names}}"]).lines().count(), 3);
        let mut client = program.remote(&one).await;
        let stopped = change(&mut client, "stop", json!({"container": "mine"})).await;
        assert_eq!(stopped["changed"], 1);
        client.close().await;
        audited(&mut admin).await;
        drop(admin);
        program.stop().await;
    });
}

/// What was done and what was refused is in the audit trail.
async fn audited(admin: &mut SysAdmClient) {
    until("it is in the trail", async || {
        let page = admin
            .call("rpc", "audit", json!({"action": "query", "newest_first": true}))
            .await
            .expect("a trail");
        let text = page.to_string();
        text.contains("containers/stop") && text.contains("forbidden")
    })
    .await;
}
