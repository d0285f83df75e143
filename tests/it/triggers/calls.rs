//! What a call does, and what is refused.

use serde_json::{Value, json};

use super::{events, get, kit, make, post, runs, triggers, until_ended};
use crate::harness::Site;
use crate::http;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_does_its_one_thing_for_whoever_has_it() {
    let (running, mut admin) = kit().await;
    let fire = json!({"class": "user.deploy", "message": "now", "data": {"release": 7}});
    let (id, url) =
        make(&mut admin, json!({"name": "deploy", "method": "events/fire", "args": fire})).await;
    let reply = post(&running, &format!("{url}?wait=20"), &[], "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["action"]["state"], "Success", "{answer}");
    assert_eq!((&answer["name"], &answer["url"]), (&json!("deploy"), &json!(url)));
    let run = answer["action"]["uuid"].as_str().unwrap();
    assert_eq!(
        reply.header("X-DockerCloud-Action-URI"),
        Some(&*format!("/api/audit/v1/action/{run}/"))
    );
    let fired = events(&mut admin, "user.deploy").await;
    assert_eq!(fired.len(), 1);
    assert_eq!((&fired[0]["message"], &fired[0]["data"]["release"]), (&json!("now"), &json!(7)));

    // Who fired it, and that it was called, is on record, the call first.
    let records = admin.call("rpc", "audit", json!({"action": "query"})).await.unwrap();
    let records = records["records"].as_array().unwrap();
    let of = |method: &str| records.iter().position(|it| it["method"] == method).unwrap();
    let (called, done) = (of("trigger/call"), of("events/fire"));
    assert!(called < done);
    let actor = format!("trigger:{id}");
    assert_eq!(
        (&records[called]["actor"], &records[done]["actor"]),
        (&json!(actor), &json!(actor))
    );
    assert_eq!(records[called]["origin"], "127.0.0.1 dockercloud");

    // And its state can be read with the URL alone.
    let status = get(&running, answer["status_uri"].as_str().unwrap()).await;
    assert_eq!((status.status, &status.json()["action"]["state"]), (200, &json!("Success")));
    let told = events(&mut admin, "trigger.called").await;
    assert_eq!((told.len(), &told[0]["data"]["result"]), (1, &json!("begun")));
    assert_eq!(events(&mut admin, "trigger.ended").await[0]["data"]["state"], "done");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_plugin_is_a_job_and_what_becomes_of_it_is_told() {
    let (running, mut admin) = kit().await;
    let (id, url) = make(&mut admin, json!({"method": "kit/sleep", "args": {"ms": 50}})).await;
    let reply = post(&running, &url, &[], "").await;
    assert_eq!((reply.status, &reply.json()["result"]), (202, &json!("begun")), "{reply:?}");
    let run = &until_ended(&mut admin, &id, 1).await[0];
    let job = admin.call("rpc", "jobs", json!({"action": "show", "id": run["job"]})).await.unwrap();
    assert_eq!(
        (&job["job"]["state"], &job["job"]["method"]),
        (&json!("done"), &json!("kit/sleep"))
    );
    assert_eq!(job["job"]["actor"], format!("trigger:{id}"));

    let fault = json!({"fault": {"kind": "conflict", "message": "no such luck"}});
    let (_, url) = make(&mut admin, json!({"method": "kit/fault", "args": fault})).await;
    let reply = post(&running, &format!("{url}?wait=20"), &[], "").await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert_eq!(
        (&reply.json()["error"], &reply.json()["action"]["state"]),
        (&json!("no such luck"), &json!("Failed"))
    );

    let commands = json!({"action": "run", "commands": [["/bin/sh", "-c", "echo from-a-trigger"]]});
    let (id, url) = make(&mut admin, json!({"method": "rpc/jobs", "args": commands})).await;
    let reply = post(&running, &format!("{url}?wait=20"), &[], "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let job = &until_ended(&mut admin, &id, 1).await[0]["job"];
    let log = admin.call("rpc", "jobs", json!({"action": "log", "id": job})).await.unwrap();
    assert_eq!(log["text"], "from-a-trigger\n");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_entitled_sees_the_same_as_for_a_url_that_is_none() {
    let (running, mut admin) = kit().await;
    let fire = json!({"method": "events/fire", "args": {"class": "user.x"}});
    let with = |more: Value| {
        let mut args = fire.clone();
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let unknown = "/api/app/v1/trigger/8e19bc92-173a-4c3a-a321-45f69bf3ca1f/call/";
    let nothing = post(&running, unknown, &[], "x").await;
    assert_eq!(nothing.status, 404, "{nothing:?}");
    let (deleted, url_deleted) = make(&mut admin, fire.clone()).await;
    triggers(&mut admin, "delete", json!({ "id": deleted })).await.unwrap();
    let (disabled, url_disabled) = make(&mut admin, fire.clone()).await;
    triggers(&mut admin, "disable", json!({ "id": disabled })).await.unwrap();
    let (_, url_elsewhere) = make(&mut admin, with(json!({"allow_from": ["192.0.2.0/24"]}))).await;
    let (_, url_signed) = make(&mut admin, with(json!({"signature": "github"}))).await;
    let (used, url_used) = make(&mut admin, with(json!({"max_calls": 1}))).await;
    assert_eq!(post(&running, &url_used, &[], "").await.status, 202);
    let wrong_service = url_used.replace("/trigger/", "/service/U/trigger/");
    for (what, url) in [
        ("deleted", &url_deleted),
        ("disabled", &url_disabled),
        ("network", &url_elsewhere),
        ("unsigned", &url_signed),
        ("used up", &url_used),
        ("wrong service", &wrong_service),
        ("no uuid", &"/api/app/v1/trigger/x/call/".to_owned()),
        ("number to who cannot sign", &format!("{url_signed}0/")),
    ] {
        let reply = post(&running, url, &[], "x").await;
        assert_eq!((reply.status, &reply.body), (404, &nothing.body), "{what}");
    }
    // Enabled again it is good again, and used up is used up after a restart, too.
    triggers(&mut admin, "enable", json!({ "id": disabled })).await.unwrap();
    assert_eq!(post(&running, &url_disabled, &[], "").await.status, 202);
    until_ended(&mut admin, &used, 1).await;
    drop(admin);
    let running = running.restart().await;
    let mut admin = running.admin().await;
    assert_eq!(post(&running, &url_used, &[], "").await.status, 404);
    assert_eq!(post(&running, &url_disabled, &[], "").await.status, 202);
    // Each first refusal of a minute is an event of its own, for the trigger that was meant.
    let refused = events(&mut admin, "trigger.refused").await;
    let reasons: Vec<String> = refused.iter().map(|it| it["data"]["reasons"].to_string()).collect();
    for why in ["unknown", "disabled", "network", "unsigned", "over"] {
        assert!(reasons.iter().any(|it| it.contains(why)), "{why}: {reasons:?}");
    }
    let records = admin.call("rpc", "audit", json!({"action": "query", "method": "trigger/call"}));
    let records = records.await.unwrap()["records"].to_string();
    assert!(records.contains("refused:not-found") && records.contains("network"), "{records}");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_begins_nothing() {
    let (running, mut admin) = kit().await;
    let fire = json!({"method": "events/fire", "args": {"class": "user.x"}, "burst": 1, "rate_per_min": 1});
    let (id, url) = make(&mut admin, fire).await;
    for end in ["0", "-1", "21", "99999999999999999999", "%31", "1e3", "two", "1"] {
        let reply = post(&running, &format!("{url}{end}/"), &[], "").await;
        assert_eq!(reply.status, 400, "{end}: {reply:?}");
    }
    assert_eq!(get(&running, &url).await.status, 405);
    assert_eq!(get(&running, &format!("{url}1/")).await.status, 404, "a number is no run");
    let long = http::request("POST", &url, &["Content-Length: 2000000".to_owned()], "");
    let long = String::from_utf8(long).unwrap().replace("Content-Length: 0\r\n", "");
    assert_eq!(http::over_tls(running.tls(), long.as_bytes()).await.status, 413);
    assert_eq!(post(&running, &format!("{url}?wait=61"), &[], "").await.status, 400);
    assert_eq!(runs(&mut admin, &id).await.len(), 0);
    // A dry run says what would be, and is a call like others for the rate.
    let dry = post(&running, &format!("{url}?dry_run=1"), &[], "").await;
    assert_eq!((dry.status, &dry.json()["result"]), (200, &json!("dry-run")));
    assert_eq!(dry.json()["plan"], json!([{"method": "events/fire", "args": {"class": "user.x"}}]));
    let often = post(&running, &url, &[], "").await;
    assert_eq!(often.status, 429, "{often:?}");
    let wait: u64 = often.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(runs(&mut admin, &id).await.len(), 0);
    assert_eq!(events(&mut admin, "user.x").await.len(), 0);
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_that_come_at_once_one_runs_and_one_waits_for_all() {
    let (running, mut admin) = kit().await;
    let sleep = json!({"method": "kit/sleep", "args": {"ms": 700}, "burst": 10});
    let (id, url) = make(&mut admin, sleep).await;
    let mut results = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let answer = post(&running, &url, &[], "").await.json();
        results.push(answer["result"].clone());
        ids.push(answer["action"]["uuid"].clone());
    }
    assert_eq!(results, ["begun", "waiting", "coalesced", "coalesced"]);
    assert!(ids[1] == ids[2] && ids[2] == ids[3] && ids[0] != ids[1]);
    let found = until_ended(&mut admin, &id, 2).await;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|run| run["state"] == "done"), "{found:?}");
    assert!(found[0]["started"].as_str() >= found[1]["ended"].as_str(), "one after the other");

    // What waits when its trigger is deleted never begins.
    assert_eq!(post(&running, &url, &[], "").await.json()["result"], "begun");
    assert_eq!(post(&running, &url, &[], "").await.json()["result"], "waiting");
    triggers(&mut admin, "delete", json!({ "id": id })).await.unwrap();
    let found = until_ended(&mut admin, &id, 4).await;
    assert_eq!(found[0]["state"], "cancelled", "{found:?}");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_interval_is_refused_and_a_payload_that_is_not_meant_begins_nothing() {
    let (running, mut admin) = kit().await;
    let hub = json!({
        "method": "events/fire", "args": {"class": "user.push"}, "min_interval_s": 3600, "burst": 9,
        "match": {"/repository/repo_name": "me/web", "/push_data/tag": "v*"},
    });
    let (id, url) = make(&mut admin, hub).await;
    let push =
        |tag: &str| json!({"push_data": {"tag": tag}, "repository": {"repo_name": "me/web"}});
    for other in [push("latest").to_string(), "{".to_owned(), String::new(), "[".repeat(100_000)] {
        let reply = post(&running, &url, &[], &other).await;
        assert_eq!((reply.status, &reply.json()["result"]), (200, &json!("no-match")), "{reply:?}");
    }
    assert_eq!(post(&running, &url, &[], &push("v7").to_string()).await.status, 202);
    let soon = post(&running, &url, &[], &push("v8").to_string()).await;
    assert_eq!(soon.status, 429, "{soon:?}");
    until_ended(&mut admin, &id, 1).await;
    assert_eq!(events(&mut admin, "user.push").await.len(), 1);
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_daemons_death_and_is_done_once() {
    let program = Site::new().with_kit().spawn().await;
    program.ready("kit").await;
    let mut admin = program.admin().await;
    let sleep = json!({"method": "kit/sleep", "args": {"ms": 60_000}});
    let (id, url) = make(&mut admin, sleep).await;
    for result in ["begun", "waiting"] {
        let request = http::request("POST", &url, &[], "");
        let reply = http::over_tls(program.tls(), &request).await;
        assert_eq!(reply.json()["result"], result);
    }
    crate::harness::until("the first is a job", async || {
        runs(&mut admin, &id).await[1]["job"].is_string()
    })
    .await;
    drop(admin);
    let program = program.kill().await.spawn().await;
    let mut admin = program.admin().await;
    // The first was cut off, which is told and not repeated; the second begins now.
    crate::harness::until("the second has begun", async || {
        let runs = runs(&mut admin, &id).await;
        runs[1]["state"] == "failed" && runs[0]["job"].is_string()
    })
    .await;
    let jobs = admin.call("rpc", "jobs", json!({"action": "list"})).await.unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2, "{jobs}");
    drop(admin);
    program.stop().await;
}
