//! Calls, credit and the end of a plugin, on whole processes.

use serde_json::{Value, json};

use crate::driver::Plugin;

const PUBLISHED: &str = "7d444840-9dc0-8003-8000-0000000004d2";

fn shutdown(plugin: &mut Plugin, grace_ms: u64) {
    plugin.request(99, "shutdown", &json!({ "reason": "test", "grace_ms": grace_ms }));
}

/// Sends a call that never ends and waits until it has begun.
fn hang(plugin: &mut Plugin) {
    plugin.call(50, "hang", &Value::Null);
    plugin.call(51, "echo", &json!(1));
    assert_eq!(plugin.next_answer()["id"], 51);
}

#[test]
fn it_ends_with_the_daemon_even_if_a_call_does_not() {
    let mut plugin = Plugin::kit("good");
    hang(&mut plugin);
    plugin.close_input();
    assert_eq!(plugin.exit_code(), Some(0));
}

#[test]
fn the_end_of_the_daemon_cancels_calls_and_frees_publishers() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "sleep", &json!({ "ms": 600_000 }));
    plugin.call(3, "publish", &json!({ "draft": { "class": "kit.event" } }));
    assert_eq!(plugin.next_answer()["method"], "event/publish");
    plugin.close_input();
    assert_eq!(plugin.exit_code(), Some(0));
    let (first, second) = (plugin.next_answer(), plugin.next_answer());
    let kind_of = |number| {
        let answer = if first["id"] == number { &first } else { &second };
        answer["error"]["data"]["kind"].clone()
    };
    assert_eq!(kind_of(2), "cancelled");
    assert_eq!(kind_of(3), "unavailable");
}

#[test]
fn shutdown_lets_calls_finish_and_comes_last() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "sleep", &json!({ "ms": 200 }));
    shutdown(&mut plugin, 20_000);
    plugin.call(3, "echo", &json!(1));
    let refused = plugin.next_answer();
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&json!(3), &json!("unavailable"))
    );
    let finished = plugin.next_answer();
    assert_eq!(finished["result"], json!({ "slept_ms": 200 }), "{finished}");
    assert_eq!(plugin.next_answer(), json!({ "jsonrpc": "2.0", "id": 99, "result": null }));
    assert_eq!(plugin.exit_code(), Some(0));
    assert!(plugin.says_nothing_more());
}

#[test]
fn shutdown_cancels_calls_that_take_longer_than_its_grace() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "sleep", &json!({ "ms": 600_000 }));
    shutdown(&mut plugin, 400);
    assert_eq!(plugin.next_answer()["error"]["data"]["kind"], "cancelled");
    assert_eq!(plugin.next_answer()["id"], 99);
    assert_eq!(plugin.exit_code(), Some(0));
}

#[test]
fn shutdown_does_not_wait_for_ever_for_a_call_that_hangs() {
    let mut plugin = Plugin::kit("good");
    hang(&mut plugin);
    shutdown(&mut plugin, 300);
    assert_eq!(plugin.next_answer()["id"], 99);
    assert_eq!(plugin.exit_code(), Some(0));
}

#[test]
fn a_panic_is_a_fault_for_its_caller_and_nobody_else() {
    let mut plugin = Plugin::kit("good");
    // Long enough for a panic to be told of on a machine that has much to do.
    plugin.call(2, "sleep", &json!({ "ms": 2_000 }));
    plugin.call(3, "panic", &Value::Null);
    let panicked = plugin.next_answer();
    assert_eq!(panicked["id"], 3);
    assert_eq!(panicked["error"]["data"]["kind"], "internal");
    assert!(!panicked.to_string().contains("as asked for"), "the cause went to the caller");
    assert_eq!(plugin.next_answer()["result"], json!({ "slept_ms": 2_000 }));
    plugin.call(4, "echo", &json!("still here"));
    assert_eq!(plugin.next_answer()["result"], "still here");
}

#[test]
fn calls_run_beside_each_other_up_to_the_bound_and_are_refused_beyond_twice_that() {
    let dir = tempdir();
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    manifest["limits"]["calls"] = 2.into();
    let path = kit::plugins::install(&dir.0, manifest).unwrap();
    let told = format!("--manifest={}", path.display());
    let mut plugin = Plugin::start(kit::plugins::program(), &[&told, "good"]);
    plugin.greet("kit", 256, 1024 * 1024);
    for number in 2..6 {
        plugin.call(number, "hang", &Value::Null);
    }
    plugin.call(6, "echo", &Value::Null);
    let refused = plugin.next_answer();
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&json!(6), &json!("too-many"))
    );
}

