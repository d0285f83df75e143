//! What somebody with confined rights may do: roles of the administrator and scopes of tokens, at
//! every method of the daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use protocol::Role;
use protocol::manifest::Kind;
use serde_json::{Value, json};
use sysadmd::dispatch::{Builtin, Needs, own_methods};
use tokio::time::sleep;

use crate::harness::{Door, Site};

/// A viewer who may do a few things more, and somebody who may restart one plugin.
const ROLES: &str = r#"
[roles.keeper]
level = "viewer"
[[roles.keeper.grants]]
methods = ["rpc/plugins:restart", "rpc/plugins:stop"]
resources = ["/plugins/kit", "/plugins/spare-*"]
[[roles.keeper.grants]]
methods = ["events/fire"]
classes = ["user.tank.*"]
resources = ["/tank/*"]
[[roles.keeper.grants]]
methods = ["rpc/audit:head", "kit/publish"]

[roles.restarter]
[[roles.restarter.grants]]
methods = ["rpc/plugins:restart"]
resources = ["/plugins/kit"]
"#;

fn site() -> Site {
    let mut site = Site::new().with_kit();
    site.settings.push_str(ROLES);
    site
}

async fn with_scope(door: &Door, role: &str, scope: Value) -> SysAdmClient {
    let made = door.make_token(json!({"name": "scoped", "role": role, "scope": scope})).await;
    door.remote(made["token"].as_str().unwrap()).await
}

/// The code of the refusal; empty when there is none.
async fn code(client: &mut SysAdmClient, method: &str, args: Value) -> String {
    let (namespace, name) = method.split_once('/').unwrap();
    match client.call(namespace, name, args).await {
        Ok(_) => String::new(),
        Err(refusal) => refusal["code"].as_str().unwrap().to_owned(),
    }
}

async fn may(client: &mut SysAdmClient, method: &str, args: Value) -> bool {
    code(client, method, args).await != "403"
}

/// What a keeper is granted beside what a viewer may.
fn is_granted_to_keepers(own: &Builtin) -> bool {
    matches!(
        (own.method, own.action),
        ("rpc/plugins", Some("restart" | "stop"))
            | ("rpc/audit", Some("head"))
            | ("events/fire", _)
    )
}

fn may_by_table(own: &Builtin, role: &str) -> bool {
    let Needs::Role(least) = own.needs else { return true };
    let level = if role == "keeper" { Role::Viewer } else { Role::parse(role).unwrap() };
    level >= least || role == "keeper" && is_granted_to_keepers(own)
}

/// Arguments that are within a keeper's grants and change nothing that matters.
fn args_for(own: &Builtin) -> Value {
    match (own.method, own.action) {
        ("events/fire", _) => json!({"class": "user.tank.x", "subject": "/tank/x"}),
        ("rpc/plugins", Some(action)) => json!({"action": action, "id": "spare-x"}),
        (_, Some(action)) => json!({ "action": action }),
        _ => json!({}),
    }
}

