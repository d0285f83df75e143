//! The same ten thousand requests by every way in: what one face grants, answers or refuses, the
//! others do as well.

mod matrix;

use std::collections::BTreeMap;

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use sysadmd::dispatch::own_methods;
use tokio::net::TcpStream;

use crate::chance::Chance;
use crate::harness::{Running, Site};
use crate::http;

const REQUESTS: usize = 10_000;

const ROLES: &str = r#"
[roles.keeper]
level = "viewer"
[[roles.keeper.grants]]
methods = ["rpc/plugins:restart", "kit/publish"]
resources = ["/plugins/spare-*"]
[[roles.keeper.grants]]
methods = ["events/fire"]
classes = ["user.tank.*"]
"#;

/// A request and who makes it.
#[derive(Debug)]
struct Asked {
    who: usize,
    namespace: String,
    name: String,
    args: Value,
}

/// Everybody who asks: an account for each role, and nobody.
const WHO: [Option<&str>; 5] =
    [None, Some("viewer"), Some("operator"), Some("admin"), Some("keeper")];

/// What can be asked for over every face: not what belongs to one connection, nor what would change
/// the answer to the same question asked again.
fn methods() -> Vec<(String, Option<String>)> {
    let of_connection = |method: &str| {
        method.starts_with("rpc/auth")
            || matches!(method, "events/subscribe" | "events/unsubscribe")
    };
    // A job that was begun by one way in runs or has ended when the next way asks; and what is
    // measured is another each time.
    let moves = |method: &str| matches!(method, "rpc/jobs" | "rpc/dispatcher" | "rpc/metrics");
    let own = own_methods().filter(|own| !of_connection(own.method) && !moves(own.method));
    let own = own.filter(|own| !matches!(own.action, Some("create" | "rotate" | "stop" | "start")));
    let own = own.map(|own| (own.method.to_owned(), own.action.map(str::to_owned)));
    let of_plugin = ["echo", "fault", "publish", "log", "nothing"];
    let of_plugin = of_plugin.map(|name| (format!("kit/{name}"), None));
    let strange = ["rpc/", "/query", "nobody/echo", "rpc/nothing", "kit/echo/echo", "RPC/Query"];
    own.chain(of_plugin).chain(strange.map(|method| (method.to_owned(), None))).collect()
}

fn pick<'a, T>(chance: &mut Chance, from: &'a [T]) -> &'a T {
    let place = chance.below(from.len() as u64);
    &from[usize::try_from(place).expect("a small number")]
}

/// Arguments, right and wrong.
fn args(chance: &mut Chance, action: Option<&str>) -> Value {
    let values = [
        json!(null),
        json!(7),
        json!("kit-2"),
        json!("spare-1"),
        json!("no-such"),
        json!("/tank/x"),
        json!(["a"]),
        json!({"deep": {"er": 1}}),
        json!(true),
    ];
    if chance.one_in(8) {
        return pick(chance, &values).clone();
    }
    let mut args = json!({});
    let names = ["id", "limit", "user", "subject", "draft", "fault", "message", "after_seq", "x"];
    for _ in 0..chance.below(3) {
        args[*pick(chance, &names)] = pick(chance, &values).clone();
    }
    if chance.one_in(3) {
        let classes = ["user.tank.full", "user.other", "kit.event", "Daemon", "daemon.started"];
        args["class"] = json!(pick(chance, &classes));
    }
    if let Some(action) = action.filter(|_| !chance.one_in(10)) {
        args["action"] = action.into();
    }
    args
}

fn requests(chance: &mut Chance) -> Vec<Asked> {
    let methods = methods();
    let mut request = |_| {
        let (method, action) = pick(chance, &methods);
        let (namespace, name) = method.split_once('/').expect("a namespace");
        Asked {
            who: usize::try_from(chance.below(WHO.len() as u64)).expect("small"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            args: args(chance, action.as_deref()),
        }
    };
    (0..REQUESTS).map(&mut request).collect()
}

/// What came of a request, without what is new each time.
fn essence(answer: Result<Value, Value>) -> Result<Value, (Value, Value)> {
    const NEW: [&str; 15] = [
        "seq", "cursor", "event_id", "time", "head_seq", "resume", "events", "records", "sessions",
        "hash", "head", "last", "restarts", "more", "first",
    ];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| !NEW.contains(&name.as_str()));
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    answer
        .map(|mut answer| {
            strip(&mut answer);
            answer
        })
        .map_err(|refusal| (refusal["kind"].clone(), refusal["message"].clone()))
}

