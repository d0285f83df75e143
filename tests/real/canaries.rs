//! Secrets of every kind go through a daemon that logs all it can, two hundred times, and are found
//! nowhere afterwards: not in its log, its audit trail, its events, its refusals, its database, nor
//! in the command line or the environment of any process.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::client::{SysAdmClient, Target};
use kit::plugins::workspace_program;
use serde_json::{Value, json};

use crate::it::harness::program::LINES_MAX;
use crate::it::harness::{Program, Site};
use crate::it::http;
use crate::passwords::{Account, UNIX};
use crate::run;

/// Rounds of calls; each is more than twenty.
const ROUNDS: usize = 10;

#[test]
fn no_secret_is_written_down_anywhere() {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    let account = Account::new(UNIX);
    let mut secrets = Secrets::new();
    account.set(&secrets.password);
    run(async {
        let program = site(&account).spawn().await;
        program.ready("kit").await;
        leaves_no_core(&program);
        secrets.made(&program, &account.user).await;
        let all = secrets.all();
        assert!(all.len() >= 14, "{}", all.len());
        let watch = Watch::begin(all.clone());
        let mut refusals = Vec::new();
        let mut calls = 0;
        for round in 0..ROUNDS {
            calls += round_of_calls(&program, &secrets, &account.user, &mut refusals).await;
            // Refusals are there, and in the first round nothing is refused that is right.
            assert!(!refusals.is_empty(), "round {round}");
        }
        assert!(calls >= 200, "{calls} calls");
        // A request that ends in its middle is told at this level only.
        drop(http::over_tls(program.tls(), b"GET /rpc").await);
        let looks = watch.end();
        assert!(looks > 5, "/proc was looked at {looks} times");
        let told = told(&program).await;
        let log = program.log();
        assert!(log.lines().count() < LINES_MAX, "lines of the log are missing");
        assert!(log.contains("DEBUG"), "it did not say all it can:\n{log}");
        let site = program.stop().await;
        let mut places = vec![
            ("the log".to_owned(), log.into_bytes()),
            ("what it tells".to_owned(), told.into_bytes()),
            ("refusals".to_owned(), refusals.join("\n").into_bytes()),
        ];
        collect(site.path(), &mut places);
        assert!(
            places.iter().any(|(name, bytes)| name.ends_with("sysadmd.db") && !bytes.is_empty())
        );
        for (what, secret) in &all {
            let found = places.iter().find(|(_, bytes)| contains(bytes, secret));
            assert!(found.is_none(), "{what} is in {:?}", found.map(|(name, _)| name));
        }
    });
}

/// Nor would any of it be in a core file.
fn leaves_no_core(program: &Program) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).expect("its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().take(2).collect();
    assert_eq!(words, ["0", "0"], "{limits}");
}

/// Everything that must not be written down.
struct Secrets {
    /// Of the user of this machine.
    password: String,
    /// Made, rotated away, and its successor.
    made: String,
    rotated: String,
    successor: String,
    session: String,
    /// What was never right.
    wrong: Vec<(&'static str, String)>,
    key: String,
}

impl Secrets {
    fn new() -> Self {
        let kinds = [
            "wrong password",
            "name that is a password!",
            "wrong bearer",
            "wrong basic",
            "wrong token in a body",
            "answer of a key",
            "declared argument",
            "nested argument",
            "broken message",
            "argument of a wrong type",
            "query of a path",
        ];
        let wrong = kinds.map(|kind| (kind, canary(kind)));
        let empty = String::new;
        let (made, rotated, successor, session) = (empty(), empty(), empty(), empty());
        let wrong = wrong.to_vec();
        let password = canary("password");
        Self { password, made, rotated, successor, session, wrong, key: empty() }
    }

