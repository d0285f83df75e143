//! What somebody learns of jobs that are not theirs, and what they can do to them.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::{end, jobs, start, until_state};
use crate::harness::{Running, Site};
use crate::http;

/// A viewer who may publish as well, and one who may run commands.
const ROLES: &str = r#"
[roles.publisher]
level = "viewer"
[[roles.publisher.grants]]
methods = ["kit/publish"]

[roles.runner]
level = "operator"
[[roles.runner.grants]]
methods = ["rpc/dispatcher:run"]
"#;

async fn started(settings: &str, manifest: Value) -> Running {
    let mut site = Site::new().with_plugin(manifest);
    settings.clone_into(&mut site.settings);
    let running = site.start().await;
    running.ready("kit").await;
    running
}

fn manifest() -> Value {
    kit::plugins::manifest("kit", &["good"])
}

async fn of(running: &Running, role: &str) -> SysAdmClient {
    running.remote(&running.token(role).await).await
}

async fn listed(client: &mut SysAdmClient) -> BTreeSet<String> {
    let listed = jobs(client, "list", json!({})).await.expect("a list");
    let jobs = listed["jobs"].as_array().expect("jobs").iter();
    jobs.map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
}

/// Which jobs these events are about.
fn about(events: &[Value]) -> BTreeSet<String> {
    let subjects = events.iter().filter_map(|event| event["subject"].as_str());
    subjects.filter_map(|subject| subject.strip_prefix("/jobs/")).map(str::to_owned).collect()
}

/// Reads up to `user.end`.
async fn heard(client: &mut SysAdmClient) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        let event = client.event().await["args"].take();
        if event["class"] == "user.end" {
            return heard;
        }
        heard.push(event);
    }
}

