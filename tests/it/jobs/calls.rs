//! Calls of plugins as jobs: states, progress, results, keys, locks, aborts, retries, rights.

use serde_json::{Value, json};

use super::{end, jobs, kit, start, until_state};
use crate::harness::{Site, until};

#[tokio::test]
async fn a_call_becomes_a_job_and_its_result_stays() {
    let (running, mut client) = kit().await;
    client.subscribe(json!({"sub": "j", "filter": {"classes": ["job.*"]}})).await.unwrap();
    let run = json!({"method": "Kit/Echo", "args": {"n": 1}});
    let made = jobs(&mut client, "run", run).await.unwrap();
    assert_eq!(made["new"], true);
    assert_eq!(made["job"]["method"], "kit/echo");
    let id = made["job"]["id"].as_str().unwrap().to_owned();
    let mut states = Vec::new();
    while states.len() < 3 {
        let event = client.event().await["args"].take();
        if event["class"] == "job.progress" {
            continue;
        }
        assert_eq!(event["subject"], format!("/jobs/{id}"));
        assert_eq!(event["data"]["job"]["id"], id);
        states.push((event["class"].clone(), event["data"]["job"]["state"].clone()));
    }
    let expected = [("job.queued", "queued"), ("job.started", "running"), ("job.finished", "done")];
    assert_eq!(states, expected.map(|(class, state)| (json!(class), json!(state))));
    let ended = end(&mut client, &id).await;
    assert_eq!((&ended["result"], &ended["job"]["state"]), (&json!({"n": 1}), &json!("done")));
    drop(client);
    let running = running.restart().await;
    let mut client = running.admin().await;
    let shown = jobs(&mut client, "show", json!({"id": id})).await.unwrap();
    assert_eq!((&shown["result"], &shown["job"]), (&json!({"n": 1}), &ended["job"]));
    assert_eq!(shown["work"], json!({"method": "kit/echo", "args": {"n": 1}}));
    let failed = json!({"method": "kit/fault", "args": {"fault": {"kind": "conflict", "message": "it is taken"}}});
    let id = start(&mut client, failed).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "failed");
    assert_eq!(ended["job"]["error"]["message"], "it is taken");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn progress_is_told_and_shown_while_it_runs() {
    let (running, mut client) = kit().await;
    client.subscribe(json!({"sub": "j", "filter": {"classes": ["job.progress"]}})).await.unwrap();
    let id = start(&mut client, json!({"method": "kit/sleep", "args": {"ms": 3000}})).await;
    let mut rate = Value::Null;
    while rate.is_null() {
        let event = client.event().await["args"].take();
        assert_eq!(event["data"]["id"], id);
        let progress = &event["data"]["progress"];
        assert_eq!((&progress["unit"], &progress["total"]), (&json!("ms"), &json!(3000)));
        assert!(progress["percent"].as_u64().unwrap() <= 100);
        rate = progress["rate_per_s"].clone();
    }
    let listed = jobs(&mut client, "list", json!({"states": ["running"]})).await.unwrap();
    assert_eq!(listed["jobs"][0]["progress"]["unit"], "ms");
    assert!(listed["jobs"][0]["progress"]["left_s"].is_u64(), "{listed}");
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["progress"]["percent"], 100);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn the_same_key_is_one_job_also_after_a_restart() {
    let (running, mut client) = kit().await;
    let draft = json!({"draft": {"class": "kit.event", "message": "once"}, "n": 1, "batch": 1});
    let run = json!({"method": "kit/publish", "args": draft, "key": "nightly 7"});
    let sent = [
        client.send("rpc", "jobs", with_action(&run, "run")).await,
        client.send("rpc", "jobs", with_action(&run, "run")).await,
        client.send("rpc", "jobs", with_action(&run, "run")).await,
    ];
    let mut ids = Vec::new();
    let mut new = 0;
    for id in &sent {
        let made = client.answer(id).await.unwrap();
        new += u32::from(made["new"] == true);
        ids.push(made["job"]["id"].clone());
    }
    assert_eq!(new, 1);
    ids.dedup();
    assert_eq!(ids.len(), 1);
    end(&mut client, ids[0].as_str().unwrap()).await;
    let mut other = run.clone();
    other["args"]["n"] = 2.into();
    let refusal = jobs(&mut client, "run", other).await.unwrap_err();
    assert_eq!(refusal["code"], "409", "{refusal}");
    drop(client);
    let running = running.restart().await;
    running.ready("kit").await;
    let mut client = running.admin().await;
    let again = jobs(&mut client, "run", run).await.unwrap();
    assert_eq!((&again["new"], &again["job"]["id"]), (&json!(false), &ids[0]));
    assert_eq!(again["job"]["state"], "done");
    let question = json!({"filter": {"classes": ["kit.event"]}});
    let log = client.call("events", "list", question).await.unwrap();
    assert_eq!(log["events"].as_array().unwrap().len(), 1, "it was done once");
    drop(client);
    running.stop().await;
}