    /// Those that only a daemon makes.
    async fn made(&mut self, program: &Program, user: &str) {
        self.made = program.token("admin").await;
        let made = program.make_token(json!({"name": "worn", "role": "viewer"})).await;
        made["token"].as_str().expect("a token").clone_into(&mut self.rotated);
        let args = json!({"action": "rotate", "id": made["id"]});
        let answer = program.admin().await.call("rpc", "tokens", args).await;
        let answer = answer.expect("a token is rotated");
        answer["token"].as_str().expect("a token").clone_into(&mut self.successor);
        let mut client = program.anonymous().await;
        let args = json!({"username": user, "password": self.password});
        let session = client.call("rpc", "auth", args).await.expect("the password is right");
        session[0].as_str().expect("a session token").clone_into(&mut self.session);
        let key = fs::read_to_string(program.site().path().join("tls/key.pem"));
        let key = key.expect("a key of its own");
        key.lines().nth(1).expect("a line of base64").clone_into(&mut self.key);
    }

    fn all(&self) -> Vec<(&'static str, String)> {
        let mut all = self.wrong.clone();
        for (what, secret) in [
            ("password", &self.password),
            ("made token", &self.made),
            ("rotated token", &self.rotated),
            ("its successor", &self.successor),
            ("session token", &self.session),
            ("private key", &self.key),
        ] {
            assert!(secret.len() >= 16, "{what}");
            all.push((what, secret.clone()));
        }
        // As they come in the headers.
        for (what, user, secret) in
            [("basic header", "x", &self.made), ("wrong header", "root", &canary("wrong basic"))]
        {
            all.push((what, STANDARD.encode(format!("{user}:{secret}"))));
        }
        all
    }

