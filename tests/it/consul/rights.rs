//! Who may read and fire what, by which token.

use serde_json::{Value, json};

use super::talk::{fire, listed, names, remote, site};
use crate::harness::{Running, Site};
use crate::http::Reply;

async fn token(running: &Running, role: &str, scope: Value) -> String {
    let made = running.make_token(json!({"name": "t", "role": role, "scope": scope})).await;
    made["token"].as_str().expect("a token").to_owned()
}

async fn with(running: &Running, token: &str, method: &str, path: &str) -> Reply {
    remote(running, (method, path), &[&format!("X-Consul-Token: {token}")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_or_a_scope_is_a_prefix_rule() {
    let settings = "[roles.deployer]\ngrants = [\n\
        { methods = [\"consul/fire\"], classes = [\"consul.event\"], resources = [\"/consul/baz\"] },\n\
        { classes = [\"consul.event\"], resources = [\"/consul/bar*\"] },\n]\n";
    let running = site(settings).start().await;
    for name in ["foo", "bar", "bark", "baz", "bazaar"] {
        fire(&running, name, "").await;
    }
    let deployer = token(&running, "deployer", json!({})).await;
    for (name, status) in [("foo", 403), ("bar", 403), ("baz", 200), ("bazaar", 403)] {
        let reply = with(&running, &deployer, "PUT", &format!("/v1/event/fire/{name}")).await;
        assert_eq!(reply.status, status, "{name}");
        assert!(status == 200 || reply.body == "Permission denied", "{reply:?}");
    }
    let reply = with(&running, &deployer, "GET", "/v1/event/list").await;
    assert_eq!(names(&listed(&reply).0), ["bar", "bark", "baz", "baz"], "write implies read");
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), Some("true"));
    let reply = with(&running, &deployer, "GET", "/v1/event/list?name=foo").await;
    assert_eq!(listed(&reply), (Vec::new(), 1));
    let reply = with(&running, &deployer, "GET", "/v1/event/list?name=bar").await;
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), None, "nothing was left out");

    let scope = json!({"resources": ["/consul/foo*"]});
    let scoped = token(&running, "operator", scope).await;
    assert_eq!(with(&running, &scoped, "PUT", "/v1/event/fire/foo2").await.status, 200);
    assert_eq!(with(&running, &scoped, "PUT", "/v1/event/fire/fo").await.status, 403);
    let reply = with(&running, &scoped, "GET", "/v1/event/list").await;
    assert_eq!(names(&listed(&reply).0), ["foo", "foo2"]);

    let elsewhere = token(&running, "operator", json!({"classes": ["user.*"]})).await;
    assert_eq!(with(&running, &elsewhere, "PUT", "/v1/event/fire/foo").await.status, 403);
    let viewer = token(&running, "viewer", json!({})).await;
    assert_eq!(with(&running, &viewer, "PUT", "/v1/event/fire/foo").await.status, 403);
    let reply = with(&running, &viewer, "GET", "/v1/event/list").await;
    assert_eq!(listed(&reply).0.len(), 7);
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_takes_away_wins_where_it_is_nearer() {
    // event_prefix "pre-" write, event "pre-x" deny, event_prefix "sec" deny; all else: read.
    let settings = "[roles.deployer]\ngrants = [\n\
        { methods = [\"consul/fire\"], classes = [\"consul.event\"], \
          resources = [\"/consul/pre-*\", \"!/consul/pre-x\"] },\n\
        { classes = [\"consul.event\"], \
          resources = [\"/consul/*\", \"!/consul/pre-x\", \"!/consul/sec*\"] },\n]\n";
    let running = site(settings).start().await;
    for name in ["pre-1", "pre-x", "pre-xy", "other", "secret"] {
        fire(&running, name, "").await;
    }
    let role = token(&running, "deployer", json!({})).await;
    let scope = json!({"resources": ["/consul/*", "!/consul/pre-x", "!/consul/sec*"]});
    let scoped = token(&running, "operator", scope).await;
    for (name, by_role, by_scope) in [
        ("pre-1", 200, 200),
        ("pre-x", 403, 403),
        ("pre-xy", 200, 200),
        ("other", 403, 200),
        ("secret", 403, 403),
    ] {
        for (token, status) in [(&role, by_role), (&scoped, by_scope)] {
            let reply = with(&running, token, "PUT", &format!("/v1/event/fire/{name}")).await;
            assert_eq!(reply.status, status, "{name}");
        }
    }
    for token in [&role, &scoped] {
        let reply = with(&running, token, "GET", "/v1/event/list").await;
        let seen = listed(&reply).0;
        let seen = names(&seen);
        assert!(seen.contains(&"pre-1") && seen.contains(&"other"), "{seen:?}");
        assert!(!seen.contains(&"pre-x") && !seen.contains(&"secret"), "{seen:?}");
        assert_eq!(reply.header("x-consul-results-filtered-by-acls"), Some("true"));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_place_with_a_token_counts() {
    let running = Site::new().start().await;
    let (good, viewer) = (running.token("operator").await, running.token("viewer").await);
    let put = async |query: &str, headers: &[&str]| {
        let path = format!("/v1/event/fire/x?{query}");
        let reply = remote(&running, ("PUT", &path), headers).await;
        (reply.status, reply.body)
    };
    let (header, bearer) =
        (format!("X-Consul-Token: {good}"), format!("Authorization: bEaReR  {good} x"));
    let (weak, wrong) = (format!("X-Consul-Token: {viewer}"), "X-Consul-Token: nonsense");
    let query = format!("token={good}");
    let denied = (403, "Permission denied".to_owned());
    let unknown = (403, "ACL not found".to_owned());
    assert_eq!(put(&query, &[]).await.0, 200);
    assert_eq!(put("", &[&header]).await.0, 200);
    assert_eq!(put("", &[&bearer]).await.0, 200);
    assert_eq!(put(&query, &[&weak, &bearer]).await.0, 200, "the query first");
    assert_eq!(put("token=", &[&weak, &bearer]).await, denied, "then the header");
    assert_eq!(put("", &[wrong, &bearer]).await, unknown, "no second try");
    assert_eq!(put(&format!("token={viewer}"), &[&header]).await, denied);
    let basic = format!("Authorization: Basic {}", base64_of(&format!("any:{good}")));
    assert_eq!(put("", &[&basic]).await.0, 200);
    for nothing in ["Authorization: Beer x", "Authorization: Bearer", "Authorization: Bearertoken"]
    {
        assert_eq!(put("", &[nothing]).await, denied, "{nothing}");
    }
    running.stop().await;
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_nothing_has_the_role_of_the_configuration_or_none() {
    let running = Site::new().start().await;
    fire(&running, "x", "").await;
    let reply = remote(&running, ("GET", "/v1/event/list"), &[]).await;
    assert_eq!((reply.status, listed(&reply)), (200, (Vec::new(), 1)));
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), None);
    let reply = remote(&running, ("PUT", "/v1/event/fire/x"), &[]).await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "Permission denied"));
    let reply = remote(&running, ("GET", "/v1/event/list"), &["X-Consul-Token: nonsense"]).await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "ACL not found"));

    let settings = "[consul]\nanonymous_role = \"guest\"\n[roles.guest]\n\
        grants = [{ classes = [\"consul.event\"], resources = [\"/consul/x*\"] }]\n";
    running.stop().await;
    let running = site(settings).start().await;
    fire(&running, "x", "").await;
    fire(&running, "y", "").await;
    let reply = remote(&running, ("GET", "/v1/event/list"), &[]).await;
    assert_eq!(names(&listed(&reply).0), ["x"]);
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), None, "only with a token");
    assert_eq!(remote(&running, ("PUT", "/v1/event/fire/x"), &[]).await.status, 403);
    let rest = remote(&running, ("POST", "/events/list"), &[]).await;
    assert_eq!(rest.status, 401, "the role is of this face alone");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_says_who_fired_what_and_no_token() {
    let running = Site::new().start().await;
    let token = running.token("operator").await;
    let path = format!("/v1/event/fire/trailed?token={token}");
    let body = crate::http::request("PUT", &path, &[], "payload");
    assert_eq!(crate::http::over_tls(running.tls(), &body).await.status, 200);
    let viewer = running.token("viewer").await;
    assert_eq!(with(&running, &viewer, "PUT", "/v1/event/fire/refused").await.status, 403);
    let mut admin = running.admin().await;
    let args = json!({"action": "query", "limit": 50});
    let trail = admin.call("rpc", "audit", args).await.unwrap().to_string();
    assert!(trail.contains("consul/fire") && trail.contains("trailed"), "{trail}");
    assert!(trail.contains("refused:forbidden") && trail.contains("refused"), "{trail}");
    assert!(!trail.contains(&token) && !trail.contains("cGF5bG9hZA"), "{trail}");
    admin.close().await;
    running.stop().await;
}
