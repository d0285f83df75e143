//! A hundred thousand events of classes and subjects at random, and clients whose rights differ:
//! each hears what its rights say, all of it and nothing else: pushed, replayed, as a snapshot and
//! in history, in every protocol that has a way out for events.
//!
//! What that is says [`Who::hears`], which shares no code with the daemon.

mod consul;

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::harness::{Door, Running, Site};
use crate::http;

const EVENTS: usize = 100_000;
/// Events handed to the plugin at once.
const BATCH: usize = 500;

/// With the least role that hears each; the last is not kept.
const CLASSES: [(&str, &str); 6] = [
    ("kit.low", "viewer"),
    ("kit.ops", "operator"),
    ("kit.top", "admin"),
    ("kit.secret.plan", "admin"),
    ("kit.secret.key", "admin"),
    (UNKEPT, "operator"),
];
const UNKEPT: &str = "kit.now";

const SUBJECTS: [&str; 8] =
    ["", "/tank", "/tank/home", "/tanker", "/tank/../pool/a", "/pool/a", "/pool", "/Tank/home"];

const ROLES: &str = r#"
[roles.keeper]
level = "viewer"
[[roles.keeper.grants]]
methods = ["kit/echo"]
classes = ["kit.secret.*"]
resources = ["/tank", "/tank/*"]

[roles.board]
[[roles.board.grants]]
methods = ["events/subscribe", "events/list"]
classes = ["kit.top", "user.*"]
resources = ["/pool*"]
[[roles.board.grants]]
classes = ["consul.event"]
resources = ["/consul/pool*"]
"#;

/// A client by its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Viewer,
    Operator,
    Admin,
    /// A viewer with a grant beside it.
    Keeper,
    /// A grant alone.
    Board,
    /// An operator's token with a scope.
    Scoped,
}

impl Who {
    const ALL: [Self; 6] =
        [Self::Viewer, Self::Operator, Self::Admin, Self::Keeper, Self::Board, Self::Scoped];

    /// Whether an event of this class about this subject is for them.
    fn hears(self, class: &str, subject: &str) -> bool {
        let below = |place: &str| subject.starts_with(place) && !subject.contains("..");
        let of_everybody = matches!(class, "kit.low") || !class.starts_with("kit.");
        match self {
            Self::Admin => true,
            Self::Viewer => of_everybody,
            Self::Operator => of_everybody || matches!(class, "kit.ops" | UNKEPT),
            Self::Keeper => {
                let is_secret = matches!(class, "kit.secret.plan" | "kit.secret.key");
                of_everybody || is_secret && (subject == "/tank" || below("/tank/"))
            }
            Self::Board => {
                class == "kit.top" && below("/pool")
                    || class == consul::CLASS && below("/consul/pool")
            }
            Self::Scoped => {
                class == "kit.ops" && below("/tank/")
                    || class == consul::CLASS && below("/consul/tank/")
            }
        }
    }

    /// Makes a token of these rights.
    async fn token(self, door: &Door) -> String {
        let role = match self {
            Self::Viewer => "viewer",
            Self::Operator | Self::Scoped => "operator",
            Self::Admin => "admin",
            Self::Keeper => "keeper",
            Self::Board => "board",
        };
        let mut args = json!({"name": "leaks", "role": role});
        if self == Self::Scoped {
            let classes = ["kit.ops", "kit.secret.*", "consul.*"];
            let resources = ["/tank/*", "/consul/tank/*"];
            args["scope"] = json!({"classes": classes, "resources": resources});
        }
        let made = door.make_token(args).await;
        made["token"].as_str().expect("a token").to_owned()
    }
}

/// Class and subject of each event, by its number in `data`.
struct Plan(Vec<(&'static str, &'static str)>);

impl Plan {
    fn by(chance: &mut Chance) -> Self {
        let mut pick = |count: usize| usize::try_from(chance.below(count as u64)).expect("small");
        let event = |_| (CLASSES[pick(CLASSES.len())].0, SUBJECTS[pick(SUBJECTS.len())]);
        Self((0..EVENTS).map(event).collect())
    }

    fn draft(&self, number: usize) -> Value {
        let (class, subject) = self.0[number];
        json!({"class": class, "subject": subject, "data": {"n": number}})
    }

    /// How many of the kept ones somebody hears, from a number on.
    fn kept_for(&self, who: Who) -> usize {
        let is_for =
            |(class, subject): &&(&str, &str)| *class != UNKEPT && who.hears(class, subject);
        self.0.iter().filter(is_for).count()
    }
}

/// What has come to one client by one way.
struct Heard {
    who: Who,
    way: &'static str,
    plan: Arc<Plan>,
    numbers: Vec<bool>,
    kept: usize,
}

impl Heard {
    fn new(who: Who, way: &'static str, plan: &Arc<Plan>) -> Self {
        Self { who, way, plan: Arc::clone(plan), numbers: vec![false; EVENTS], kept: 0 }
    }