    fn wrong(&self, kind: &str) -> &str {
        &self.wrong.iter().find(|(what, _)| *what == kind).expect("a kind").1
    }
}

/// Some text that stands nowhere by chance, and is the same each time.
fn canary(kind: &str) -> String {
    let letters: String = kind.chars().map(|c| if c == ' ' { '-' } else { c }).collect();
    format!("canary-{letters}-{}-4711", std::process::id())
}

fn site(account: &Account) -> Site {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    let methods = manifest["methods"].as_array_mut().expect("methods");
    let publish = methods.iter_mut().find(|method| method["method"] == "kit/publish");
    publish.expect("kit/publish")["secrets"] = json!(["pin"]);
    let mut site = Site::new().with_plugin(manifest);
    let helper = workspace_program("sysadmd-pam", "sysadmd-pam").display().to_string();
    let user = &account.user;
    site.settings = format!(
        "[access]\npam_helper = {helper:?}\npam_service = {user:?}\ngroups = {{ admin = [{user:?}] }}\n"
    );
    site.plain = true;
    site.log = Some("trace,tungstenite=trace,hyper=trace,rustls=trace");
    site
}

/// One of each, over a websocket and over HTTP; how many.
async fn round_of_calls(
    program: &Program,
    secrets: &Secrets,
    user: &str,
    refusals: &mut Vec<String>,
) -> usize {
    let calls = logins(secrets, user);
    let count = calls.len();
    let mut stranger = program.anonymous().await;
    for (name, args) in calls {
        if name == "auth_clear" {
            // Nothing answers it.
            stranger.send("rpc", name, args).await;
            continue;
        }
        let answer = stranger.call("rpc", name, args).await;
        refusals.extend(answer.err().map(|refusal| refusal.to_string()));
    }
    // Not even JSON.
    let broken = secrets.wrong("broken message");
    stranger.send_raw(&format!("{{\"name\":\"auth\",\"args\":{{\"password\":\"{broken}\"")).await;
    refusals.push(stranger.next().await.to_string());
    let plugin = plugin_calls(program, secrets, refusals).await;
    let jsonrpc = jsonrpc_calls(program, secrets, user, refusals).await;
    count + 1 + plugin + jsonrpc + requests(program, secrets, user, refusals).await
}

/// The same in JSON-RPC, on a websocket and by POST, where logins are refused.
async fn jsonrpc_calls(
    program: &Program,
    secrets: &Secrets,
    user: &str,
    refusals: &mut Vec<String>,
) -> usize {
    let said = |method: String, params: Value| {
        let params = if params.is_object() { params } else { json!([params]) };
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
    };
    let logins = logins(secrets, user).into_iter();
    let mut calls: Vec<String> =
        logins.map(|(name, args)| said(format!("rpc.{name}"), args)).collect();
    let pin = json!({"pin": secrets.wrong("declared argument"), "draft": 1});
    calls.push(said("kit.publish".to_owned(), pin));
    calls.push(format!(
        "{{\"method\":\"rpc.auth\",\"params\":\"{}",
        secrets.wrong("broken message")
    ));
    calls.push(format!("[{},{}]", calls[0], calls[1]));
    let target = Target::Tls { addr: program.tls(), token: None };
    let mut stranger =
        SysAdmClient::connect_at(target, "/jsonrpc", &[]).await.expect("a connection");
    for call in &calls {
        stranger.send_raw(call).await;
        let answer = stranger.next().await.to_string();
        if !answer.contains("\"result\"") {
            refusals.push(answer);
        }
        for secret in [&secrets.made, secrets.wrong("wrong bearer")] {
            let headers = [
                format!("Authorization: Bearer {secret}"),
                "Content-Type: application/json".to_owned(),
            ];
            let request = http::request("POST", "/jsonrpc", &headers, call);
            let reply = http::over_tls(program.tls(), &request).await;
            refusals.push(format!("{}\n{}", reply.head, reply.body));
        }
    }
    3 * calls.len()
}

fn logins(secrets: &Secrets, user: &str) -> Vec<(&'static str, Value)> {
    let wrong = |kind| secrets.wrong(kind);
    vec![
        ("auth", json!({"username": user, "password": secrets.password})),
        ("auth", json!({"username": "x", "password": secrets.made})),
        ("auth_token", json!({"token": secrets.session})),
        ("auth_token", json!({"token": secrets.successor})),
        ("auth_clear", json!("")),
        ("auth", json!({"username": user, "password": wrong("wrong password")})),
        ("auth", json!({"username": wrong("name that is a password!"), "password": "x"})),
        ("auth", json!({"username": user, "password": [wrong("argument of a wrong type")]})),
        ("auth", json!(wrong("argument of a wrong type"))),
        ("auth_token", json!({"token": {"x": wrong("argument of a wrong type")}})),
        ("auth_token", json!({"token": secrets.rotated})),
        ("auth_ssl", json!({})),
        ("auth_ssl", json!({"encrypted_string": wrong("answer of a key")})),
    ]
}

async fn plugin_calls(program: &Program, secrets: &Secrets, refusals: &mut Vec<String>) -> usize {
    let (pin, nested) = (secrets.wrong("declared argument"), secrets.wrong("nested argument"));
    let plain = Target::Plain { addr: program.addresses[1], token: Some(secrets.made.clone()) };
    let mut admin = SysAdmClient::connect(plain).await.expect("a login");
    let draft = json!({"class": "kit.event", "message": "nothing secret"});
    let args = json!({"draft": draft, "n": 1, "pin": pin, "to": {"api_secret": [nested]}});
    for (name, args) in [("publish", args.clone()), ("publish", json!({"pin": pin, "draft": 1}))] {
        let answer = admin.call("kit", name, args).await;
        refusals.extend(answer.err().map(|refusal| refusal.to_string()));
    }
    // Refused before it runs: these stand in the audit trail as well.
    let viewer = program.remote(&secrets.successor).await.call("kit", "publish", args).await;
    refusals.push(viewer.expect_err("a viewer may not").to_string());
    4
}

async fn requests(
    program: &Program,
    secrets: &Secrets,
    user: &str,
    refusals: &mut Vec<String>,
) -> usize {
    let basic = |user: &str, secret: &str| {
        format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{secret}")))
    };
    let bearer = |secret: &str| format!("Authorization: Bearer {secret}");
    let body = json!({"token": secrets.wrong("wrong token in a body"),
        "password": secrets.wrong("wrong password"), "username": user})
    .to_string();
    let path = format!("/rpc/query?token={}", secrets.wrong("query of a path"));
    let consul = |secret: &str| format!("/v1/event/list?token={secret}");
    let (good, bad) = (consul(&secrets.made), consul(secrets.wrong("wrong bearer")));
    let cases = [
        ("GET", "/rpc/query", Some(basic(user, &secrets.password)), ""),
        ("GET", "/rpc/query", Some(basic("x", &secrets.made)), ""),
        ("GET", "/rpc/query", Some(bearer(&secrets.successor)), ""),
        ("GET", path.as_str(), Some(bearer(&secrets.session)), ""),
        ("GET", path.as_str(), None, ""),
        ("GET", "/rpc/query", Some(bearer(&secrets.rotated)), ""),
        ("GET", "/rpc/query", Some(bearer(secrets.wrong("wrong bearer"))), ""),
        ("GET", "/rpc/query", Some(basic("root", secrets.wrong("wrong basic"))), ""),
        ("GET", good.as_str(), None, ""),
        ("GET", bad.as_str(), None, ""),
        ("GET", "/v1/event/list", Some(format!("X-Consul-Token: {}", secrets.made)), ""),
        ("PUT", "/v1/event/fire/x", Some(bearer(secrets.wrong("wrong bearer"))), ""),
        ("GET", "/cloudevents", Some(bearer(secrets.wrong("wrong bearer"))), ""),
        ("GET", "/cloudevents", Some(basic("x", &secrets.made)), ""),
        ("POST", "/rpc/auth_token", None, body.as_str()),
        ("POST", "/rpc/auth", None, body.as_str()),
    ];
    let count = cases.len();
    for (method, path, header, body) in cases {
        let headers: Vec<String> = header.into_iter().collect();
        let request = http::request(method, path, &headers, body);
        let reply = http::over_tls(program.tls(), &request).await;
        if reply.status != 200 {
            refusals.push(format!("{}\n{}", reply.head, reply.body));
        }
    }
    count
}

/// The whole audit trail, all events, and every list.
async fn told(program: &Program) -> String {
    let mut admin = program.admin().await;
    let mut told = String::new();
    let mut after = 0;
    loop {
        let args = json!({"action": "query", "after_seq": after, "limit": 1000});
        let page = admin.call("rpc", "audit", args).await.expect("the audit trail");
        told.push_str(&page.to_string());
        let last = page["records"].as_array().and_then(|records| records.last());
        let (Some(last), true) = (last, page["more"] == true) else { break };
        after = last["seq"].as_u64().expect("a number");
    }
    assert!(told.contains("kit/publish") && told.contains("[redacted]"), "nothing was recorded");
    for (namespace, name, args) in [
        ("events", "list", json!({})),
        ("rpc", "tokens", json!({"action": "list"})),
        ("rpc", "sessions", json!({"action": "list"})),
        ("rpc", "plugins", json!({"action": "list"})),
        ("rpc", "hello", json!({})),
    ] {
        let answer = admin.call(namespace, name, args).await;
        told.push_str(&answer.expect("an administrator may see it").to_string());
    }
    told
}

/// Every file but the one that is the secret, as the bytes it holds.
fn collect(dir: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, places);
        } else if !path.ends_with("tls/key.pem") && path.is_file() {
            places.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Looks at the command line and the environment of all processes, again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Watch {
    fn begin(secrets: Vec<(&'static str, String)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !end.load(Ordering::Relaxed) {
                look(&secrets);
                looks += 1;
                thread::sleep(Duration::from_millis(20));
            }
            looks
        });
        Self { stop, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no secret is in a command line or an environment")
    }
}

fn look(secrets: &[(&'static str, String)]) {
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        for file in ["cmdline", "environ"] {
            let Ok(said) = fs::read(process.path().join(file)) else { continue };
            for (what, secret) in secrets {
                assert!(
                    !contains(&said, secret),
                    "{what} is in {}",
                    process.path().join(file).display()
                );
            }
        }
    }
}
