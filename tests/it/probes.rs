//! What monitoring asks over HTTP.

use std::collections::BTreeSet;

use crate::harness::Site;
use crate::http::{over_tls, over_unix, request};

#[tokio::test]
async fn anybody_learns_whether_it_is_there_and_nobody_else_how_it_is() {
    let running = Site::new().with_kit().start().await;
    for (path, said) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let reply = over_tls(running.addresses[0], &request("GET", path, &[], "")).await;
        assert_eq!((reply.status, &*reply.body), (200, said), "{path}");
        let posted = over_tls(running.addresses[0], &request("POST", path, &[], "")).await;
        assert_eq!((posted.status, posted.header("allow")), (400, Some("GET")), "{path}");
    }
    let stranger = over_tls(running.addresses[0], &request("GET", "/metrics", &[], "")).await;
    assert_eq!(stranger.status, 401, "{stranger:?}");
    assert!(!stranger.body.contains("sysadmd_"), "{stranger:?}");
    running.stop().await;
}

#[tokio::test]
async fn measurements_are_lines_that_prometheus_reads() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let reply = over_unix(&running.socket, &request("GET", "/metrics", &[], "")).await;
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").expect("a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut declared = BTreeSet::new();
    for line in reply.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(declared.insert(name), "{name} is declared twice");
        } else if !line.starts_with("# HELP ") {
            let (what, value) = line.rsplit_once(' ').expect("a value");
            let name = what.split('{').next().expect("a name");
            assert!(declared.contains(name), "{line} is not declared");
            value.parse::<f64>().expect("a number");
        }
    }
    let ready = "sysadmd_plugin_state{plugin=\"kit\",state=\"ready\"} 1";
    assert!(reply.body.lines().any(|line| line == ready), "{}", reply.body);
    running.stop().await;
}