    /// An event came: it is for them, is what was published, and has not come before.
    fn take(&mut self, class: &str, subject: &str, number: Option<usize>) {
        let Self { who, way, .. } = *self;
        assert!(who.hears(class, subject), "LEAK to {who:?} by {way}: {class} {subject:?}");
        let Some(number) = number else { return };
        assert_eq!(self.plan.0[number], (class, subject), "{who:?} {way} {number}");
        let before = std::mem::replace(&mut self.numbers[number], true);
        assert!(!before, "{who:?} {way}: {number} came twice");
        self.kept += usize::from(class != UNKEPT);
    }

    fn take_value(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().expect("a text");
        let number = event["data"]["n"].as_u64().and_then(|n| usize::try_from(n).ok());
        self.take(text("class"), text("subject"), number);
    }

    /// Reads until everything that is kept has come.
    async fn listen(mut self, mut client: SysAdmClient) {
        let all = self.plan.kept_for(self.who);
        while self.kept < all {
            let text = client.text().await;
            if let Some(class) = class_of(&text) {
                // An empty one is no attribute of a CloudEvent.
                let subject = member(&text, "\"subject\":\"").unwrap_or_default();
                let number = text.split_once("\"n\":").map(|(_, rest)| leading(rest));
                self.take(class, subject, number);
            } else if text.contains("\"type\":\"cloudevents.gap\"")
                || text.contains("\"name\":\"gap\"")
                || text.contains("\"type\":\"gap\"")
            {
                // Of what is not kept something was missed: only they may know how much.
                assert!(self.who.hears(UNKEPT, ""), "LEAK to {:?} by a gap: {text}", self.who);
            }
        }
        client.close().await;
    }
}

/// The class of an event in any protocol; of nothing else that comes.
fn class_of(text: &str) -> Option<&str> {
    if text.starts_with("{\"specversion\":") {
        return member(text, "\"type\":\"").filter(|kind| !kind.starts_with("cloudevents."));
    }
    member(text, "\"class\":\"")
}

/// What stands behind `name` up to the next quotation mark; nothing here needs escapes.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.split_once('"').map(|(value, _)| value)
}