const EVERYTHING: [&str; 2] = ["job.*", "user.end"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_job_those_hear_who_see_it_live_and_later() {
    let running = started(ROLES, manifest()).await;
    let mut admin = running.admin().await;
    let roles = ["viewer", "publisher", "operator", "runner", "admin"];
    let mut clients = Vec::new();
    for role in roles {
        let mut client = of(&running, role).await;
        let wanted = json!({"sub": "j", "filter": {"classes": EVERYTHING}});
        client.subscribe(wanted).await.unwrap();
        clients.push(client);
    }
    let draft = json!({"class": "kit.event"});
    let mut ids = Vec::new();
    for work in [
        json!({"method": "kit/sleep", "args": {"ms": 700}}),
        json!({"method": "kit/log", "args": {"message": "m"}}),
        json!({"method": "kit/publish", "args": {"draft": draft}}),
        json!({"commands": [["/bin/echo", "canary-of-output"]], "process_id": "p"}),
    ] {
        let id = start(&mut admin, work).await;
        end(&mut admin, &id).await;
        ids.push(id);
    }
    admin.call("events", "fire", json!({"class": "user.end"})).await.unwrap();
    for (role, client) in roles.into_iter().zip(&mut clients) {
        let seen: BTreeSet<String> = match role {
            "viewer" => ids[..1].to_vec(),
            "publisher" => vec![ids[0].clone(), ids[2].clone()],
            "operator" => ids[..3].to_vec(),
            _ => ids.clone(),
        }
        .into_iter()
        .collect();
        assert_eq!(listed(client).await, seen, "{role}");
        let live = heard(client).await;
        assert_eq!(about(&live), seen, "{role} live");
        let progress: Vec<Value> =
            live.iter().filter(|event| event["class"] == "job.progress").cloned().collect();
        assert!(about(&progress).contains(&ids[0]), "{role}: {progress:?}");
        let tells = live.iter().any(|event| event.to_string().contains("canary-of-output"));
        assert_eq!(tells, ["runner", "admin"].contains(&role), "{role}: what a command printed");
        let again = json!({"sub": "j", "from": "oldest", "filter": {"classes": EVERYTHING}});
        client.subscribe(again).await.unwrap();
        assert_eq!(about(&heard(client).await), seen, "{role} replayed");
        let page = json!({"filter": {"classes": ["job.*"]}});
        let page = client.call("events", "list", page).await.unwrap();
        assert_eq!(about(page["events"].as_array().unwrap()), seen, "{role} in history");
    }
    drop((admin, clients));
    running.stop().await;
}

#[tokio::test]
async fn commands_that_wait_or_run_are_listed_for_those_who_see_them() {
    let running = started(ROLES, manifest()).await;
    let mut admin = running.admin().await;
    let commands = json!({"commands": [["/bin/sleep", "1000"]], "process_id": "p"});
    let id = start(&mut admin, commands).await;
    until_state(&mut admin, &id, "running").await;
    for (role, sees) in [("operator", false), ("runner", true), ("admin", true)] {
        let mut client = of(&running, role).await;
        let listed = client.call("rpc", "dispatcher", json!({"action": "list"})).await.unwrap();
        assert_eq!(listed.to_string().contains("/bin/sleep"), sees, "{role}: {listed}");
        assert_eq!(jobs(&mut client, "log", json!({"id": id})).await.is_ok(), sees, "{role}");
    }
    jobs(&mut admin, "abort", json!({"id": id})).await.unwrap();
    end(&mut admin, &id).await;
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_two_tokens_bear_opens_nothing_to_the_other() {
    let running = started("", manifest()).await;
    let made = async |role: &str| {
        let made = running.make_token(json!({"name": "same", "role": role})).await;
        running.remote(made["token"].as_str().unwrap()).await
    };
    let (mut operator, mut viewer) = (made("operator").await, made("viewer").await);
    let work = json!({"method": "kit/log", "args": {"message": "m"}, "key": "k"});
    let id = start(&mut operator, work).await;
    end(&mut operator, &id).await;
    assert!(listed(&mut viewer).await.is_empty());
    for action in ["show", "wait", "log", "abort", "retry"] {
        let refusal = jobs(&mut viewer, action, json!({"id": id})).await.unwrap_err();
        assert_eq!(refusal["code"], "404", "{action}");
    }
    // A key is its client's own, too.
    let own = json!({"method": "kit/echo", "args": 1, "key": "k"});
    let made = jobs(&mut viewer, "run", own).await.unwrap();
    assert_eq!(made["new"], true, "{made}");
    drop((operator, viewer));
    running.stop().await;
}

#[tokio::test]
async fn a_viewer_ends_nobody_elses_job() {
    let running = started("", manifest()).await;
    let (mut first, mut second) = (of(&running, "viewer").await, of(&running, "viewer").await);
    let mut operator = of(&running, "operator").await;
    let sleep = json!({"method": "kit/sleep", "args": {"ms": 60_000}, "timeout_s": 600});
    let id = start(&mut first, sleep.clone()).await;
    jobs(&mut second, "show", json!({"id": id})).await.expect("it may be looked at");
    let refusal = jobs(&mut second, "abort", json!({"id": id})).await.unwrap_err();
    assert_eq!(refusal["code"], "403", "{refusal}");
    let shown = jobs(&mut first, "show", json!({"id": id})).await.unwrap();
    assert_eq!(shown["job"]["abort_asked"], Value::Null, "{shown}");
    jobs(&mut operator, "abort", json!({"id": id})).await.expect("an operator may");
    assert_eq!(end(&mut first, &id).await["job"]["state"], "aborted");
    let id = start(&mut first, sleep).await;
    jobs(&mut first, "abort", json!({"id": id})).await.expect("its own client may");
    end(&mut first, &id).await;
    drop((first, second, operator));
    running.stop().await;
}

#[tokio::test]
async fn a_declared_secret_of_a_job_is_written_nowhere() {
    let mut manifest = manifest();
    let methods = manifest["methods"].as_array_mut().unwrap();
    methods.iter_mut().find(|it| it["method"] == "kit/log").unwrap()["secrets"] = json!(["pin"]);
    let running = started("", manifest).await;
    let canary = "canary-4711";
    let args = json!({"message": "m", "pin": canary, "deep": [{"pin": canary}]});
    let run = json!({"action": "run", "method": "Kit/Log", "args": args});
    let mut admin = running.admin().await;
    let made = admin.call("rpc", "jobs", run.clone()).await.unwrap();
    end(&mut admin, made["job"]["id"].as_str().unwrap()).await;
    let mut viewer = of(&running, "viewer").await;
    assert_eq!(viewer.call("rpc", "jobs", run.clone()).await.unwrap_err()["code"], "403");
    let mut nobody = running.anonymous().await;
    assert_eq!(nobody.call("rpc", "jobs", run).await.unwrap_err()["code"], "401");
    let mut told = admin.call("events", "list", json!({})).await.unwrap().to_string();
    let trail = admin.call("rpc", "audit", json!({"action": "query"})).await.unwrap().to_string();
    assert!(trail.contains("Kit/Log") && trail.contains("[redacted]"), "{trail}");
    told += &trail;
    told += &jobs(&mut admin, "list", json!({})).await.unwrap().to_string();
    assert!(!told.contains(canary), "{told}");
    drop((admin, viewer, nobody));
    let site = running.stop().await;
    for name in ["sysadmd.db", "sysadmd.db-wal"] {
        let bytes = std::fs::read(site.path().join(name)).unwrap_or_default();
        let found = bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
        assert!(!found, "{name}");
    }
}

#[tokio::test]
async fn what_waits_is_not_begun_for_somebody_who_may_not_have_it_done_any_more() {
    let mut running = started(ROLES, manifest()).await;
    let token = running.token("publisher").await;
    let mut client = running.remote(&token).await;
    let mut admin = running.admin().await;
    let holds = json!({"method": "kit/sleep", "args": {"ms": 60_000}, "locks": ["l"]});
    let holder = start(&mut admin, holds).await;
    until_state(&mut admin, &holder, "running").await;
    let work = |number: u32| {
        json!({"method": "kit/publish", "locks": ["l"],
        "args": {"draft": {"class": "kit.event", "data": {"n": number}}}})
    };
    let waits = start(&mut client, work(1)).await;
    drop((client, admin));
    // The administrator takes the grant from the role.
    let mut site = running.stop().await;
    site.settings = ROLES.replace("kit/publish", "kit/nothing");
    running = site.start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let ended = end(&mut admin, &waits).await;
    assert_eq!(ended["job"]["state"], "failed", "{ended}");
    assert_eq!(ended["job"]["error"]["kind"], "forbidden", "{ended}");
    let page = json!({"filter": {"classes": ["kit.event"]}});
    let page = admin.call("events", "list", page).await.unwrap();
    assert_eq!(page["events"], json!([]), "nothing was done");
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn whoever_waits_for_a_job_is_told_nothing_after_their_token_was_revoked() {
    let running = started("", manifest()).await;
    let made = running.make_token(json!({"name": "gone", "role": "viewer"})).await;
    let token = made["token"].as_str().unwrap();
    let mut client = running.remote(token).await;
    let work = json!({"method": "kit/sleep", "args": {"ms": 60_000}, "timeout_s": 600});
    let id = start(&mut client, work).await;
    let mut admin = running.admin().await;
    until_state(&mut admin, &id, "running").await;
    let ask = |action: &str| {
        let args = json!({"action": action, "id": id, "wait_s": 60});
        let login = [format!("Authorization: Bearer {token}")];
        let request = http::request("POST", "/rpc/jobs", &login, &args.to_string());
        let address = running.tls();
        async move { http::over_tls(address, &request).await.status }
    };
    let revoking = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let args = json!({"action": "revoke", "id": made["id"]});
        admin.call("rpc", "tokens", args).await.unwrap();
    };
    // Long before the minute is over: nobody here waits that long.
    let (waited, read, ()) = tokio::join!(ask("wait"), ask("log"), revoking);
    assert_eq!((waited, read), (401, 401));
    jobs(&mut admin, "abort", json!({"id": id})).await.unwrap();
    end(&mut admin, &id).await;
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn whoever_can_only_look_keeps_nobody_waiting() {
    let running = started(ROLES, manifest()).await;
    let nap = |more: Value| {
        let mut work = json!({"method": "kit/sleep", "args": {"ms": 1}});
        let all = work.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        work
    };
    let mut viewer = of(&running, "viewer").await;
    for more in [json!({"locks": ["tank"]}), json!({"queue": "q"})] {
        let refusal = jobs(&mut viewer, "run", nap(more)).await.unwrap_err();
        assert_eq!(refusal["code"], "403", "{refusal}");
    }
    for more in [json!({}), json!({"queue": "no_queue"}), json!({"locks": []})] {
        start(&mut viewer, nap(more)).await;
    }
    let mut operator = of(&running, "operator").await;
    let held = start(&mut operator, nap(json!({"locks": ["tank"], "queue": "q"}))).await;
    end(&mut operator, &held).await;
    let again = jobs(&mut viewer, "retry", json!({"id": held})).await.unwrap_err();
    assert_eq!(again["code"], "403", "what another's had is not had by retrying it: {again}");
    let work = json!({"method": "kit/publish", "locks": ["tank"],
        "args": {"draft": {"class": "kit.event"}}});
    start(&mut of(&running, "publisher").await, work).await;
    drop((viewer, operator));
    running.stop().await;
}

#[tokio::test]
async fn how_far_a_call_is_those_hear_who_may_make_it() {
    let mut manifest = manifest();
    let methods = manifest["methods"].as_array_mut().expect("methods");
    let sleep = methods.iter_mut().find(|method| method["method"] == "kit/sleep").expect("it");
    sleep["role"] = "operator".into();
    sleep["resource"] = "/naps/{name}".into();
    let roles = "[roles.napper]\nlevel = \"viewer\"\n[[roles.napper.grants]]\n\
                 methods = [\"kit/sleep\"]\nresources = [\"/naps/short\"]\n";
    let running = started(roles, manifest).await;
    let mut admin = running.admin().await;
    let listeners = [("viewer", 0), ("napper", 1), ("operator", 2), ("admin", 2)];
    let mut clients = Vec::new();
    for (role, _) in listeners {
        let mut client = of(&running, role).await;
        let wanted = json!({"sub": "c", "filter": {"classes": ["call.*", "user.end"]}});
        client.subscribe(wanted).await.unwrap();
        clients.push(client);
    }
    for name in ["short", "long"] {
        let args = json!({"ms": 400, "name": name});
        admin.call("kit", "sleep", args).await.expect("it sleeps");
    }
    admin.call("events", "fire", json!({"class": "user.end"})).await.unwrap();
    for ((role, count), client) in listeners.into_iter().zip(&mut clients) {
        let events = heard(client).await;
        let calls: BTreeSet<&str> =
            events.iter().filter_map(|event| event["data"]["call"]["resource"].as_str()).collect();
        assert_eq!(calls.len(), count, "{role}: {events:?}");
        assert!(count != 1 || calls.contains("/naps/short"), "{role}: {calls:?}");
    }
    drop((admin, clients));
    running.stop().await;
}
