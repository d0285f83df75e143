//! `rpc/dispatcher`: classic shapes and order of events, and what the commands can do.

use std::path::Path;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::{end, jobs, kit, start};
use crate::harness::{Site, processes_of, until};

async fn dispatcher(client: &mut SysAdmClient, args: Value) -> Result<Value, Value> {
    client.call("rpc", "dispatcher", args).await
}

/// The next event, which must be one of the dispatcher; without what the original does not send.
async fn classic_event(client: &mut SysAdmClient) -> Value {
    let mut event = client.event().await;
    assert_eq!((&event["name"], &event["id"]), (&json!("dispatcher"), &json!("")), "{event}");
    let args = event["args"].as_object_mut().expect("an object");
    let had = ["event_id", "time", "seq", "job_id"].map(|added| args.remove(added).is_some());
    // What is only told meanwhile has no place in the log.
    let is_kept = args["state"] == "finished" || !args.contains_key("event_system");
    assert_eq!(had, [true, true, is_kept, true], "{args:?}");
    event["args"].take()
}

#[tokio::test]
async fn a_chain_is_told_as_the_original_tells_it() {
    let (running, mut client) = kit().await;
    assert_eq!(dispatcher(&mut client, json!({"action": "list"})).await, Ok(json!({"jobs": {}})));
    client.subscribe(json!("dispatcher")).await.unwrap();
    let run = json!({
        "action": "Run", "b": ["/bin/echo one", "/bin/false", "/bin/echo never"], "a": [],
        "n": 5, "o": {}, "x": null,
    });
    let answer = dispatcher(&mut client, run).await;
    assert_eq!(answer, Ok(json!({"started": ["a", "b"]})));
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(classic_event(&mut client).await);
    }
    let of = |id: &str| events.iter().filter(|event| event["process_id"] == id).collect::<Vec<_>>();
    let [begun, ended] = of("b")[..] else { panic!("{events:?}") };
    assert_eq!(*begun, json!({"process_id": "b", "state": "running"}));
    let [since, until] =
        ["time_started", "time_finished"].map(|name| ended[name].as_str().unwrap());
    assert!(since <= until && since.ends_with('Z'));
    let expected = json!({
        "process_id": "b", "state": "finished", "time_started": since, "time_finished": until,
        "cmd_list": ["/bin/echo one", "/bin/false", "/bin/echo never"],
        "/bin/echo one": "one\n", "return_codes//bin/echo one": "0",
        "/bin/false": "", "return_codes//bin/false": "1",
    });
    assert_eq!(*ended, expected, "the third has not run");
    let [_, empty] = of("a")[..] else { panic!("{events:?}") };
    assert_eq!((&empty["cmd_list"], &empty["state"]), (&json!([]), &json!("finished")));
    assert_eq!(empty["time_started"], Value::Null);
    until_list(&mut client, json!({"no_queue": {}})).await;
    drop(client);
    running.stop().await;
}

async fn until_list(client: &mut SysAdmClient, expected: Value) {
    until(&format!("the list is {expected}"), async || {
        let listed = dispatcher(client, json!({"action": "list"})).await.unwrap();
        listed["jobs"] == expected
    })
    .await;
}

