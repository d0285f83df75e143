//! Who gets in, as what, until when.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use protocol::manifest::Kind;
use protocol::{Manifest, Role, Time};
use serde_json::{Value, json};
use sysadmd::clock::Clock;

use crate::harness::{Door, PATIENCE, Running, Site, binary, until};
use crate::http::{self, Reply};

/// The daemon's own methods, as `docs/protocols/sysadm.md` says: action, writes, least role.
const OWN: [(&str, &str, bool, Role); 68] = [
    ("rpc/query", "", false, Role::Viewer),
    ("events/subscribe", "", false, Role::Viewer),
    ("events/list", "", false, Role::Viewer),
    ("events/fire", "", true, Role::Operator),
    ("consul/fire", "", true, Role::Operator),
    ("rpc/plugins", "list", false, Role::Viewer),
    ("rpc/plugins", "start", true, Role::Operator),
    ("rpc/plugins", "stop", true, Role::Operator),
    ("rpc/plugins", "restart", true, Role::Operator),
    ("rpc/plugins", "reload", true, Role::Operator),
    ("rpc/jobs", "run", true, Role::Viewer),
    ("rpc/jobs", "list", false, Role::Viewer),
    ("rpc/jobs", "show", false, Role::Viewer),
    ("rpc/jobs", "wait", false, Role::Viewer),
    ("rpc/jobs", "log", false, Role::Viewer),
    ("rpc/jobs", "abort", true, Role::Viewer),
    ("rpc/jobs", "retry", true, Role::Viewer),
    ("rpc/dispatcher", "run", true, Role::Admin),
    ("rpc/dispatcher", "list", false, Role::Operator),
    ("rpc/dispatcher", "kill", true, Role::Admin),
    ("rpc/logs", "read_logs", false, Role::Viewer),
    ("rpc/tokens", "list", false, Role::Admin),
    ("rpc/tokens", "create", true, Role::Admin),
    ("rpc/tokens", "revoke", true, Role::Admin),
    ("rpc/tokens", "describe", false, Role::Viewer),
    ("rpc/tokens", "rotate", true, Role::Viewer),
    ("rpc/discover", "", false, Role::Viewer),
    ("rpc/deprecations", "", false, Role::Operator),
    ("rpc/triggers", "create", true, Role::Operator),
    ("rpc/triggers", "list", false, Role::Operator),
    ("rpc/triggers", "get", false, Role::Operator),
    ("rpc/triggers", "reveal", true, Role::Operator),
    ("rpc/triggers", "delete", true, Role::Operator),
    ("rpc/triggers", "enable", true, Role::Operator),
    ("rpc/triggers", "disable", true, Role::Operator),
    ("rpc/triggers", "history", false, Role::Operator),
    ("rpc/rules", "create", true, Role::Operator),
    ("rpc/rules", "list", false, Role::Operator),
    ("rpc/rules", "get", false, Role::Operator),
    ("rpc/rules", "delete", true, Role::Operator),
    ("rpc/rules", "enable", true, Role::Operator),
    ("rpc/rules", "disable", true, Role::Operator),
    ("rpc/rules", "retry", true, Role::Operator),
    ("rpc/rules", "history", false, Role::Operator),
    ("rpc/sinks", "list", false, Role::Viewer),
    ("rpc/sinks", "pause", true, Role::Operator),
    ("rpc/sinks", "resume", true, Role::Operator),
    ("rpc/sinks", "test", true, Role::Operator),
    ("rpc/alerts", "list", false, Role::Viewer),
    ("rpc/alerts", "show", false, Role::Viewer),
    ("rpc/alerts", "history", false, Role::Viewer),
    ("rpc/alerts", "acknowledge", true, Role::Operator),
    ("rpc/alerts", "unacknowledge", true, Role::Operator),
    ("rpc/alerts", "silence", true, Role::Operator),
    ("rpc/alerts", "unsilence", true, Role::Operator),
    ("rpc/alerts", "close", true, Role::Operator),
    ("rpc/roles", "", false, Role::Viewer),
    ("rpc/metrics", "", false, Role::Viewer),
    ("rpc/sessions", "list", false, Role::Admin),
    ("rpc/sessions", "revoke", true, Role::Admin),
    ("rpc/settings", "register_ssl_cert", true, Role::Viewer),
    ("rpc/settings", "list_ssl_certs", false, Role::Viewer),
    ("rpc/settings", "list_ssl_checksums", false, Role::Viewer),
    ("rpc/settings", "revoke_ssl_cert", true, Role::Viewer),
    ("rpc/audit", "query", false, Role::Admin),
    ("rpc/audit", "verify", false, Role::Admin),
    ("rpc/audit", "head", false, Role::Admin),
    ("rpc/hello", "", false, Role::Viewer),
];
const ROLES: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// `GET /rpc/query` over TLS with this `Authorization` and these further headers.
async fn rest(door: &Door, authorization: &str, more: &[&str]) -> Reply {
    let mut headers = vec![format!("Authorization: {authorization}")];
    headers.extend(more.iter().map(|line| (*line).to_owned()));
    http::over_tls(door.tls(), &http::request("GET", "/rpc/query", &headers, "")).await
}