/// A client of each on a websocket, and the header that says who asks over REST.
struct Crowd {
    clients: Vec<SysAdmClient>,
    headers: Vec<Vec<String>>,
}

impl Crowd {
    async fn of(running: &Running) -> Self {
        let (mut clients, mut headers) = (Vec::new(), Vec::new());
        for role in WHO {
            let token = match role {
                Some(role) => Some(running.token(role).await),
                None => None,
            };
            headers
                .extend([token.iter().map(|it| format!("Authorization: Bearer {it}")).collect()]);
            let target = Target::Plain { addr: running.addresses[1], token };
            clients.push(SysAdmClient::connect(target).await.expect("a connection"));
        }
        Self { clients, headers }
    }

    async fn by_websocket(&mut self, asked: &Asked) -> Result<Value, Value> {
        let Asked { who, namespace, name, args } = asked;
        let answer = self.clients[*who].call(namespace, name, args.clone()).await;
        answer.map_err(|mut refusal| refusal["fault"].take())
    }

    async fn by_rest(&self, running: &Running, asked: &Asked) -> Result<Value, Value> {
        let Asked { who, namespace, name, args } = asked;
        let path = format!("/{namespace}/{name}");
        let body = json!({ "args": args }).to_string();
        let request = http::request("POST", &path, &self.headers[*who], &body);
        let stream = TcpStream::connect(running.addresses[1]).await.expect("a connection");
        let reply = http::over(stream, &request).await;
        let mut args = reply.json()["args"].take();
        if reply.status == 200 { Ok(args) } else { Err(args["fault"].take()) }
    }

    /// `None` where it cannot be said in JSON-RPC.
    async fn by_jsonrpc(&self, running: &Running, asked: &Asked) -> Option<Result<Value, Value>> {
        let Asked { who, namespace, name, args } = asked;
        if !args.is_object() || namespace != &namespace.to_lowercase() {
            return None;
        }
        let method = format!("{namespace}.{name}");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": args});
        let mut headers = self.headers[*who].clone();
        headers.push("Content-Type: application/json".to_owned());
        let request = http::request("POST", "/jsonrpc", &headers, &body.to_string());
        let stream = TcpStream::connect(running.addresses[1]).await.expect("a connection");
        let mut reply = http::over(stream, &request).await.json();
        Some(match reply.get_mut("error") {
            None => Ok(reply["result"].take()),
            Some(error) => Err(json!({"kind": error["data"]["kind"], "message": error["message"]})),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_come_to_the_same_by_every_way_in() {
    let mut site = Site::new().with_kit();
    site.plain = true;
    site.settings = format!("{ROLES}\n[limits]\nlogin_s = 600\n");
    let running = site.start().await;
    running.ready("kit").await;
    let mut crowd = Crowd::of(&running).await;
    let (mut outcomes, mut three): (BTreeMap<String, usize>, usize) = Default::default();
    for asked in requests(&mut Chance::new()) {
        let by_websocket = essence(crowd.by_websocket(&asked).await);
        let by_rest = essence(crowd.by_rest(&running, &asked).await);
        // An empty part of the path is no method on REST and none that is there elsewhere.
        if asked.namespace.is_empty() || asked.name.is_empty() || asked.name.contains('/') {
            assert!(by_websocket.is_err() && by_rest.is_err() || asked.name.contains('/'));
            continue;
        }
        assert_eq!(by_websocket, by_rest, "{asked:?}");
        if let Some(by_jsonrpc) = crowd.by_jsonrpc(&running, &asked).await {
            assert_eq!(by_websocket, essence(by_jsonrpc), "{asked:?}");
            three += 1;
        }
        let outcome = match by_rest {
            Ok(_) => "granted".to_owned(),
            Err((kind, _)) => kind.as_str().expect("a kind").to_owned(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(three > REQUESTS / 2, "{three} could be asked by JSON-RPC as well");
    for outcome in ["granted", "bad-request", "unauthorized", "forbidden", "not-found"] {
        assert!(outcomes.get(outcome) > Some(&100), "{outcome}: {outcomes:?}");
    }
    drop(crowd);
    running.stop().await;
}
