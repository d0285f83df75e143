//! Random text that looks like requests: each gets exactly one answer, whatever it says.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::harness::{Site, until};

/// Pieces of requests, of other JSON, and of what is neither.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "\n",
    "\"",
    "\\",
    "\"namespace\":",
    "\"name\":",
    "\"id\":",
    "\"args\":",
    "\"rpc\"",
    "\"events\"",
    "\"kit\"",
    "\"identify\"",
    "\"query\"",
    "\"list\"",
    "\"subscribe\"",
    "\"unsubscribe\"",
    "\"echo\"",
    "\"hello\"",
    "\"plugins\"",
    "\"action\":",
    "\"sub\":",
    "\"filter\":",
    "\"limit\":",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\u{0}",
    "\u{feff}",
    "\u{1f600}",
    "\"\"",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["list", "dispatcher", "oldest", "*", "user.*"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let name = prop_oneof![
            ".{0,6}",
            prop::sample::select(vec!["action", "sub", "filter", "classes", "limit", "from"])
                .prop_map(str::to_owned),
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((name, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn request() -> impl Strategy<Value = String> {
    let namespaces = prop::sample::select(vec!["rpc", "events", "kit", "RPC", "none", ""]);
    // Neither `auth_clear`, which has no answer, nor what other tests depend on.
    let names = prop::sample::select(vec![
        "identify",
        "query",
        "hello",
        "plugins",
        "list",
        "subscribe",
        "unsubscribe",
        "echo",
        "Query",
        "",
    ]);
    let id = prop_oneof![any_json(), "[a-z]{1,5}".prop_map(Value::from)];
    (namespaces, names, id, any_json()).prop_map(|(namespace, name, id, args)| {
        json!({"namespace": namespace, "name": name, "id": id, "args": args}).to_string()
    })
}

fn text() -> impl Strategy<Value = String> {
    let soup = vec(prop::sample::select(PIECES.to_vec()), 0..40).prop_map(|pieces| pieces.concat());
    let damaged =
        (request(), any::<prop::sample::Index>(), "\\PC{0,2}").prop_map(|(text, at, put)| {
            let mut letters: Vec<char> = text.chars().collect();
            let at = at.index(letters.len());
            letters.splice(at..=at, put.chars());
            letters.into_iter().collect()
        });
    prop_oneof![2 => soup, 3 => request(), 3 => damaged, 1 => ".{0,200}"]
}

#[test]
fn every_text_gets_exactly_one_answer() {
    let runtime = Runtime::new().unwrap();
    let running = runtime.block_on(async {
        let running = Site::new().with_kit().start().await;
        running.ready("kit").await;
        running
    });
    let client = Mutex::new(runtime.block_on(running.admin()));
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&text(), |text| {
        runtime.block_on(async {
            let mut client = client.lock().await;
            client.send_raw(&text).await;
            let answer = next_answer(&mut client).await;
            prop_assert_eq!(answer.as_object().map(serde_json::Map::len), Some(4));
            if let Some(id) = string_id(&text) {
                prop_assert_eq!(&answer["id"], &Value::from(id), "{}", answer);
            }
            client
                .send_raw(r#"{"namespace":"rpc","name":"identify","id":"after","args":""}"#)
                .await;
            let after = next_answer(&mut client).await;
            prop_assert_eq!(&after["args"]["type"], "server", "a second answer: {}", after);
            Ok(())
        })
    });
    outcome.unwrap();
    drop(client);
    runtime.block_on(async {
        until("the plugin has outlived it", async || {
            !crate::harness::processes_of(running.site.path()).is_empty()
        })
        .await;
        running.stop().await;
    });
}

/// The next message that is no event.
async fn next_answer(client: &mut kit::client::SysAdmClient) -> Value {
    loop {
        let message = client.next().await;
        let is_event = matches!(
            message["name"].as_str(),
            Some("event" | "gap" | "heartbeat" | "dispatcher" | "life-preserver" | "system-state")
        );
        if !(is_event && message["namespace"] == "events") {
            return message;
        }
    }
}

/// The id of a request that can be answered by it.
fn string_id(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let is_request = value["namespace"].is_string() && value["name"].is_string();
    value["id"].as_str().filter(|_| is_request).map(str::to_owned)
}