fn with_action(args: &Value, action: &str) -> Value {
    let mut args = args.clone();
    args["action"] = action.into();
    args
}

#[tokio::test]
async fn locks_and_queues_let_one_at_a_time_and_in_order() {
    let (running, mut client) = kit().await;
    client
        .subscribe(json!({"sub": "j", "filter": {"classes": ["job.started", "job.finished"]}}))
        .await
        .unwrap();
    let script = "sleep 0.05";
    let mut ids = Vec::new();
    for number in 0..6 {
        let mut run = json!({"commands": [["/bin/sh", "-c", script]]});
        if number % 2 == 0 {
            run["locks"] = json!(["pool tank", "disk"]);
        } else {
            run["queue"] = "pkg_queue".into();
        }
        ids.push(start(&mut client, run).await);
    }
    let listed = client.call("rpc", "dispatcher", json!({"action": "list"})).await.unwrap();
    assert!(listed["jobs"]["pkg_queue"].is_object(), "{listed}");
    let mut order: [Vec<(String, String)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..12 {
        let event = client.event().await["args"].take();
        let id = event["data"]["job"]["id"].as_str().unwrap().to_owned();
        let at = ids.iter().position(|known| *known == id).unwrap();
        order[at % 2].push((id, event["class"].as_str().unwrap().to_owned()));
    }
    for (parity, order) in order.iter().enumerate() {
        let own = ids.iter().skip(parity).step_by(2);
        let expected: Vec<_> = own
            .flat_map(|id| {
                ["job.started", "job.finished"].map(|class| (id.clone(), class.to_owned()))
            })
            .collect();
        assert_eq!(*order, expected);
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn an_abort_says_what_it_means() {
    let (running, mut client) = kit().await;
    let lock = json!(["only"]);
    let runs = start(
        &mut client,
        json!({"method": "kit/sleep", "args": {"ms": 60_000}, "locks": lock, "timeout_s": 600}),
    )
    .await;
    let waits = start(&mut client, json!({"method": "kit/echo", "args": 1, "locks": lock})).await;
    until_state(&mut client, &runs, "running").await;
    let shown = jobs(&mut client, "show", json!({"id": waits})).await.unwrap();
    assert_eq!(
        (&shown["job"]["state"], &shown["job"]["queue_position"]),
        (&json!("queued"), &json!(0))
    );
    let aborted = jobs(&mut client, "abort", json!({"id": waits})).await.unwrap();
    assert_eq!((&aborted["abort"], &aborted["job"]["state"]), (&json!("done"), &json!("aborted")));
    // The plugin needs a moment until it has the call; it is cancelled whenever it has.
    let aborted = jobs(&mut client, "abort", json!({"id": runs})).await.unwrap();
    assert_eq!(
        (&aborted["abort"], &aborted["job"]["abort_asked"]),
        (&json!("asked"), &json!(true))
    );
    assert_eq!(end(&mut client, &runs).await["job"]["state"], "aborted");
    let again = jobs(&mut client, "abort", json!({"id": runs})).await.unwrap();
    assert_eq!(again["abort"], "refused");
    assert!(again["why"].as_str().unwrap().contains("aborted"), "{again}");
    let retried = jobs(&mut client, "retry", json!({"id": waits})).await.unwrap();
    let id = retried["job"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&retried["job"]["retry_of"], &retried["job"]["attempt"]),
        (&json!(waits), &json!(2))
    );
    assert_eq!(end(&mut client, &id).await["result"], 1);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn what_is_cut_off_says_so_and_what_waited_runs() {
    let (running, mut client) = kit().await;
    let sleep = json!({"method": "kit/sleep", "args": {"ms": 60_000}, "locks": ["a"]});
    let runs = start(&mut client, sleep).await;
    let commands = json!({"commands": [["/bin/sleep", "1000"]]});
    let command = start(&mut client, commands).await;
    let waits = start(&mut client, json!({"method": "kit/echo", "args": 7, "locks": ["a"]})).await;
    until_state(&mut client, &runs, "running").await;
    until_state(&mut client, &command, "running").await;
    drop(client);
    let running = running.restart().await;
    let mut client = running.admin().await;
    for id in [runs, command] {
        let ended = end(&mut client, &id).await;
        assert_eq!(ended["job"]["state"], "interrupted", "{ended}");
        assert_eq!(ended["job"]["resumable"], false);
        assert!(ended["job"]["error"]["hint"].is_string());
    }
    let ended = end(&mut client, &waits).await;
    assert_eq!((&ended["result"], &ended["job"]["state"]), (&json!(7), &json!("done")));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_plugin_that_dies_interrupts_its_jobs() {
    let (running, mut client) = kit().await;
    let id = start(&mut client, json!({"method": "kit/crash"})).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "interrupted");
    running.ready("kit").await;
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn two_slow_jobs_of_one_client_delay_nobody() {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    manifest["limits"]["calls"] = 4.into();
    let running = Site::new().with_plugin(manifest).start().await;
    running.ready("kit").await;
    let mut greedy = running.admin().await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(start(&mut greedy, json!({"method": "kit/sleep", "args": {"ms": 60_000}})).await);
    }
    until_state(&mut greedy, &slow[1], "running").await;
    let mut other = running.remote(&running.token("viewer").await).await;
    // Half of the plugin's places are left for calls, so this is answered while the slow ones run.
    assert_eq!(other.call("kit", "echo", json!(1)).await, Ok(json!(1)));
    let third = jobs(&mut greedy, "show", json!({"id": slow[2]})).await.unwrap();
    assert_eq!(third["job"]["state"], "queued", "half of the places are for jobs");
    for id in slow.iter().rev() {
        jobs(&mut greedy, "abort", json!({"id": id})).await.unwrap();
        assert_eq!(end(&mut greedy, id).await["job"]["state"], "aborted");
    }
    drop((greedy, other));
    running.stop().await;
}

#[tokio::test]
async fn jobs_are_seen_by_those_who_might_have_asked_for_them() {
    let (running, mut admin) = kit().await;
    let [viewer, operator] = ["viewer", "operator"];
    let mut viewer = running.remote(&running.token(viewer).await).await;
    let mut operator = running.remote(&running.token(operator).await).await;
    let look = start(&mut admin, json!({"method": "kit/echo", "args": 1})).await;
    let change = start(&mut operator, json!({"method": "kit/log", "args": {"message": "m"}})).await;
    let command = start(&mut admin, json!({"commands": [["/bin/true"]]})).await;
    for id in [&look, &change, &command] {
        end(&mut admin, id).await;
    }
    let seen = async |client: &mut kit::client::SysAdmClient| {
        let listed = jobs(client, "list", json!({})).await.unwrap();
        let ids = listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut viewer).await, [json!(look)]);
    assert_eq!(seen(&mut operator).await, [json!(change), json!(look)]);
    assert_eq!(seen(&mut admin).await, [json!(command), json!(change), json!(look)]);
    for action in ["show", "wait", "log", "abort", "retry"] {
        let refusal = jobs(&mut viewer, action, json!({"id": change})).await.unwrap_err();
        assert_eq!(refusal["code"], "404", "{action}");
    }
    let run = json!({"method": "kit/log", "args": {"message": "m"}});
    assert_eq!(jobs(&mut viewer, "run", run).await.unwrap_err()["code"], "403");
    drop((admin, viewer, operator));
    running.stop().await;
}

#[tokio::test]
async fn wrong_jobs_are_refused_and_nothing_is_begun() {
    let (running, mut client) = kit().await;
    for (args, code) in [
        (json!({}), "400"),
        (json!({"method": "kit/echo", "commands": []}), "400"),
        (json!({"method": "kit"}), "400"),
        (json!({"method": 5}), "400"),
        (json!({"method": "rpc/query"}), "400"),
        (json!({"method": "no/such"}), "404"),
        (json!({"method": "kit/echo", "key": ""}), "400"),
        (json!({"method": "kit/echo", "key": "a\nb"}), "400"),
        (json!({"method": "kit/echo", "key": 7}), "400"),
        (json!({"method": "kit/echo", "locks": vec!["x"; 9]}), "400"),
        (json!({"method": "kit/echo", "timeout_s": 0}), "400"),
        (json!({"method": "kit/echo", "timeout_s": 604_801}), "400"),
        (json!({"method": "kit/echo", "process_id": "x"}), "400"),
        (json!({"method": "kit/echo", "unknown": 1}), "400"),
        (json!({"commands": [[]]}), "400"),
        (json!({"commands": [["/bin/echo", 5]]}), "400"),
        (json!({"commands": [["/bin/echo", "\u{0}"]]}), "400"),
        (json!({"commands": "/bin/true"}), "400"),
    ] {
        let refusal = jobs(&mut client, "run", args.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], code, "{args}: {refusal}");
    }
    for (action, args) in [
        ("explode", json!({})),
        ("show", json!({})),
        ("show", json!({"id": 5})),
        ("show", json!({"id": "x"})),
        ("list", json!({"states": ["odd"]})),
        ("list", json!({"limit": 0})),
        ("wait", json!({"id": uuid(), "wait_s": 61})),
        ("log", json!({"id": uuid(), "limit": 1})),
        ("log", json!({"id": uuid(), "from": -1})),
    ] {
        let refusal = jobs(&mut client, action, args.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{action} {args}: {refusal}");
    }
    let nobody = jobs(&mut client, "show", json!({"id": uuid()})).await.unwrap_err();
    assert_eq!(nobody["code"], "404");
    assert_eq!(jobs(&mut client, "list", json!({})).await.unwrap()["jobs"], json!([]));
    drop(client);
    running.stop().await;
}

fn uuid() -> &'static str {
    "7d444840-9dc0-8003-8000-0000000004d2"
}

#[tokio::test]
async fn secrets_are_not_kept() {
    let (running, mut client) = kit().await;
    let args = json!({"n": 1, "password": "canary-of-a-job"});
    let first =
        start(&mut client, json!({"method": "kit/sleep", "args": {"ms": 60_000}, "locks": ["s"]}))
            .await;
    let run = json!({"method": "kit/echo", "args": args, "locks": ["s"]});
    let waits = start(&mut client, run).await;
    let shown = jobs(&mut client, "show", json!({"id": waits})).await.unwrap();
    assert!(!shown.to_string().contains("canary"), "{shown}");
    until_state(&mut client, &first, "running").await;
    drop(client);
    let running = running.restart().await;
    let mut client = running.admin().await;
    let ended = end(&mut client, &waits).await;
    assert_eq!(ended["job"]["state"], "failed");
    assert!(ended["job"]["error"]["message"].as_str().unwrap().contains("secrets"));
    let refusal = jobs(&mut client, "retry", json!({"id": waits})).await.unwrap_err();
    assert_eq!(refusal["code"], "409");
    let database = std::fs::read(running.site.path().join("sysadmd.db")).unwrap();
    let log = std::fs::read(running.site.path().join("sysadmd.db-wal")).unwrap_or_default();
    for bytes in [database, log] {
        assert!(!bytes.windows(6).any(|part| part == b"canary"));
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_snapshot_and_the_events_after_it_are_a_fresh_snapshot() {
    let (running, mut client) = kit().await;
    let mut reader = running.admin().await;
    let mut known = Vec::new();
    for number in 0..40 {
        let run = json!({"method": "kit/echo", "args": number, "locks": ["l"]});
        let id = start(&mut client, run).await;
        if number % 7 == 3 {
            jobs(&mut client, "abort", json!({"id": id})).await.unwrap();
        }
        if number == 20 {
            let listed = jobs(&mut reader, "list", json!({"limit": 4000})).await.unwrap();
            known = listed["jobs"].as_array().unwrap().clone();
            known.iter_mut().for_each(without_the_moment);
            let classes = ["job.queued", "job.started", "job.abort-asked", "job.finished"];
            let follow =
                json!({"sub": "j", "from": listed["cursor"], "filter": {"classes": classes}});
            reader.subscribe(follow).await.unwrap();
        }
    }
    until("all have ended", async || {
        let open = json!({"states": ["queued", "running"]});
        jobs(&mut client, "list", open).await.unwrap()["jobs"] == json!([])
    })
    .await;
    let fresh = jobs(&mut client, "list", json!({"limit": 4000})).await.unwrap();
    let question =
        json!({"filter": {"classes": ["job.finished"]}, "newest_first": true, "limit": 1});
    let last = client.call("events", "list", question).await.unwrap()["events"][0]["seq"].clone();
    loop {
        let event = reader.event().await["args"].take();
        let job = event["data"]["job"].clone();
        known.retain(|known| known["id"] != job["id"]);
        known.push(job);
        if event["seq"] == last {
            break;
        }
    }
    let by_id = |mut jobs: Vec<Value>| {
        jobs.sort_by_key(|job| job["id"].to_string());
        jobs
    };
    assert_eq!(by_id(known), by_id(fresh["jobs"].as_array().unwrap().clone()));
    drop((client, reader));
    running.stop().await;
}

/// What `list` adds for the moment, and no event tells.
fn without_the_moment(job: &mut Value) {
    let job = job.as_object_mut().unwrap();
    job.remove("queue_position");
    if !matches!(job["state"].as_str(), Some("done" | "failed" | "aborted" | "interrupted")) {
        job.remove("progress");
        job.insert("log_bytes".to_owned(), 0.into());
    }
}
