//! The SDK of CloudEvents for Python, as `tests/run` installs it, against the daemon and its sinks.

use std::path::Path;

use kit::receiver::Receiver;
use serde_json::{Map, Value, json};

use crate::it::harness::{Site, until};
use crate::run;
use crate::scripts::{has_checked, script};

/// Events that each sink gets.
const TICKS: usize = 3;

#[test]
fn the_python_sdk_reads_what_is_sent_and_brings_what_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/python/bin/python");
    run(async {
        let modes = ["structured", "binary", "batch"];
        let receivers = modes.map(|_| Receiver::start(None));
        let mut site = Site::new();
        for (mode, receiver) in modes.iter().zip(&receivers) {
            let sink = format!(
                "[sinks.{mode}]\nurl = \"http://{}/\"\nclasses = [\"user.tick\"]\nmode = \"{mode}\"\n",
                receiver.addr
            );
            site.settings.push_str(&sink);
        }
        site.plain = true;
        let daemon = site.spawn().await;
        let mut admin = daemon.admin().await;
        for number in 0..TICKS {
            let args = json!({"class": "user.tick", "message": "tick", "data": {"n": number}});
            admin.call("events", "fire", args).await.expect("it is fired");
        }
        let last = format!("\"n\":{}", TICKS - 1);
        until("every sink has all", async || {
            receivers.iter().all(|it| it.taken().iter().any(|body| body.contains(&last)))
        })
        .await;
        let file = daemon.site().path().join("received.json");
        let all = receivers.iter().flat_map(Receiver::received);
        let all: Value = all.map(|it| written(&it.head, &it.body)).collect();
        std::fs::write(&file, all.to_string()).expect("it is written");
        let token = daemon.token("operator").await;
        let port = daemon.addresses[1].port().to_string();
        let mut script = script(&python, "py_cloudevents.py", &port, &token);
        script.arg(&file);
        has_checked(script).await;
        admin.close().await;
        daemon.stop().await;
    });
}

/// A request as the script reads it: names of headers in lower case.
fn written(head: &str, body: &str) -> Value {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let headers: Map<String, Value> =
        lines.map(|(name, value)| (name.to_lowercase(), value.trim().into())).collect();
    json!({"headers": headers, "body": body})
}