#[tokio::test]
async fn what_runs_is_listed_and_killed_with_its_whole_group() {
    let site = Site::new().with_kit();
    let mark = site.path().join("mark");
    let running = site.start().await;
    let mut client = running.admin().await;
    // Two children in its group that name the place they are looked for by, and would live on.
    let script = format!("MARK={}; export MARK; sleep 1000 & sleep 1001 & wait", mark.display());
    let job = json!([["/bin/sh", "-c", script]]);
    dispatcher(&mut client, json!({"action": "run", "stay": job, "x": "/bin/sleep 1002"}))
        .await
        .unwrap();
    until("the children are there", async || children(&mark).len() >= 2).await;
    let listed = dispatcher(&mut client, json!({"action": "LIST"})).await.unwrap();
    let listed = &listed["jobs"]["no_queue"];
    assert_eq!(listed["stay"]["state"], "running");
    assert_eq!(listed["x"]["commands"], json!(["/bin/sleep 1002"]));
    let killed =
        dispatcher(&mut client, json!({"action": "kill", "job_id": ["stay", "nobody", 7]}));
    assert_eq!(killed.await, Ok(json!({"killed": {"jobs": ["stay"]}})));
    until("the whole group is gone", async || children(&mark).is_empty()).await;
    let killed = dispatcher(&mut client, json!({"action": "kill", "job_id": "x"})).await;
    assert_eq!(killed, Ok(json!({"killed": {"jobs": ["x"]}})));
    until_list(&mut client, json!({"no_queue": {}})).await;
    let killed = dispatcher(&mut client, json!({"action": "kill", "job_id": "x"})).await;
    assert_eq!(killed, Ok(json!({"killed": {"jobs": []}})), "it is gone");
    let listed = jobs(&mut client, "list", json!({"states": ["aborted"]})).await.unwrap();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_command_that_is_to_end_is_asked_first() {
    let (running, mut client) = kit().await;
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let id = start(&mut client, json!({"commands": [["/bin/sh", "-c", script]]})).await;
    until("it is ready", async || {
        let log = jobs(&mut client, "log", json!({"id": id})).await.unwrap();
        log["text"] == "ready\n"
    })
    .await;
    jobs(&mut client, "abort", json!({"id": id})).await.unwrap();
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "aborted");
    assert_eq!(ended["result"], json!({"commands": [{"status": 7}]}), "{ended}");
    let log = jobs(&mut client, "log", json!({"id": id})).await.unwrap();
    assert!(log["text"].as_str().unwrap().ends_with("asked\n"), "{log}");
    drop(client);
    running.stop().await;
}

/// Processes with this in their environment.
fn children(mark: &Path) -> Vec<u32> {
    let named = processes_of(mark);
    let is_child = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
    };
    named.into_iter().filter(is_child).collect()
}

#[tokio::test]
async fn who_leaves_children_behind_ends_all_the_same() {
    let (running, mut client) = kit().await;
    let mark = running.site.path().join("left");
    let script = format!("MARK={}; export MARK; sleep 1000 & echo done; exit 3", mark.display());
    let id = start(&mut client, json!({"commands": [["/bin/sh", "-c", script]]})).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "failed");
    assert_eq!(ended["result"], json!({"commands": [{"status": 3}]}));
    let error = ended["job"]["error"]["message"].as_str().unwrap();
    assert_eq!(error, "command 1 of 1 exited with status 3");
    until("what it left is gone", async || children(&mark).is_empty()).await;
    let log = jobs(&mut client, "log", json!({"id": id})).await.unwrap();
    assert_eq!((&log["text"], &log["ended"]), (&json!("done\n"), &json!(true)));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_hundred_megabytes_are_taken_in_and_little_is_kept() {
    let site = Site::new();
    let program = site.spawn().await;
    let mut client = program.admin().await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    program.forget_peak();
    let before = program.resident_bytes();
    let script = "echo first; head -c 104857600 /dev/zero | tr '\\0' x; echo; echo last";
    let id = start(&mut client, json!({"commands": [["/bin/sh", "-c", script]]})).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "done");
    assert_eq!(ended["job"]["log_bytes"], 104_857_600 + 12);
    let grown = program.peak_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "it took {grown} bytes");
    let (mut place, mut text, mut left_out) = (0, String::new(), 0);
    loop {
        let log = jobs(&mut client, "log", json!({"id": id, "from": place})).await.unwrap();
        text += log["text"].as_str().unwrap();
        left_out += log["left_out"].as_u64().unwrap();
        place = log["next"].as_u64().unwrap();
        if log["ended"] == true {
            break;
        }
    }
    assert!(text.starts_with("first\nxxx") && text.ends_with("xxx\nlast\n"));
    assert_eq!(text.len() as u64 + left_out, 104_857_600 + 12);
    assert!(text.len() <= 256 * 1024);
    assert_eq!(classic_event(&mut client).await["state"], "running");
    let told = classic_event(&mut client).await;
    let output = told[format!("/bin/sh -c {script}")].as_str().unwrap();
    assert!(output.starts_with("first\n") && output.ends_with("last\n"));
    assert!(output.contains("bytes are left out") && output.len() < 128 * 1024);
    drop(client);
    program.stop().await;
}

