//! Who may fire and hear what, by role, grant and scope: the same on every face, wherever the token
//! is shown.
//!
//! What that is says [`TABLE`], which shares no code with the daemon.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use kit::client::{SysAdmClient, Target};
use protocol::Role;
use serde_json::{Value, json};
use sysadmd::dispatch::{Needs, own_methods};

use crate::cloudevents::client::Stream;
use crate::harness::{Running, Site};
use crate::http::{self, Reply};

const ROLES: &str = r#"
[roles.keeper]
level = "viewer"
[[roles.keeper.grants]]
methods = ["events/fire"]
classes = ["user.tank.*"]
resources = ["/tank/*"]
[[roles.keeper.grants]]
methods = ["consul/fire"]
classes = ["consul.event"]
resources = ["/consul/tank*"]

[roles.listener]
[[roles.listener.grants]]
classes = ["user.*"]
resources = ["/tank/*"]
[[roles.listener.grants]]
classes = ["consul.event"]
resources = ["/consul/pool"]

[roles.sender]
[[roles.sender.grants]]
methods = ["consul/fire"]
classes = ["consul.event"]
"#;

/// Events of both kinds, one within the bounds of those who have bounds and one without.
const EVENTS: [Event; 4] = [
    Event { method: "events/fire", class: "user.tank.full", subject: "/tank/home" },
    Event { method: "events/fire", class: "user.pool.full", subject: "/pool" },
    Event { method: "consul/fire", class: "consul.event", subject: "/consul/tank-1" },
    Event { method: "consul/fire", class: "consul.event", subject: "/consul/pool" },
];

#[derive(Debug, Clone, Copy)]
struct Event {
    method: &'static str,
    class: &'static str,
    subject: &'static str,
}

/// A role, the scope of its token, and which of [`EVENTS`] whoever has it may fire and hear.
type Row = (&'static str, &'static str, [bool; 4], [bool; 4]);

const ALL: [bool; 4] = [true; 4];
const NONE: [bool; 4] = [false; 4];
const OF_CLIENTS: [bool; 4] = [true, true, false, false];
const OF_CONSUL: [bool; 4] = [false, false, true, true];
const FIRST: [bool; 4] = [true, false, false, false];
const THIRD: [bool; 4] = [false, false, true, false];
const OUTSIDE: [bool; 4] = [false, true, false, true];
const TANK: [bool; 4] = [true, false, true, false];

