//! What Docker Cloud's clients send.

use protocol::Time;
use serde_json::json;
use sysadmd::trigger::payload::{self, Match};
use sysadmd::trigger::signature::{HEADERS, Headers, Scheme, verify};
use sysadmd::trigger::{number, rule};
use sysadmd::wire::docker_cloud::{self as dockercloud, Asked, Method, TriggerAsked};

use crate::utf8;

/// A path with its query.
pub fn dockercloud_request(data: &[u8]) {
    let Some(target) = utf8(data) else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    for method in [Method::Get, Method::Post, Method::Patch, Method::Delete] {
        request(method, path, query);
    }
    dockercloud::target(data).ok();
}

fn request(method: Method, path: &str, query: Option<&str>) {
    match dockercloud::read(method, path, query) {
        Ok(Asked::List { path, filters, .. }) => {
            let objects = (0..40).map(|n| json!({"uuid": format!("u{n}"), "name": "n"})).collect();
            let page = dockercloud::envelope(&path, &filters, objects);
            let count = page["objects"].as_array().map_or(0, Vec::len);
            assert!(count <= 40 && page["meta"]["total_count"].as_u64() <= Some(40));
            if let Some(next) = page["meta"]["next"].as_str() {
                assert!(next.starts_with("/api/") && !next.contains(['\r', '\n', ' ']));
            }
        }
        Ok(Asked::Events(wish)) => {
            wish.filter.check().expect("a filter within its bounds");
            assert!(!wish.tag.contains(['"', '/', '\n']));
        }
        Ok(Asked::Do { uuid, .. } | Asked::Resize { uuid } | Asked::Again { uuid, .. }) => {
            assert!(method != Method::Get && dockercloud::starts(path));
            if let Some(job) = dockercloud::job_id(&uuid) {
                assert!(dockercloud::action_uuid(&job).is_some());
            }
        }
        Ok(Asked::Show { .. } | Asked::Login) => assert!(dockercloud::starts(path)),
        Err(refusal) => assert!((400..500).contains(&refusal.status)),
    }
}

/// A call of a trigger: method and target, headers, an empty line, a body.
pub fn trigger_call(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let Some(head) = utf8(head) else { return };
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|it| it.split_once(' ')).unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match dockercloud::read_trigger(method, path, query) {
        Some(Ok(TriggerAsked::Call { number: Some(end), wait_s, .. })) => {
            assert!(method == "POST" && wait_s <= 60);
            let counted = number(&end, 20);
            assert!(counted.is_err() || counted.is_ok_and(|n| n.to_string() == end && n <= 20));
        }
        Some(Ok(TriggerAsked::Call { .. })) => assert_eq!(method, "POST"),
        Some(Err(refusal)) => {
            assert!(refusal.status == 200 || (400..500).contains(&refusal.status));
        }
        _ => {}
    }
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let named = |name: &'static str| {
        let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| (name, (*value).to_owned()))
    };
    let headers = Headers(HEADERS.into_iter().filter_map(named).collect());
    assert!(headers.delivery().is_none_or(|name| name.chars().count() <= 64));
    let now = Time::from_micros(1_614_265_330_000_000);
    for scheme in [Scheme::Github, Scheme::Standard, Scheme::Stripe, Scheme::GitlabToken] {
        // Nobody knows this secret.
        let signed = verify(scheme, b"\x01a secret of this test\x02", &headers, body, now);
        assert!(signed.is_err(), "{scheme:?}");
    }
    let wanted: Match =
        serde_json::from_value(json!({"/ref": "refs/*", "/a/0": "?*"})).expect("it");
    for kind in [None, Some("application/x-www-form-urlencoded")] {
        if let Some(said) = payload::read(kind, body) {
            assert!(!wanted.covers(&said) || said["ref"].is_string());
        }
    }
    let fired = json!({"class": path, "subject": target});
    rule::covers_fired(&protocol::Filter::default(), "events/fire", &fired);
}