#[tokio::test]
async fn how_it_ended_is_told() {
    let (running, mut client) = kit().await;
    let mut come_to = async |command: &[&str]| {
        let id = start(&mut client, json!({"commands": [command]})).await;
        let ended = end(&mut client, &id).await;
        (ended["job"]["state"].clone(), ended["result"]["commands"][0].clone())
    };
    let (state, result) = come_to(&["/no/such/program"]).await;
    assert_eq!(state, "failed");
    assert!(result["not_started"].as_str().unwrap().contains("No such file"), "{result}");
    // Killed from outside, by a signal that nobody of us sends.
    let killed = come_to(&["/bin/sh", "-c", "kill -9 $$"]).await;
    assert_eq!(killed, (json!("failed"), json!({"signal": 9})));
    let found_by_name = come_to(&["true"]).await;
    assert_eq!(found_by_name, (json!("done"), json!({"status": 0})));
    let (state, _) = come_to(&["/bin/sh", "-c", "test -z \"$HOME$SYSADMD_LOG\" && ! read x"]).await;
    assert_eq!(state, "done", "nothing of the daemon's environment and an empty input");
    // The test itself may have inherited files; those of the daemon are sockets and its database.
    let files =
        "! ls -l /proc/self/fd | grep -e socket: -e anon_inode -e sysadmd && test $(pwd) = /";
    assert_eq!(come_to(&["/bin/sh", "-c", files]).await.0, "done", "no files of the daemon");
    let mut timed = json!({"commands": [["/bin/sleep", "1000"]], "timeout_s": 1});
    timed["process_id"] = "late".into();
    let id = start(&mut client, timed).await;
    let late = end(&mut client, &id).await;
    assert_eq!(
        (&late["job"]["state"], &late["job"]["error"]["kind"]),
        (&json!("failed"), &json!("timeout"))
    );
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn bad_input_begins_nothing() {
    let (running, mut client) = kit().await;
    let wrong = [
        json!({"action": "run", "good": "/bin/true", "bad": "/bin/echo \"open"}),
        json!({"action": "run", "good": "/bin/true", "bad": "/bin/echo a\nreboot"}),
        json!({"action": "run", "good": "/bin/true", "bad": ["/bin/echo \u{0}"]}),
        json!({"action": "run", "good": "/bin/true", "bad": [["/bin/echo", 5]]}),
        json!({"action": "run", "good": "/bin/true", "": "/bin/true"}),
        json!({"action": "run", "good": "/bin/true", "bad": vec!["/bin/true"; 65]}),
        json!({"action": "explode"}),
        json!({"action": 5}),
        json!({}),
        json!({"action": "kill"}),
        json!({"action": "kill", "job_id": 5}),
    ];
    for args in wrong {
        let refusal = dispatcher(&mut client, args.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{args}: {refusal}");
    }
    assert_eq!(dispatcher(&mut client, json!({"action": "run"})).await, Ok(json!({"started": []})));
    let listed = jobs(&mut client, "list", json!({})).await.unwrap();
    assert_eq!(listed["jobs"], json!([]));
    for role in ["viewer", "operator"] {
        let token = running.token(role).await;
        let mut other = running.remote(&token).await;
        let run = json!({"action": "run", "x": "/bin/true"});
        assert_eq!(dispatcher(&mut other, run).await.unwrap_err()["code"], "403");
        let run = json!({"commands": [["/bin/true"]]});
        assert_eq!(jobs(&mut other, "run", run).await.unwrap_err()["code"], "403");
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn names_may_repeat_and_two_hundred_may_come_at_once() {
    let (running, mut client) = kit().await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    for _ in 0..2 {
        let run = json!({"action": "run", "twin": "/bin/true"});
        assert_eq!(dispatcher(&mut client, run).await, Ok(json!({"started": ["twin"]})));
    }
    let mut finished = 0;
    while finished < 2 {
        finished += usize::from(classic_event(&mut client).await["state"] == "finished");
    }
    let mut many = json!({"action": "run"});
    for number in 0..200 {
        many[format!("job {number:03}")] = "/bin/true".into();
    }
    let started = dispatcher(&mut client, many).await.unwrap();
    assert_eq!(started["started"].as_array().unwrap().len(), 200);
    while finished < 202 {
        finished += usize::from(classic_event(&mut client).await["state"] == "finished");
    }
    let mut too_many = json!({"action": "run"});
    for number in 0..257 {
        too_many[format!("job {number:03}")] = "/bin/true".into();
    }
    assert_eq!(dispatcher(&mut client, too_many).await.unwrap_err()["code"], "400");
    drop(client);
    running.stop().await;
}

/// What the dispatcher tells of a job until it has ended.
async fn story(client: &mut SysAdmClient) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        let event = classic_event(client).await;
        let is_end = event["state"] == "finished";
        told.push(event);
        if is_end {
            return told;
        }
    }
}

#[tokio::test]
async fn pages_of_packages_and_updates_follow_their_jobs_by_name() {
    let (running, mut client) = kit().await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    let id = "sysadm_pkg_check_upgrade-{5f0c}";
    let first = "/bin/sh -c \"echo one; sleep 1.5; echo two; sleep 1.5\"";
    let last = "/bin/echo Your packages are up to date.";
    let run = json!({"action": "run", id: [first, last]});
    assert_eq!(dispatcher(&mut client, run).await, Ok(json!({"started": [id]})));
    let told = story(&mut client).await;
    let states: Vec<&str> = told.iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!(states[..2], ["pending", "running"], "{told:#?}");
    let cmd_list = json!([first, last]);
    let pending = json!({
        "event_system": "sysadm/pkg", "state": "pending", "pkg_log": "",
        "action": "pkg_check_upgrade",
        "process_details": {"process_id": id, "state": "pending", "cmd_list": cmd_list},
    });
    assert_eq!(told[0], pending);
    assert_eq!(told[1], json!({"process_id": id, "state": "running"}), "the start, as of any job");
    let mut printed = String::new();
    for event in &told[2..told.len() - 1] {
        let details = &event["process_details"];
        assert_eq!(event["event_system"], "sysadm/pkg", "{event}");
        assert_eq!((&event["state"], &details["state"]), (&json!("running"), &json!("running")));
        assert_eq!((&details["cmd_list"], &details["current_cmd"]), (&cmd_list, &json!(first)));
        assert_eq!(event["pkg_log"], details[first], "only what is new");
        printed += event["pkg_log"].as_str().unwrap();
    }
    assert_eq!(printed, "one\ntwo\n");
    let end = told.last().unwrap();
    let details = &end["process_details"];
    assert_eq!(
        (&end["action"], &end["event_system"]),
        (&json!("pkg_check_upgrade"), &json!("sysadm/pkg"))
    );
    assert_eq!((&end["updates_available"], &end["pkg_log"]), (&json!("false"), &details[last]));
    assert_eq!((&details[first], &details["current_cmd"]), (&json!("one\ntwo\n"), &Value::Null));
    assert_eq!(details[format!("return_codes/{last}")], "0");
    assert_eq!(details["process_id"], id);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn who_waits_is_told_so_again_and_when_it_never_begins() {
    let (running, mut client) = kit().await;
    let hold = json!({"commands": [["/bin/sleep", "1000"]], "queue": "pkg_queue"});
    let hold = start(&mut client, hold).await;
    super::until_state(&mut client, &hold, "running").await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    // Its own start comes when it comes.
    while classic_event(&mut client).await["state"] != "running" {}
    let id = "sysadm_update_runupdates::{77}";
    let wait = json!({"commands": [["/bin/true"]], "process_id": id, "queue": "pkg_queue"});
    let wait = start(&mut client, wait).await;
    for _ in 0..2 {
        let event = classic_event(&mut client).await;
        assert_eq!(
            (&event["state"], &event["update_log"]),
            (&json!("pending"), &json!("")),
            "{event}"
        );
        assert_eq!(event["event_system"], "sysadm/update");
    }
    jobs(&mut client, "abort", json!({"id": wait})).await.unwrap();
    let rest = story(&mut client).await;
    let end = rest.last().unwrap();
    assert_eq!(
        (&end["event_system"], &end["state"]),
        (&json!("sysadm/update"), &json!("finished"))
    );
    assert_eq!(end["process_details"]["time_started"], Value::Null, "it never began");
    jobs(&mut client, "abort", json!({"id": hold})).await.unwrap();
    drop(client);
    running.stop().await;
}