#[tokio::test]
async fn every_method_of_the_daemon_asks_for_the_rights_it_declares() {
    let running = site().start().await;
    running.ready("kit").await;
    for role in ["viewer", "operator", "admin", "keeper"] {
        let mut client = running.remote(&running.token(role).await).await;
        let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
        let called = own_methods().filter(|own| !own.method.starts_with("rpc/auth"));
        for own in called.filter(|own| own.method != "events/unsubscribe") {
            if may_by_table(own, role) {
                let word = listed.entry(own.method).or_insert("read");
                if own.kind == Kind::Mutate {
                    *word = "read/write";
                }
            }
            // Whoever rotates their own token is gone.
            if own.action != Some("rotate") {
                let may = may(&mut client, own.method, args_for(own)).await;
                assert_eq!(may, may_by_table(own, role), "{role} {} {:?}", own.method, own.action);
            }
        }
        let answer = client.call("rpc", "query", json!("")).await.unwrap();
        let answer =
            answer.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("kit/"));
        let answer: BTreeMap<&str, &str> =
            answer.map(|(name, word)| (name.as_str(), word.as_str().unwrap())).collect();
        assert_eq!(answer, listed, "{role}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_grant_reaches_as_far_as_its_resources_and_classes() {
    let running = site().start().await;
    running.ready("kit").await;
    let mut keeper = running.remote(&running.token("keeper").await).await;
    let plugin = |action: &str, id: &str| json!({"action": action, "id": id});
    for (args, may_be) in [
        (plugin("restart", "spare-1"), true),
        (plugin("stop", "spare-"), true),
        (plugin("start", "kit"), false),
        (plugin("restart", "other"), false),
        (plugin("restart", "kit2"), false),
        (plugin("restart", "spare-/../other"), false),
        (json!({"action": "restart"}), false),
        (json!({"action": "restart", "id": ["kit"]}), false),
    ] {
        assert_eq!(may(&mut keeper, "rpc/plugins", args.clone()).await, may_be, "{args}");
        assert_eq!(may(&mut keeper, "RPC/Plugins", args.clone()).await, may_be, "{args}");
    }
    let event = |class: &str, subject: &str| json!({"class": class, "subject": subject});
    for (args, may_be) in [
        (event("user.tank.full", "/tank/home"), true),
        (event("user.tank.full", "/tanker"), false),
        (event("user.tank.full", ""), false),
        (event("user.tank.full", "/tank/../other"), false),
        (event("user.other", "/tank/home"), false),
        (event("user.tanks.full", "/tank/home"), false),
        (json!({}), false),
    ] {
        assert_eq!(may(&mut keeper, "events/fire", args.clone()).await, may_be, "{args}");
    }
    assert!(may(&mut keeper, "kit/publish", json!({"draft": {"class": "kit.event"}})).await);
    assert!(!may(&mut keeper, "kit/self", json!({})).await);
    drop(keeper);
    running.stop().await;
}

#[tokio::test]
async fn a_restarter_restarts_one_plugin_and_does_nothing_else() {
    let running = site().start().await;
    running.ready("kit").await;
    let mut client = running.remote(&running.token("restarter").await).await;
    let restart = json!({"action": "restart", "id": "kit"});
    client.call("rpc", "plugins", restart).await.expect("it is restarted");
    running.ready("kit").await;
    for args in [
        json!({"action": "stop", "id": "kit"}),
        json!({"action": "list"}),
        json!({"action": "restart", "id": "snapshot"}),
    ] {
        assert!(!may(&mut client, "rpc/plugins", args.clone()).await, "{args}");
    }
    assert!(!may(&mut client, "kit/echo", json!({})).await);
    let listed = client.call("rpc", "query", json!("")).await.unwrap();
    assert_eq!(listed["rpc/plugins"], "read/write");
    for absent in ["kit/echo", "events/fire", "rpc/audit", "rpc/roles"] {
        assert_eq!(listed.get(absent), None, "{absent}");
    }
    let page = client.call("events", "list", json!({})).await.unwrap();
    assert_eq!(page["events"], json!([]), "nothing is granted to be heard");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_scope_takes_from_a_role_and_adds_nothing() {
    let running = site().start().await;
    running.ready("kit").await;
    let scope = json!({"methods": ["kit/*", "rpc/plugins:restart"]});
    let mut methods = with_scope(&running, "operator", scope).await;
    assert!(may(&mut methods, "kit/self", json!({})).await);
    assert!(!may(&mut methods, "kit/exit", json!({"code": 0})).await, "the role still counts");
    assert!(!may(&mut methods, "rpc/plugins", json!({"action": "list"})).await);
    assert!(!may(&mut methods, "events/fire", json!({})).await);
    let listed = methods.call("rpc", "query", json!("")).await.unwrap();
    assert_eq!(listed.get("kit/exit"), None);
    assert_eq!(listed.get("rpc/audit"), None);
    assert_eq!(listed["kit/self"], "read");

    let classes = json!({"classes": ["user.tank.*"]});
    let mut classes = with_scope(&running, "operator", classes).await;
    assert!(may(&mut classes, "events/fire", json!({"class": "user.tank.x"})).await);
    assert!(!may(&mut classes, "events/fire", json!({"class": "user.other"})).await);
    classes.subscribe(json!({"sub": "s", "from": "oldest"})).await.unwrap();
    let mut admin = running.admin().await;
    for class in ["user.other", "user.tank.last"] {
        admin.call("events", "fire", json!({ "class": class })).await.unwrap();
    }
    let heard = classes.events(2).await;
    assert_eq!(heard[0]["args"]["class"], "user.tank.x");
    assert_eq!(heard[1]["args"]["class"], "user.tank.last");

    let scope = json!({"resources": ["/tank/*", "/plugins/spare"]});
    let mut bound = with_scope(&running, "admin", scope).await;
    let spare = json!({"action": "restart", "id": "spare"});
    assert_eq!(code(&mut bound, "rpc/plugins", spare).await, "404");
    assert!(!may(&mut bound, "rpc/plugins", json!({"action": "restart", "id": "kit"})).await);
    assert!(!may(&mut bound, "rpc/tokens", json!({"action": "list"})).await);
    let event = json!({"class": "user.x", "subject": "/tank/x"});
    assert_eq!(code(&mut bound, "events/fire", event).await, "");
    assert!(!may(&mut bound, "events/fire", json!({"class": "user.x"})).await);
    let listed = bound.call("rpc", "query", json!("")).await.unwrap();
    assert_eq!(listed.get("rpc/audit"), None, "it is about nothing, so never within the bounds");
    assert_eq!(listed["events/fire"], "read/write");
    drop((methods, classes, bound, admin));
    running.stop().await;
}

#[tokio::test]
async fn a_token_is_accepted_from_its_sources_only() {
    let running = site().start().await;
    let made = |sources: &str| {
        let args = json!({"name": "s", "role": "viewer", "scope": {"sources": [sources]}});
        let door: Door = (*running).clone();
        async move { door.make_token(args).await["token"].as_str().unwrap().to_owned() }
    };
    for (sources, over_tcp, over_unix) in
        [("127.0.0.0/8", true, false), ("192.0.2.0/24", false, false), ("local", false, true)]
    {
        let token = made(sources).await;
        let target = Target::Tls { addr: running.tls(), token: Some(token.clone()) };
        assert_eq!(SysAdmClient::connect(target).await.is_ok(), over_tcp, "{sources}");
        let mut local = running.admin().await;
        let answer = local.call("rpc", "auth_token", json!({"token": token})).await;
        assert_eq!(answer.is_ok(), over_unix, "{sources}: {answer:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_token_makes_so_many_calls_a_second_on_all_its_connections() {
    let running = site().start().await;
    let args = json!({"name": "r", "role": "viewer", "scope": {"rate_per_s": 5}});
    let token = running.make_token(args).await["token"].as_str().unwrap().to_owned();
    let mut clients = [running.remote(&token).await, running.remote(&token).await];
    let mut refusal = None;
    for turn in 0..1_000 {
        if let Err(refused) = clients[turn % 2].call("rpc", "roles", json!({})).await {
            assert!(turn >= 10, "twice the rate at once: {turn}");
            refusal = Some(refused);
            break;
        }
    }
    let refusal = refusal.expect("some call is one too many");
    assert_eq!(refusal["code"], "429", "{refusal}");
    let wait = refusal["fault"]["retry_after_ms"].as_u64().expect("when to try again");
    assert!((1..=200).contains(&wait), "{refusal}");
    let mut other = running.remote(&running.token("viewer").await).await;
    assert_eq!(code(&mut other, "rpc/roles", json!({})).await, "");
    sleep(Duration::from_millis(wait + 50)).await;
    assert_eq!(code(&mut clients[0], "rpc/roles", json!({})).await, "");
    drop((clients, other));
    running.stop().await;
}

#[tokio::test]
async fn a_rotated_token_is_another_one_at_once() {
    let running = site().start().await;
    let scope = json!({"methods": ["rpc/plugins"]});
    let made = running.make_token(json!({"name": "t", "role": "viewer", "scope": scope})).await;
    let (id, old) = (made["id"].clone(), made["token"].as_str().unwrap().to_owned());
    let (mut first, mut second) = (running.remote(&old).await, running.remote(&old).await);
    let mut described = first.call("rpc", "tokens", json!({"action": "describe"})).await.unwrap();
    assert_eq!(described["scope"], scope);
    described["token"] = old.clone().into();
    assert_eq!(described, made, "all but the secret can be seen");

    let rotated = first.call("rpc", "tokens", json!({"action": "rotate"})).await;
    let rotated = rotated.expect("one's own may be rotated, and the new one is told");
    assert_eq!((&rotated["id"], &rotated["scope"]), (&id, &scope));
    for client in [&mut first, &mut second] {
        assert_eq!(client.closed().await, (4001, "the login was revoked".to_owned()));
    }
    let target = Target::Tls { addr: running.tls(), token: Some(old) };
    assert!(SysAdmClient::connect(target).await.is_err(), "the old secret is dead");
    let new = rotated["token"].as_str().unwrap();
    let mut third = running.remote(new).await;

    // Another's is an unconfined administrator's business.
    let mut stranger = running.remote(&running.token("viewer").await).await;
    for action in ["describe", "rotate"] {
        let args = json!({"action": action, "id": id});
        assert!(!may(&mut stranger, "rpc/tokens", args).await, "{action}");
    }
    let mut admin = running.admin().await;
    let args = json!({"action": "rotate", "id": id});
    admin.call("rpc", "tokens", args).await.expect("an administrator may");
    assert_eq!(third.closed().await.0, 4001);
    drop((first, second, third, stranger, admin));
    running.stop().await;
}

#[tokio::test]
async fn only_an_administrator_who_is_not_confined_makes_tokens() {
    let mut site = site();
    site.settings += "[roles.clerk]\nlevel = \"operator\"\n[[roles.clerk.grants]]\n\
                      methods = [\"*\"]\nclasses = [\"*\"]\n";
    let running = site.start().await;
    let create = json!({"action": "create", "name": "more", "role": "admin"});
    let mut clerk = running.remote(&running.token("clerk").await).await;
    assert!(may(&mut clerk, "rpc/tokens", json!({"action": "list"})).await);
    assert!(!may(&mut clerk, "rpc/tokens", create.clone()).await);
    for scope in [
        json!({"methods": ["*"]}),
        json!({"methods": ["rpc/*"]}),
        json!({"classes": ["*"]}),
        json!({"resources": ["/*"]}),
    ] {
        let mut confined = with_scope(&running, "admin", scope.clone()).await;
        assert!(!may(&mut confined, "rpc/tokens", create.clone()).await, "{scope}");
    }
    let mut free = running.remote(&running.token("admin").await).await;
    assert!(may(&mut free, "rpc/tokens", create).await);
    let unknown = json!({"action": "create", "name": "x", "role": "nobody"});
    assert_eq!(code(&mut free, "rpc/tokens", unknown).await, "400");
    let bad = json!({"action": "create", "name": "x", "role": "viewer", "scope": {"methods": []}});
    assert_eq!(code(&mut free, "rpc/tokens", bad).await, "400");
    let listed = free.call("rpc", "roles", json!({})).await.unwrap();
    let names: Vec<&str> =
        listed["roles"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "clerk", "keeper", "operator", "restarter", "viewer"]);
    drop((clerk, free));
    running.stop().await;
}