#[test]
fn out_of_credit_it_waits_and_everything_else_goes_on() {
    let mut plugin = Plugin::start(kit::plugins::program(), &["good"]);
    plugin.greet("kit", 1, 1024 * 1024);
    plugin.call(2, "publish", &json!({ "draft": { "class": "kit.event" }, "n": 3, "batch": 3 }));
    for event in 1..=3 {
        let published = plugin.next_answer();
        assert_eq!(published["method"], "event/publish");
        plugin.request(10 + event, "health", &Value::Null);
        assert_eq!(plugin.next_answer()["id"], 10 + event, "no credit, and it went on");
        let result = json!({ "seq": event, "id": PUBLISHED, "time": "2026-01-01T00:00:00Z" });
        plugin.send(&json!({ "jsonrpc": "2.0", "id": published["id"], "result": result }));
        plugin.send(&json!({ "jsonrpc": "2.0", "method": "event/credit", "params": { "n": 1 } }));
    }
    assert_eq!(plugin.next_answer()["result"], json!({ "published": 3, "first": 1, "last": 3 }));
}

#[test]
fn what_the_daemon_would_refuse_is_not_even_sent() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "publish", &json!({ "draft": { "class": "never.declared" } }));
    let refused = plugin.next_answer();
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&json!(2), &json!("bad-request"))
    );
    let message = "x".repeat(5000);
    plugin.call(3, "publish", &json!({ "draft": { "class": "kit.event", "message": message } }));
    let refused = plugin.next_answer();
    assert_eq!(
        (&refused["id"], &refused["error"]["data"]["kind"]),
        (&json!(3), &json!("bad-request"))
    );
}

#[test]
fn a_line_that_would_be_too_long_becomes_a_fault() {
    let mut plugin = Plugin::start(kit::plugins::program(), &["good"]);
    plugin.greet("kit", 1, 1200);
    // The call fits into a line; the environment it answers with does not.
    plugin.call(2, "self", &Value::Null);
    let refused = plugin.next_answer();
    assert_eq!(refused["error"]["data"]["kind"], "too-large", "{refused}");
    let data = json!({ "text": "x".repeat(800) });
    plugin.call(3, "publish", &json!({ "draft": { "class": "kit.event", "data": data } }));
    assert_eq!(plugin.next_answer()["method"], "event/publish");
}

#[test]
fn what_the_plugin_prints_does_not_reach_the_link() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "print", &json!({ "text": "{\"jsonrpc\":\"2.0\",\"method\":\"log\"}" }));
    assert_eq!(plugin.next(), json!({ "jsonrpc": "2.0", "id": 2, "result": null }));
}

#[test]
fn a_plugin_knows_who_asks_and_what_it_was_given() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "self", &Value::Null);
    let about = plugin.next_answer()["result"].clone();
    assert_eq!(about["actor"], "local:root");
    assert_eq!(about["role"], "admin");
    assert_eq!(about["state_dir"], "/nowhere");
    assert_eq!(about["config"], json!({ "colour": "blue" }));
    assert_eq!(about["credit"], 256);
    assert!(about["deadline_ms"].as_u64().is_some_and(|left| left <= 60_000));
}

#[test]
fn progress_begins_and_ends_with_what_is_so() {
    let mut plugin = Plugin::kit("good");
    plugin.call(2, "sleep", &json!({ "ms": 300 }));
    let mut done = Vec::new();
    loop {
        let message = plugin.next();
        if message["method"] != "progress" {
            assert_eq!(message["result"], json!({ "slept_ms": 300 }));
            break;
        }
        assert_eq!(message["params"]["request_id"], "2");
        done.push(message["params"]["done"].as_u64().unwrap());
    }
    assert!(done.is_sorted() && done.last() == Some(&300), "{done:?}");
}

#[test]
fn a_start_that_fails_says_why_and_ends_it() {
    let mut plugin = Plugin::kit("fail-start");
    let log = plugin.next();
    assert_eq!((&log["method"], &log["params"]["level"]), (&json!("log"), &json!("error")));
    assert_eq!(log["params"]["message"], "cannot start: as asked for");
    assert_eq!(plugin.exit_code(), Some(69));
}

#[test]
fn a_slow_start_delays_calls_and_nothing_else() {
    let mut plugin = Plugin::kit("slow-start");
    plugin.call(2, "echo", &json!(1));
    plugin.request(3, "health", &Value::Null);
    assert_eq!(plugin.next_answer()["id"], 3);
    assert_eq!(plugin.next_answer()["id"], 2);
}

#[test]
fn an_unwell_plugin_stays_silent_and_answers_other_things() {
    let mut plugin = Plugin::kit("no-health");
    plugin.request(2, "health", &Value::Null);
    plugin.call(3, "echo", &json!(1));
    assert_eq!(plugin.next_answer()["id"], 3);
}

#[test]
fn a_small_plugin_is_small() {
    let mut plugin = Plugin::hello();
    plugin.greet("hello", 1, 1024 * 1024);
    plugin.request(2, "health", &Value::Null);
    plugin.next_answer();
    let status = std::fs::read_to_string(format!("/proc/{}/status", plugin.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 6 * 1024, "{line}");
}

struct TempDir(std::path::PathBuf);

fn tempdir() -> TempDir {
    let path = std::env::temp_dir().join(format!("sysadmd-sdk-test-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    TempDir(path)
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
