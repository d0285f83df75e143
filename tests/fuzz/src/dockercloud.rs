//! What Docker Cloud's clients send.

use serde_json::json;
use sysadmd::wire::docker_cloud::{self as dockercloud, Asked, Method};

use crate::utf8;

/// A path with its query.
pub fn dockercloud_request(data: &[u8]) {
    let Some(target) = utf8(data) else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match dockercloud::read(Method::Get, path, query) {
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
        Ok(Asked::Show { .. } | Asked::Login) => assert!(dockercloud::starts(path)),
        Err(refusal) => assert!((400..500).contains(&refusal.status)),
    }
}