const TABLE: [Row; 16] = [
    ("viewer", "", NONE, ALL),
    ("operator", "", ALL, ALL),
    ("admin", "", ALL, ALL),
    ("keeper", "", TANK, ALL),
    ("listener", "", NONE, [true, false, false, true]),
    ("sender", "", OF_CONSUL, OF_CONSUL),
    ("operator", r#"{"methods": ["events/fire"]}"#, OF_CLIENTS, ALL),
    ("operator", r#"{"methods": ["consul/*"]}"#, OF_CONSUL, ALL),
    ("admin", r#"{"methods": ["rpc/*"]}"#, NONE, ALL),
    ("operator", r#"{"classes": ["user.tank.*"]}"#, FIRST, FIRST),
    ("operator", r#"{"classes": ["consul.*"]}"#, OF_CONSUL, OF_CONSUL),
    ("operator", r#"{"resources": ["/tank/*", "/consul/tank*"]}"#, TANK, TANK),
    ("admin", r#"{"resources": ["/pool", "/consul/pool"]}"#, OUTSIDE, OUTSIDE),
    ("viewer", r#"{"methods": ["*"], "classes": ["*"]}"#, NONE, ALL),
    ("keeper", r#"{"methods": ["consul/fire"], "resources": ["/consul/*"]}"#, THIRD, OF_CONSUL),
    ("operator", r#"{"sources": ["192.0.2.0/24"]}"#, NONE, NONE),
];

/// Where a token is shown over HTTP.
const BEARER: fn(&str) -> String = |token| format!("Authorization: Bearer {token}");
const BASIC: fn(&str) -> String =
    |token| format!("Authorization: Basic {}", STANDARD.encode(format!("any:{token}")));
const HEADER: fn(&str) -> String = |token| format!("X-Consul-Token: {token}");

/// Everybody of the table, and what they ask with.
struct Asker<'a> {
    running: &'a Running,
    token: String,
}

impl Asker<'_> {
    async fn ask(&self, method: &str, path: &str, header: &str, body: &str) -> Reply {
        let kind = "Content-Type: application/json".to_owned();
        let mut headers: Vec<String> =
            [header.to_owned()].into_iter().filter(|it| !it.is_empty()).collect();
        if !body.is_empty() && !header.contains("Content-Type") {
            headers.push(kind);
        }
        let request = http::request(method, path, &headers, body);
        http::over_tls(self.running.tls(), &request).await
    }

    /// Fires by every way there is: a way's name, and whether it was allowed.
    async fn fire(&self, event: Event) -> Vec<(&'static str, bool)> {
        let args = match event.method {
            "events/fire" => json!({"class": event.class, "subject": event.subject}),
            _ => json!({"name": event.subject.trim_start_matches("/consul/")}),
        };
        let (namespace, name) = event.method.split_once('/').expect("a namespace");
        let mut ways = Vec::new();
        for (way, shown) in [("REST by Bearer", BEARER), ("REST by Basic", BASIC)] {
            let path = format!("/{}", event.method);
            let reply = self.ask("POST", &path, &shown(&self.token), &args.to_string()).await;
            ways.push((way, is_allowed(reply.status)));
        }
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": format!("{namespace}.{name}"),
            "params": args});
        let bearer = BEARER(&self.token);
        let reply = self.ask("POST", "/jsonrpc", &bearer, &call.to_string()).await;
        ways.push(("JSON-RPC", reply.body.contains("\"result\"")));
        let target = Target::Tls { addr: self.running.tls(), token: Some(self.token.clone()) };
        let on_websocket = match SysAdmClient::connect(target).await {
            Ok(mut client) => client.call(namespace, name, args).await.is_ok(),
            Err(_) => false,
        };
        ways.push(("SysAdm", on_websocket));
        match event.method {
            "events/fire" => self.bring(event, &mut ways).await,
            _ => self.put(event, &mut ways).await,
        }
        ways
    }

    /// In `CloudEvents`.
    async fn bring(&self, event: Event, ways: &mut Vec<(&'static str, bool)>) {
        let brought = json!({"specversion": "1.0", "id": "1", "source": "/ci",
            "type": event.class, "subject": event.subject});
        let bearer = BEARER(&self.token);
        for (way, kind, body) in [
            ("structured", "application/cloudevents+json", brought.clone()),
            ("batch", "application/cloudevents-batch+json", json!([brought])),
        ] {
            let headers = format!("{bearer}\r\nContent-Type: {kind}");
            let reply = self.ask("POST", "/cloudevents", &headers, &body.to_string()).await;
            ways.push((way, is_allowed(reply.status)));
        }
        let attributes = format!(
            "{bearer}\r\nContent-Type: text/plain\r\nce-specversion: 1.0\r\nce-id: 1\r\n\
             ce-source: /ci\r\nce-type: {}\r\nce-subject: {}",
            event.class, event.subject
        );
        let reply = self.ask("POST", "/cloudevents", &attributes, "x").await;
        ways.push(("binary", is_allowed(reply.status)));
        let query = "?classes=nothing.that.comes";
        let allowed = match self.stream(query).await {
            Ok(mut stream) => {
                stream.event().await;
                stream.say(&brought.to_string()).await;
                stream.event().await["type"] == "cloudevents.accepted"
            }
            Err(_) => false,
        };
        ways.push(("stream", allowed));
    }

    /// As Consul's clients do, with the token in each of its places.
    async fn put(&self, event: Event, ways: &mut Vec<(&'static str, bool)>) {
        let path = format!("/v1/event/fire/{}", event.subject.trim_start_matches("/consul/"));
        let in_query = format!("{path}?token={}", self.token);
        for (way, path, header) in [
            ("Consul by query", &in_query, String::new()),
            ("Consul by header", &path, HEADER(&self.token)),
            ("Consul by Bearer", &path, BEARER(&self.token)),
            ("Consul by Basic", &path, BASIC(&self.token)),
        ] {
            let reply = self.ask("PUT", path, &header, "").await;
            ways.push((way, is_allowed(reply.status)));
        }
    }

    async fn stream(&self, query: &str) -> Result<Stream, u16> {
        let stream = kit::client::tls(self.running.tls()).await.expect("a connection");
        let login = format!("Bearer {}", self.token);
        Stream::over(Box::new(stream), query, &[("Authorization", login.as_str())]).await
    }

    /// What is heard by every way of what there is, as class and subject.
    async fn hear(&self) -> Vec<(&'static str, Vec<(String, String)>)> {
        let mut ways = Vec::new();
        let bearer = BEARER(&self.token);
        let list = r#"{"limit": 500}"#;
        let reply = self.ask("POST", "/events/list", &bearer, list).await;
        let pair = |event: &Value, class: &str| {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            (text(class), text("subject"))
        };
        let events = |value: &Value, class: &str| {
            let all = value.as_array().cloned().unwrap_or_default();
            all.iter().map(|event| pair(event, class)).collect::<Vec<_>>()
        };
        let listed = if reply.status == 200 { reply.json() } else { json!({}) };
        ways.push(("REST", events(&listed["args"]["events"], "class")));
        let reply = self.ask("GET", "/cloudevents?limit=500", &bearer, "").await;
        let batch = if reply.status == 200 { reply.json() } else { json!([]) };
        ways.push(("CloudEvents batch", events(&batch, "type")));
        ways.push(("CloudEvents stream", self.streamed().await));
        let query = format!("/v1/event/list?token={}", self.token);
        for (way, path, header) in [
            ("Consul by query", query.as_str(), String::new()),
            ("Consul by header", "/v1/event/list", HEADER(&self.token)),
            ("Consul by Bearer", "/v1/event/list", BEARER(&self.token)),
            ("Consul by Basic", "/v1/event/list", BASIC(&self.token)),
        ] {
            let reply = self.ask("GET", path, &header, "").await;
            let all = if reply.status == 200 { reply.json() } else { json!([]) };
            let all = all.as_array().expect("a list").iter();
            let subject = |event: &Value| format!("/consul/{}", event["Name"].as_str().unwrap());
            let heard = all.map(|event| ("consul.event".to_owned(), subject(event)));
            ways.push((way, heard.collect()));
        }
        ways
    }

    /// From the oldest event to where the stream began.
    async fn streamed(&self) -> Vec<(String, String)> {
        let Ok(mut stream) = self.stream("?from=oldest&heartbeat=1").await else {
            return Vec::new();
        };
        let mut heard = Vec::new();
        loop {
            let event = stream.next().await;
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str() {
                // The first heartbeat comes when there is nothing more.
                Some("cloudevents.heartbeat") => return heard,
                Some("cloudevents.subscribed") => {}
                _ => heard.push((text("type"), text("subject"))),
            }
        }
    }
}

fn is_allowed(status: u16) -> bool {
    // A token that is shown where it is not accepted is a failed login, and those have to wait.
    assert!([200, 401, 403, 429].contains(&status), "{status}");
    status == 200
}

/// What the daemon's own table says of somebody with no more than a role.
fn by_table(role: &str, method: &str) -> Option<bool> {
    let role = Role::parse(role)?;
    let own = own_methods().find(|own| own.method == method).expect("a method");
    let Needs::Role(least) = own.needs else { panic!("{method} needs a role") };
    Some(role >= least)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_fire_and_hear_what_is_the_same_on_every_face() {
    let mut site = Site::new();
    ROLES.clone_into(&mut site.settings);
    let running = site.start().await;
    let mut admin = running.admin().await;
    for event in EVENTS {
        let name = event.subject.trim_start_matches("/consul/");
        let (namespace, args) = match event.method {
            "events/fire" => ("events", json!({"class": event.class, "subject": event.subject})),
            _ => ("consul", json!({ "name": name })),
        };
        admin.call(namespace, "fire", args).await.expect("it is fired");
    }
    let mut askers = Vec::new();
    for row in &TABLE {
        let mut args = json!({"name": "t", "role": row.0});
        if !row.1.is_empty() {
            args["scope"] = serde_json::from_str(row.1).expect("a scope");
        }
        let made = running.make_token(args).await;
        let token = made["token"].as_str().expect("a token").to_owned();
        askers.push((row, Asker { running: &running, token }));
    }
    let mut pairs = 0;
    for ((role, scope, fires, _), asker) in &askers {
        for (event, may) in EVENTS.into_iter().zip(*fires) {
            if scope.is_empty() {
                let by_table = by_table(role, event.method);
                assert!(by_table.is_none_or(|by_table| by_table == may), "{role} {event:?}");
            }
            for (way, allowed) in asker.fire(event).await {
                assert_eq!(allowed, may, "{role} {scope} fires {event:?} by {way}");
                pairs += 1;
            }
        }
    }
    // A stream says after a second that there is nothing more; so several are asked at once.
    for some in askers.chunks(8) {
        let heard = join_all(some.iter().map(|(_, asker)| asker.hear())).await;
        for ((row, _), ways) in some.iter().zip(heard) {
            pairs += ways.len() * EVENTS.len();
            for (way, heard) in &ways {
                check(row, way, heard);
            }
        }
    }
    println!("{pairs} pairs of somebody and something to fire or hear, each by one way");
    assert_eq!(pairs, TABLE.len() * (4 * 8 + 4 * 7));
    drop(askers);
    drop(admin);
    running.stop().await;
}

/// Whether what was heard by one way is what this row lets hear.
fn check((role, scope, _, may_hear): &Row, way: &str, heard: &[(String, String)]) {
    for (event, may) in EVENTS.into_iter().zip(*may_hear) {
        let is_there = heard.iter().any(|(class, of)| class == event.class && of == event.subject);
        let may = may && (!way.starts_with("Consul") || event.method == "consul/fire");
        assert_eq!(is_there, may, "{role} {scope} hears {event:?} by {way}: {heard:?}");
    }
}