fn leading(text: &str) -> usize {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

fn site() -> Site {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    let class = |(class, role): (&str, &str)| {
        let retain = if class == UNKEPT { "none" } else { "log" };
        json!({"class": class, "role": role, "retain": retain, "priority_default": 1})
    };
    manifest["events"] = CLASSES.map(class).into_iter().collect();
    manifest["limits"]["events_per_s"] = 1_000_000.into();
    let mut site = Site::new().with_plugin(manifest);
    site.plain = true;
    site.settings.push_str(ROLES);
    site
}

/// A client of theirs that has subscribed to everything.
async fn subscriber(at: &Running, token: &str, from: &str) -> SysAdmClient {
    let target = Target::Plain { addr: at.addresses[1], token: Some(token.to_owned()) };
    let mut client = SysAdmClient::connect(target).await.expect("a login");
    client.subscribe(json!({"sub": "s", "from": from})).await.expect("a subscription");
    client
}

/// The same in JSON-RPC.
async fn jsonrpc_subscriber(at: &Running, token: &str) -> SysAdmClient {
    let target = Target::Plain { addr: at.addresses[1], token: None };
    let header = format!("Bearer {token}");
    let headers = [("Authorization", header.as_str())];
    let connected = SysAdmClient::connect_at(target, "/jsonrpc", &headers).await;
    let mut client = connected.expect("a connection");
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": "events.subscribe"});
    client.send_raw(&subscribe.to_string()).await;
    while !client.text().await.contains("\"standing\"") {}
    client
}

/// A stream of CloudEvents.
async fn stream(at: &Running, token: &str) -> SysAdmClient {
    let target = Target::Plain { addr: at.addresses[1], token: None };
    let login = format!("Bearer {token}");
    let headers =
        [("Authorization", login.as_str()), ("Sec-WebSocket-Protocol", "cloudevents.json")];
    let connected = SysAdmClient::connect_at(target, "/cloudevents", &headers).await;
    let mut client = connected.expect("a connection");
    while !client.text().await.contains("\"cloudevents.subscribed\"") {}
    client
}

async fn publish(admin: &mut SysAdmClient, plan: &Plan, numbers: std::ops::Range<usize>) {
    for first in numbers.step_by(BATCH) {
        let drafts: Vec<Value> = (first..first + BATCH).map(|number| plan.draft(number)).collect();
        admin.call("kit", "publish", json!({ "drafts": drafts })).await.expect("published");
    }
}

/// All of history as it is shown on a websocket.
async fn history(client: &mut SysAdmClient, mut heard: Heard) {
    let mut after = json!(0);
    loop {
        let args = json!({"after_seq": after, "limit": 1_000});
        let page = client.call("events", "list", args).await.expect("a page");
        for event in page["events"].as_array().expect("events") {
            heard.take_value(event);
        }
        if page["more"] != true {
            break;
        }
        after = page["resume"].clone();
    }
    assert_eq!(heard.kept, heard.plan.kept_for(heard.who), "{:?} {}", heard.who, heard.way);
}

/// All of history in batches of CloudEvents.
async fn batches(at: &Running, token: &str, mut heard: Heard) {
    let login = [format!("Authorization: Bearer {token}")];
    let mut next = "limit=1000".to_owned();
    loop {
        let request = http::request("GET", &format!("/cloudevents?{next}"), &login, "");
        let stream = TcpStream::connect(at.addresses[1]).await.expect("a connection");
        let reply = http::over(stream, &request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let batch = reply.json();
        let batch = batch.as_array().expect("an array");
        for event in batch {
            let subject = event["subject"].as_str().unwrap_or_default();
            let number = event["data"]["data"]["n"].as_u64().map(|n| usize::try_from(n).unwrap());
            heard.take(event["type"].as_str().expect("a type"), subject, number);
        }
        let link = reply.header("Link").and_then(|link| link.strip_prefix("</cloudevents?"));
        let link = link.and_then(|link| link.split_once('>')).map(|(query, _)| query);
        if batch.is_empty() {
            break;
        }
        link.expect("a link").clone_into(&mut next);
    }
    assert_eq!(heard.kept, heard.plan.kept_for(heard.who), "{:?} {}", heard.who, heard.way);
}

/// The newest page over REST, where everything that is there is looked through for enough.
async fn rest_page(at: &Running, token: &str, mut heard: Heard) {
    let bearer = format!("Authorization: Bearer {token}");
    let body = json!({"limit": 500, "newest_first": true}).to_string();
    let request = http::request("POST", "/events/list", &[bearer], &body);
    let reply = http::over_tls(at.tls(), &request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = reply.json();
    let events = reply["args"]["events"].as_array().expect("events");
    for event in events {
        heard.take_value(event);
    }
    assert_eq!(heard.kept, 500.min(events.len()), "{:?}: only the plugin's are so new", heard.who);
    assert!(heard.kept > 100, "{:?}", heard.who);
}

/// The newest of each class and subject.
async fn snapshot(at: &Running, token: &str, who: Who) {
    let mut client = subscriber(at, token, "snapshot").await;
    let kept = CLASSES.iter().map(|(class, _)| *class).filter(|class| *class != UNKEPT);
    let pairs = kept.flat_map(|class| SUBJECTS.map(|subject| (class, subject)));
    let mut left: BTreeSet<(String, String)> = pairs
        .filter(|(class, subject)| who.hears(class, subject))
        .map(|(class, subject)| (class.to_owned(), subject.to_owned()))
        .collect();
    while !left.is_empty() {
        let event = client.event().await;
        let text = |name: &str| event["args"][name].as_str().expect("a text").to_owned();
        let (class, subject) = (text("class"), text("subject"));
        assert!(who.hears(&class, &subject), "LEAK to {who:?} by snapshot: {class} {subject:?}");
        left.remove(&(class, subject));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_thousand_events_none_comes_to_somebody_it_is_not_for() {
    let running = site().start().await;
    running.ready("kit").await;
    let mut chance = Chance::new();
    let plan = Arc::new(Plan::by(&mut chance));
    let mut tokens = Vec::new();
    for who in Who::ALL {
        tokens.push((who, who.token(&running).await));
    }
    let mut listening = JoinSet::new();
    for (who, token) in &tokens {
        let client = subscriber(&running, token, "now").await;
        listening.spawn(Heard::new(*who, "push", &plan).listen(client));
        let client = jsonrpc_subscriber(&running, token).await;
        listening.spawn(Heard::new(*who, "JSON-RPC", &plan).listen(client));
        let client = stream(&running, token).await;
        listening.spawn(Heard::new(*who, "CloudEvents", &plan).listen(client));
    }
    let mut firing = JoinSet::new();
    firing.spawn(consul::fire(running.admin().await, chance.split()));
    let mut admin = running.admin().await;
    publish(&mut admin, &plan, 0..EVENTS / 2).await;
    for (who, token) in &tokens {
        let client = subscriber(&running, token, "oldest").await;
        listening.spawn(Heard::new(*who, "replay", &plan).listen(client));
    }
    publish(&mut admin, &plan, EVENTS / 2..EVENTS).await;
    while let Some(ended) = listening.join_next().await {
        ended.expect("everything that is for them has come, and nothing else");
    }
    let fired = firing.join_next().await.expect("a task").expect("all are fired");
    for (who, token) in &tokens {
        consul::check_lists(&running, token, *who, &fired).await;
        batches(&running, token, Heard::new(*who, "CloudEvents batch", &plan)).await;
        let mut client = running.remote(token).await;
        history(&mut client, Heard::new(*who, "list", &plan)).await;
        rest_page(&running, token, Heard::new(*who, "REST", &plan)).await;
        snapshot(&running, token, *who).await;
    }
    drop(admin);
    running.stop().await;
}