/// A websocket over TLS with these headers in its upgrade.
async fn upgrade(door: &Door, headers: &[(&str, &str)]) -> Result<SysAdmClient, String> {
    SysAdmClient::connect_with(Target::Tls { addr: door.tls(), token: None }, headers).await
}

async fn role_of(client: &mut SysAdmClient) -> Value {
    client.call("rpc", "hello", json!({})).await.unwrap()["principal"]["role"].clone()
}

#[tokio::test]
async fn a_token_opens_every_door() {
    let running = Site::new().start().await;
    let token = running.token("operator").await;
    for (name, args) in [
        ("auth", json!({"username": "whoever", "password": token})),
        ("auth_token", json!({"token": token})),
    ] {
        let mut client = running.anonymous().await;
        assert_eq!(role_of(&mut client).await, Value::Null);
        let answer = client.call("rpc", name, args).await.unwrap();
        assert_eq!(answer[1], 900);
        assert_eq!(answer.as_array().unwrap().len(), 2);
        assert_eq!(role_of(&mut client).await, "operator", "{name}");
    }
    for authorization in [basic("whoever", &token), bearer(&token)] {
        let reply = rest(&running, &authorization, &[]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["args"]["events/fire"], "read/write");
        let mut client = upgrade(&running, &[("authorization", &authorization)]).await.unwrap();
        assert_eq!(role_of(&mut client).await, "operator", "{authorization}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_unix_socket_knows_who_is_there() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    let hello = client.call("rpc", "hello", json!({})).await.unwrap();
    assert_eq!(hello["principal"]["role"], "admin");
    let name = hello["principal"]["name"].as_str().unwrap();
    assert!(name.starts_with("local:"), "{name}");
    let mode = std::fs::metadata(&running.socket).unwrap().permissions().mode() & 0o777;
    let root = nix::unistd::geteuid().is_root();
    assert_eq!(mode, if root { 0o666 } else { 0o600 }, "{mode:o}");
    // Whoever says who they are is that, also here.
    let token = running.token("viewer").await;
    client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    assert_eq!(role_of(&mut client).await, "viewer");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn each_role_may_do_exactly_what_is_declared() {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    manifest["limits"]["call_ms"] = 300.into();
    manifest["restart"]["max"] = 100.into();
    let mut site = Site::new().with_plugin(manifest.clone());
    (site.built_in, site.replication) = (true, true);
    let running = site.start().await;
    for plugin in ["kit", "snapshot", "replication"] {
        running.ready(plugin).await;
    }
    let own =
        [snapshot::MANIFEST, replication::MANIFEST].map(|text| Manifest::parse(text).unwrap());
    let kit = Manifest::parse(&manifest.to_string()).unwrap();
    let table = table(&[&[kit], &own[..]].concat());
    let mut nobody = running.anonymous().await;
    for (method, action, ..) in table.iter().filter(|(method, ..)| method != "rpc/hello") {
        assert_eq!(code(&mut nobody, method, action).await, "401", "{method} {action}");
    }
    for role in ROLES {
        let mut client = running.remote(&running.token(role.as_str()).await).await;
        assert_eq!(client.call("rpc", "query", json!("")).await.unwrap(), expected(&table, role));
        // Whoever rotates their own token is gone.
        for (method, action, _, least) in table.iter().filter(|row| row.1 != "rotate") {
            // What ends the plugin is asked last, and of it only whether it is refused.
            let code = code(&mut client, method, action).await;
            let refused = code == "403";
            assert_eq!(refused, role < *least, "{role:?} {method} {action}: {code}");
        }
        running.ready("kit").await;
    }
    drop(nobody);
    running.stop().await;
}

/// Method, action, whether it writes, least role.
type Row = (String, String, bool, Role);

fn table(manifests: &[Manifest]) -> Vec<Row> {
    let mut table: Vec<Row> = OWN
        .iter()
        .map(|(method, action, writes, role)| {
            ((*method).to_owned(), (*action).to_owned(), *writes, *role)
        })
        .collect();
    for method in manifests.iter().flat_map(|manifest| &manifest.methods) {
        let action = method.action.clone().unwrap_or_default();
        let writes = method.kind == Kind::Mutate;
        table.push((method.method.clone(), action, writes, method.role));
    }
    table
}

/// What `rpc/query` answers to this role.
fn expected(table: &[Row], role: Role) -> Value {
    let mut usable = BTreeMap::from([("rpc/identify", false)]);
    for (method, _, writes, _) in table.iter().filter(|(.., least)| role >= *least) {
        *usable.entry(method).or_default() |= *writes;
    }
    let word = |writes| if writes { "read/write" } else { "read" };
    json!(usable.into_iter().map(|(name, writes)| (name, word(writes))).collect::<BTreeMap<_, _>>())
}

/// The code of the refusal; empty when there is none. The arguments name nothing that exists.
async fn code(client: &mut SysAdmClient, method: &str, action: &str) -> String {
    let (namespace, name) = method.split_once('/').unwrap();
    let args = if action.is_empty() { json!({}) } else { json!({"action": action}) };
    match client.call(namespace, name, args).await {
        Ok(_) => String::new(),
        Err(refusal) => refusal["code"].as_str().unwrap().to_owned(),
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_at_every_door() {
    let running = Site::new().start().await;
    let token = running.token("admin").await;
    let wrong = [
        String::new(),
        "x".to_owned(),
        token[1..].to_owned(),
        format!("{token} "),
        token.to_uppercase(),
    ];
    let mut client = running.anonymous().await;
    let mut refusals = Vec::new();
    for wrong in &wrong {
        for (name, args) in [
            ("auth", json!({"username": "root", "password": wrong})),
            ("auth_token", json!({"token": wrong})),
            ("auth", json!({"username": "root", "password": [wrong]})),
            ("auth_ssl", json!({"encrypted_string": wrong})),
        ] {
            // Without an answer it is a question.
            if name == "auth_ssl" && wrong.is_empty() {
                continue;
            }
            refusals.push(client.call("rpc", name, args).await.unwrap_err());
        }
    }
    // Five cost time; then there is a time to wait.
    let (first, later) = refusals.split_at(5);
    for refusal in first {
        assert_eq!(
            (&refusal["code"], &refusal["message"]),
            (&json!("401"), &json!("Unauthorized"))
        );
    }
    let told_to_wait = |refusal: &&Value| {
        refusal["code"] == "429" && refusal["fault"]["retry_after_ms"].as_u64() > Some(0)
    };
    assert!(later.iter().any(|refusal| told_to_wait(&refusal)), "{later:?}");
    assert_eq!(client.call("rpc", "query", json!("")).await.unwrap_err()["code"], "401");
    // The failures have not spoilt the connection, and whoever has a token does not wait.
    client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn wrong_credentials_are_refused_over_http() {
    let running = Site::new().start().await;
    for authorization in
        [basic("root", "wrong"), bearer("wrong"), "Digest x".to_owned(), "x".to_owned()]
    {
        let reply = rest(&running, &authorization, &[]).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(reply.header("www-authenticate").is_some_and(|it| it.starts_with("Basic ")));
        assert!(upgrade(&running, &[("authorization", &authorization)]).await.is_err());
    }
    let bare = http::over_tls(running.tls(), &http::request("GET", "/rpc/query", &[], "")).await;
    assert_eq!(bare.status, 401);
    running.stop().await;
}

#[tokio::test]
async fn a_failed_login_leaves_a_logged_in_connection_as_it_was() {
    let running = Site::new().start().await;
    let mut client = running.remote(&running.token("operator").await).await;
    client.subscribe(json!({"sub": "s", "filter": {"classes": ["user.*"]}})).await.unwrap();
    let refusal = client.call("rpc", "auth_token", json!({"token": "wrong"})).await.unwrap_err();
    assert_eq!(refusal["code"], "401");
    assert_eq!(role_of(&mut client).await, "operator");
    client.call("events", "fire", json!({"class": "user.a"})).await.unwrap();
    assert_eq!(client.event().await["id"], "s");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn revoking_a_token_cuts_everybody_who_came_by_it() {
    let running = Site::new().start().await;
    let made = running.make_token(json!({"name": "doomed", "role": "viewer"})).await;
    let (id, token) = (made["id"].clone(), made["token"].as_str().unwrap());
    let mut first = running.remote(token).await;
    let answer = first.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    let session = answer[0].as_str().unwrap().to_owned();
    let mut second = running.remote(&session).await;
    let mut third = upgrade(&running, &[("authorization", &bearer(token))]).await.unwrap();
    let mut other = running.remote(&running.token("viewer").await).await;
    let clients = [&mut first, &mut second, &mut third];
    for client in clients {
        client.subscribe(json!({"sub": "s", "filter": {"classes": ["user.*"]}})).await.unwrap();
    }
    let mut admin = running.admin().await;
    admin.call("rpc", "tokens", json!({"action": "revoke", "id": id})).await.unwrap();
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.closed().await.0, 4001);
    }
    for dead in [token, &session] {
        assert_eq!(rest(&running, &bearer(dead), &[]).await.status, 401);
        let mut client = running.anonymous().await;
        let refusal = client.call("rpc", "auth_token", json!({"token": dead})).await.unwrap_err();
        assert_eq!(refusal["code"], "401");
    }
    assert_eq!(role_of(&mut other).await, "viewer", "others stay");
    let again = admin.call("rpc", "tokens", json!({"action": "revoke", "id": id})).await;
    assert_eq!(again.unwrap_err()["code"], "404");
    drop((first, second, third, other, admin));
    running.stop().await;
}

/// A daemon whose clock stands still, and a token that is good for a minute of it.
async fn with_a_minute() -> (Running, Clock, String) {
    let mut site = Site::new();
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    let running = site.start().await;
    let args = json!({"name": "short", "role": "viewer", "expires_s": 60});
    let token = running.make_token(args).await["token"].as_str().unwrap().to_owned();
    (running, clock, token)
}

#[tokio::test]
async fn an_expired_token_cuts_its_connections() {
    let (running, clock, token) = with_a_minute().await;
    let mut asking = running.remote(&token).await;
    let mut listening = running.remote(&token).await;
    let mut by_header = upgrade(&running, &[("authorization", &bearer(&token))]).await.unwrap();
    let wanted = json!({"sub": "s", "filter": {"classes": ["user.*"]}, "heartbeat_s": 1});
    listening.subscribe(wanted).await.unwrap();
    let session = asking.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    clock.advance(Duration::from_secs(59));
    assert_eq!(role_of(&mut asking).await, "viewer");
    clock.advance(Duration::from_secs(1));
    for client in [&mut asking, &mut by_header] {
        client.send("rpc", "query", json!("")).await;
        assert_eq!(client.came_within(PATIENCE).await, Some(expired()), "unanswered");
    }
    assert_eq!(listening.closed().await.0, 4001, "though it says nothing");
    for dead in [&token, session[0].as_str().unwrap()] {
        assert_eq!(rest(&running, &bearer(dead), &[]).await.status, 401);
    }
    drop((asking, listening, by_header));
    running.stop().await;
}

fn expired() -> Came {
    Came::Closed(4001, "the login has expired".to_owned())
}

#[tokio::test]
async fn a_token_of_a_second_ends_after_it_by_itself() {
    let running = Site::new().start().await;
    let args = json!({"name": "brief", "role": "viewer", "expires_s": 1});
    let token = running.make_token(args).await["token"].as_str().unwrap().to_owned();
    // It may have expired before the login on a very slow machine; then it is refused.
    let target = Target::Tls { addr: running.tls(), token: Some(token.clone()) };
    if let Ok(mut client) = SysAdmClient::connect(target).await {
        assert_eq!(client.closed().await, (4001, "the login has expired".to_owned()));
    }
    assert_eq!(rest(&running, &bearer(&token), &[]).await.status, 401);
    running.stop().await;
}

#[tokio::test]
async fn logging_out_ends_subscriptions_and_the_session() {
    let running = Site::new().start().await;
    let token = running.token("operator").await;
    let mut client = running.remote(&token).await;
    let answer = client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    let session = answer[0].as_str().unwrap().to_owned();
    client.subscribe(json!("dispatcher")).await.unwrap();
    let wanted = json!({"sub": "mine", "filter": {"classes": ["user.*"]}});
    client.subscribe(wanted.clone()).await.unwrap();
    client.send("rpc", "auth_clear", json!("")).await;
    assert_eq!(role_of(&mut client).await, Value::Null);
    let mut admin = running.admin().await;
    admin.call("events", "fire", json!({"class": "user.unheard"})).await.unwrap();
    let refusal = client.call("rpc", "auth_token", json!({"token": session})).await.unwrap_err();
    assert_eq!(refusal["code"], "401", "the session has ended");
    client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    client.subscribe(wanted).await.unwrap();
    admin.call("events", "fire", json!({"class": "user.heard"})).await.unwrap();
    assert_eq!(client.event().await["args"]["class"], "user.heard");
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn a_session_token_is_used_again_and_ends_of_silence() {
    let mut site = Site::new();
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    let running = site.start().await;
    let token = running.token("operator").await;
    let mut client = running.remote(&token).await;
    let answer = client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    let session = answer[0].as_str().unwrap().to_owned();
    assert_ne!(session, token, "the made token is not handed around");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(800));
        let mut other = running.remote(&session).await;
        let again = other.call("rpc", "auth_token", json!({"token": session})).await.unwrap();
        assert_eq!(again, json!([session, 900]));
        assert_eq!(role_of(&mut other).await, "operator");
        assert_eq!(rest(&running, &bearer(&session), &[]).await.status, 200);
    }
    drop(client);
    // The end of a connection is a use, and it comes a moment later.
    until("the silence was long enough", async || {
        clock.advance(Duration::from_secs(901));
        rest(&running, &bearer(&session), &[]).await.status == 401
    })
    .await;
    assert_eq!(rest(&running, &bearer(&token), &[]).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_use_stored_credentials() {
    let running = Site::new().start().await;
    let token = running.token("admin").await;
    let authorization = basic("admin", &token);
    let foreign = ["https://evil.example", "http://localhost:1"];
    for origin in foreign {
        let reply = rest(&running, &authorization, &[&format!("Origin: {origin}")]).await;
        assert_eq!(reply.status, 403, "{origin}: {reply:?}");
        let headers = [("authorization", authorization.as_str()), ("origin", origin)];
        assert!(upgrade(&running, &headers).await.is_err(), "{origin}");
    }
    for origin in ["sysadm-client", "https://localhost"] {
        let reply = rest(&running, &authorization, &[&format!("Origin: {origin}")]).await;
        assert_eq!(reply.status, 200, "{origin}: {reply:?}");
        let headers = [("authorization", authorization.as_str()), ("origin", origin)];
        upgrade(&running, &headers).await.unwrap().close().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn without_tls_only_on_loopback() {
    let site = Site::new();
    let mut command = Command::new(binary());
    command.arg("--state-dir").arg(site.path());
    command.args(["--listen", "127.0.0.1:0", "--listen-plain", "0.0.0.0:0"]);
    let refused = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(sentence.contains("0.0.0.0:0") && sentence.contains("loopback"), "{sentence}");

    let mut site = site;
    site.plain = true;
    let running = site.start().await;
    let addr = running.addresses[1];
    let token = running.token("viewer").await;
    let mut client =
        SysAdmClient::connect(Target::Plain { addr, token: Some(token) }).await.unwrap();
    assert_eq!(role_of(&mut client).await, "viewer");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn the_certificate_is_made_once_and_its_key_is_private() {
    let running = Site::new().start().await;
    let tls = running.site.path().join("tls");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&tls.join("key.pem")), 0o600);
    assert_eq!(mode(&tls), 0o700);
    let fingerprint = running.daemon.fingerprint();
    let mut admin = running.admin().await;
    let hello = admin.call("rpc", "hello", json!({})).await.unwrap();
    assert_eq!(hello["fingerprint"], fingerprint.as_str());
    drop(admin);
    let running = running.restart().await;
    assert_eq!(running.daemon.fingerprint(), fingerprint);
    assert_eq!(mode(&tls.join("key.pem")), 0o600);
    running.stop().await;
}

#[tokio::test]
async fn a_secret_is_nowhere_but_with_its_owner() {
    let program = Site::new().spawn().await;
    let made = program.make_token(json!({"name": "secret", "role": "admin"})).await;
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("sad_") && token.len() >= 4 + 43, "256 random bits");
    let mut client = program.remote(&token).await;
    let session = client.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    let session = session[0].as_str().unwrap().to_owned();
    rest(&program, &bearer(&token), &[]).await;
    let wrong = client.call("rpc", "auth", json!({"password": "hunter2-hunter2"})).await;
    wrong.unwrap_err();
    let listed = client.call("rpc", "tokens", json!({"action": "list"})).await.unwrap();
    drop(client);
    let log = program.log();
    let mut places = vec![log.into_bytes(), listed.to_string().into_bytes()];
    let site = program.stop().await;
    for entry in std::fs::read_dir(site.path()).unwrap().flatten() {
        places.extend(std::fs::read(entry.path()).ok());
    }
    for secret in [token.as_str(), &session, "hunter2-hunter2"] {
        let found = |place: &Vec<u8>| place.windows(secret.len()).any(|it| it == secret.as_bytes());
        assert!(!places.iter().any(found), "a secret was written down");
    }
}
