//! A trigger can what its owner can, at every moment; and its secrets are nowhere.

use serde_json::{Value, json};

use super::{kit, make, post, triggers, until_ended};
use crate::harness::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_makes_a_trigger_of_what_they_may_not_do() {
    let (running, mut admin) = kit().await;
    let mut operator = running.remote(&running.token("operator").await).await;
    let mut viewer = running.remote(&running.token("viewer").await).await;
    let kind = |answer: Result<Value, Value>| {
        answer.err().map(|fault| fault["fault"]["kind"].as_str().unwrap_or_default().to_owned())
    };
    let crash = json!({"method": "kit/crash"});
    assert_eq!(
        kind(triggers(&mut operator, "create", crash.clone()).await).as_deref(),
        Some("forbidden")
    );
    let list = json!({"method": "kit/echo"});
    assert_eq!(
        kind(triggers(&mut viewer, "create", list.clone()).await).as_deref(),
        Some("forbidden")
    );
    let run = json!({"method": "rpc/jobs", "args": {"action": "run", "commands": [["/bin/true"]]}});
    assert_eq!(kind(triggers(&mut operator, "create", run).await).as_deref(), Some("forbidden"));
    for wrong in [
        json!({}),
        json!({"method": "kit/echo", "operation": "REDEPLOY", "service": "U"}),
        json!({"method": "rpc/tokens", "args": {"action": "create"}}),
        json!({"method": "rpc/triggers", "args": {"action": "list"}}),
        json!({"method": "kit/nothing"}),
        json!({"method": "kit/echo", "args": {"password": "canary"}}),
        json!({"method": "kit/echo", "rate_per_min": 0}),
        json!({"method": "kit/echo", "burst": 100_000}),
        json!({"method": "kit/echo", "allow_from": ["192.0.2.0/33"]}),
        json!({"method": "kit/echo", "match": {"x": "y"}}),
        json!({"method": "kit/echo", "secret": "0123456789abcdef"}),
        json!({"method": "kit/echo", "signature": "github", "secret": "short"}),
        json!({"method": "kit/echo", "unknown": 1}),
        json!({"method": "rpc/jobs", "args": {"action": "run", "method": "kit/echo"}}),
    ] {
        let refused = kind(triggers(&mut admin, "create", wrong.clone()).await);
        assert!(
            matches!(refused.as_deref(), Some("bad-request" | "not-found")),
            "{wrong}: {refused:?}"
        );
    }
    let scope = json!({"name": "near", "role": "operator", "scope": {"sources": ["127.0.0.1"]}});
    let near = running.make_token(scope).await;
    let mut near = running.remote(near["token"].as_str().unwrap()).await;
    assert_eq!(kind(triggers(&mut near, "create", list).await).as_deref(), Some("forbidden"));
    let listed = triggers(&mut admin, "list", json!({})).await.unwrap();
    assert_eq!(listed["triggers"], json!([]));
    drop((admin, operator, viewer, near));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_of_a_revoked_token_does_nothing_any_more() {
    let (running, mut admin) = kit().await;
    let made = running.make_token(json!({"name": "ci", "role": "operator"})).await;
    let mut ci = running.remote(made["token"].as_str().unwrap()).await;
    let log = json!({"method": "kit/log", "args": {"message": "x", "level": "info"}, "burst": 9});
    let (id, url) = make(&mut ci, log).await;
    let own = triggers(&mut ci, "reveal", json!({ "id": id })).await.unwrap();
    assert_eq!(own["triggers"][0]["url"], url);
    assert_eq!(post(&running, &format!("{url}?wait=20"), &[], "").await.status, 200);
    // Another operator sees it and may stop it, but neither has its URL nor gives it back.
    let mut other = running.remote(&running.token("operator").await).await;
    let listed = triggers(&mut other, "list", json!({})).await.unwrap();
    assert_eq!(
        (&listed["triggers"][0]["owner"], &listed["triggers"][0]["calls"]),
        (&json!("token:ci"), &json!(1))
    );
    let secret = url.split('/').nth(5).unwrap();
    assert!(!listed.to_string().contains(secret));
    assert!(triggers(&mut other, "reveal", json!({ "id": id })).await.is_err());
    triggers(&mut other, "disable", json!({ "id": id })).await.unwrap();
    assert!(triggers(&mut other, "enable", json!({ "id": id })).await.is_err());
    triggers(&mut ci, "enable", json!({ "id": id })).await.unwrap();

    let args = json!({"action": "revoke", "id": made["id"]});
    admin.call("rpc", "tokens", args).await.unwrap();
    let reply = post(&running, &format!("{url}?wait=20"), &[], "").await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.json()["error"].as_str().unwrap().contains("revoked"), "{reply:?}");
    let found = until_ended(&mut admin, &id, 2).await;
    assert_eq!((&found[0]["state"], &found[0]["job"]), (&json!("failed"), &Value::Null));
    drop((admin, ci, other));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secrets_of_a_trigger_are_in_no_file_and_no_event() {
    let mut site = Site::new();
    site.log = Some("debug");
    let program = site.spawn().await;
    let mut admin = program.admin().await;
    let args = json!({
        "name": "n", "method": "events/fire", "args": {"class": "user.x"}, "signature": "github",
        "secret": "canary-of-a-signing-secret",
    });
    let (id, url) = make(&mut admin, args).await;
    let secret = url.split('/').nth(5).unwrap().to_owned();
    for body in ["", "x"] {
        let request = crate::http::request("POST", &url, &[], body);
        assert_eq!(crate::http::over_tls(program.tls(), &request).await.status, 404);
    }
    triggers(&mut admin, "disable", json!({ "id": id })).await.unwrap();
    let told = admin.call("events", "list", json!({"limit": 1000})).await.unwrap().to_string();
    let audit = admin.call("rpc", "audit", json!({"action": "query"})).await.unwrap().to_string();
    assert!(told.contains("trigger.refused") && audit.contains("rpc/triggers:create"));
    for text in [&told, &audit] {
        assert!(!text.contains(&secret) && !text.contains("canary-of-a-signing"), "{text}");
    }
    drop(admin);
    let site = program.kill().await;
    let raw = uuid_bytes(&secret);
    let mut files = 0;
    let mut dirs = vec![site.path().to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                files += 1;
                for needle in [secret.as_bytes(), &raw, b"canary-of-a-signing"] {
                    let found = bytes.windows(needle.len()).any(|part| part == needle);
                    assert!(!found, "{}", entry.path().display());
                }
            }
        }
    }
    assert!(files >= 4, "{files}");
    // And yet whoever made it can have its URL again.
    let program = site.spawn().await;
    let mut admin = program.admin().await;
    let shown = triggers(&mut admin, "reveal", json!({ "id": id })).await.unwrap();
    assert_eq!(shown["triggers"][0]["url"], url);
    drop(admin);
    program.stop().await;
}

fn uuid_bytes(text: &str) -> Vec<u8> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    (0..16).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}
