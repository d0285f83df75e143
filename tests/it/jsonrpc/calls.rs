//! Calls: the same methods, rights and records as everywhere, in other words.

use std::time::Duration;

use protocol::manifest::Kind;
use serde_json::{Value, json};
use sysadmd::dispatch::own_methods;
use sysadmd::wire::jsonrpc::fault_codes;

use super::talk::{Talk, code};
use crate::harness::{Running, Site};

async fn with_kit() -> Running {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    running
}

/// The plugin's methods that come back.
const OF_THE_PLUGIN: [&str; 6] =
    ["kit/echo", "kit/publish", "kit/self", "kit/log", "kit/no-such", "no-such/thing"];

#[tokio::test]
async fn every_method_answers_what_it_answers_in_sysadm() {
    let running = with_kit().await;
    for role in ["viewer", "operator", "admin"] {
        let token = running.token(role).await;
        let mut classic = running.remote(&token).await;
        let mut talk = Talk::remote(&running, &token).await;
        // Whoever rotates their own token is gone; what is of the connection has its own tests.
        let own = own_methods().filter(|own| own.action != Some("rotate"));
        let own = own.filter(|own| !own.method.starts_with("rpc/auth"));
        let own = own.filter(|own| !own.method.ends_with("subscribe"));
        let plugins = OF_THE_PLUGIN.map(|method| (method, None));
        for (method, action) in own.map(|own| (own.method, own.action)).chain(plugins) {
            let args = action.map_or_else(|| json!({}), |action| json!({ "action": action }));
            let (namespace, name) = method.split_once('/').unwrap();
            let expected = classic.call(namespace, name, args.clone()).await;
            let came = talk.call(&method.replace('/', "."), args).await;
            match (&expected, &came) {
                (Ok(expected), Ok(came)) => assert_eq!(keys(expected), keys(came), "{method}"),
                (Err(expected), Err(came)) => same_fault(&expected["fault"], came),
                _ => panic!("{role} {method} {action:?}: {expected:?} but {came:?}"),
            }
        }
        drop((classic, talk));
    }
    running.stop().await;
}

/// The names of the members.
fn keys(value: &Value) -> Vec<&String> {
    value.as_object().map(|members| members.keys().collect()).unwrap_or_default()
}

/// The sentence is the same, and so is everything for machines.
fn same_fault(fault: &Value, error: &Value) {
    assert_eq!(error["message"], fault["message"]);
    for member in ["kind", "hint", "retry_after_ms", "details"] {
        assert_eq!(error["data"][member], fault[member], "{member} of {error}");
    }
    let kind = serde_json::from_value(fault["kind"].clone()).unwrap();
    let code = i32::try_from(error["code"].as_i64().unwrap()).unwrap();
    assert!(fault_codes(kind).contains(&code), "{error}");
}

#[tokio::test]
async fn every_kind_of_fault_of_a_plugin_has_its_code() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    let kinds = [
        ("bad-request", -32602),
        ("unauthorized", -32001),
        ("forbidden", -32003),
        ("not-found", -32004),
        ("conflict", -32009),
        ("too-large", -32013),
        ("too-many", -32029),
        ("cancelled", -32099),
        ("failed", -32000),
        ("unavailable", -32053),
        ("timeout", -32054),
        ("internal", -32603),
    ];
    for (kind, number) in kinds {
        let fault = json!({"kind": kind, "message": "m", "hint": "h", "retry_after_ms": 7,
                           "details": {"at": "x"}});
        let error = talk.call("kit.fault", json!({ "fault": fault })).await.unwrap_err();
        assert_eq!(error["code"], number, "{kind}");
        same_fault(&fault, &error);
    }
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn a_change_is_on_record_and_a_refusal_too() {
    let running = with_kit().await;
    let mut operator = Talk::remote(&running, &running.token("operator").await).await;
    operator.call("kit.log", json!({"level": "info", "message": "x"})).await.unwrap();
    let refused = operator.call("rpc.tokens", json!({"action": "create", "name": "a"})).await;
    assert_eq!(code(&refused), -32003);
    // A notification is nothing less.
    operator
        .say(&json!({"jsonrpc": "2.0", "method": "kit.log", "params": [{"message": "y"}]}))
        .await;
    operator.call("rpc.identify", json!({})).await.unwrap();
    let mut admin = running.admin().await;
    crate::harness::until("all is on record", async || {
        let page = json!({"action": "query", "actor": "token:operator"});
        let page = admin.call("rpc", "audit", page).await.unwrap();
        let records = page["records"].as_array().unwrap();
        assert!(
            records
                .iter()
                .all(|it| it["origin"] == "127.0.0.1 jsonrpc" || it["origin"] == "127.0.0.1 http"),
            "{page:#}"
        );
        let count = |method: &str, outcome: &str| {
            records.iter().filter(|it| it["method"] == method && it["outcome"] == outcome).count()
        };
        count("kit/log", "begun") == 2
            && count("kit/log", "done") == 2
            && count("rpc/tokens:create", "refused:forbidden") == 1
    })
    .await;
    drop((operator, admin));
    running.stop().await;
}

#[tokio::test]
async fn a_slow_call_delays_no_other() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    let slow = talk.ask("kit.sleep", json!({"ms": 600_000})).await;
    for n in 0..10 {
        assert_eq!(talk.call("kit.echo", json!({ "n": n })).await, Ok(json!({ "n": n })));
    }
    assert_ne!(slow, 0);
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn an_id_of_every_type_is_answered_as_the_specification_wants() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    // Word for word: a number may be larger than any type.
    for id in ["0", "1", "-1", "1.5", "1e3", "18446744073709551616", "null", "\"\"", "\"ä\\\"\""] {
        talk.line
            .send_raw(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"rpc.identify"}}"#))
            .await;
        let text = talk.line.text().await;
        let begins = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"#);
        assert!(text.starts_with(&begins), "{text} does not begin with {begins}");
    }
    for id in ["true", "false", "{}", "[]", "[1]", "{\"a\":1}"] {
        // None of these is a notification: a change must not happen.
        let call = r#""method":"events.fire","params":{"class":"user.id"}"#;
        talk.line.send_raw(&format!(r#"{{"jsonrpc":"2.0","id":{id},{call}}}"#)).await;
        let refusal = talk.next().await;
        assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&Value::Null, &json!(-32600)));
    }
    let fired = talk.call("events.list", json!({"filter": {"classes": ["user.id"]}})).await;
    assert_eq!(fired.unwrap()["events"], json!([]));
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_and_ends_nothing() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    let parse = ["", " ", "{", "}", "nul", "{}{}", "[", "[1", "[{]", "{\"jsonrpc\":\"2.0\",}"];
    for text in parse {
        talk.line.send_raw(text).await;
        let refusal = talk.next().await;
        assert_eq!(refusal["error"]["code"], -32700, "{text:?}");
        assert_eq!(refusal["id"], Value::Null);
    }
    let invalid = [
        "{}",
        "[]",
        "7",
        "null",
        "\"x\"",
        "true",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","method":1}"#,
        r#"{"jsonrpc":"1.0","method":"rpc.identify"}"#,
        r#"{"jsonrpc":2.0,"method":"rpc.identify"}"#,
        r#"{"method":"rpc.identify"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"rpc.identify"}"#,
    ];
    for text in invalid {
        talk.line.send_raw(text).await;
        let refusal = talk.next().await;
        assert_eq!(refusal["error"]["code"], -32600, "{text}");
        assert_eq!(refusal["id"], Value::Null, "{text}");
    }
    talk.line.send_raw(r#"{"jsonrpc":"2.0","id":"known"}"#).await;
    assert_eq!(talk.next().await["id"], "known");
    assert_eq!(talk.call("kit.echo", json!([[1]])).await, Ok(json!([1])));
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn params_are_one_object_or_an_array_of_it() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    for (params, echoed) in [
        (json!({"a": 1}), json!({"a": 1})),
        (json!([{"a": 1}]), json!({"a": 1})),
        (json!(["text"]), json!("text")),
        (json!([null]), Value::Null),
        (json!([]), json!({})),
        (Value::Null, json!({})),
    ] {
        assert_eq!(talk.call("kit.echo", params.clone()).await, Ok(echoed), "{params}");
    }
    for params in [json!([1, 2]), json!("text"), json!(7), json!(true)] {
        let refused = talk.call("kit.echo", params.clone()).await;
        assert_eq!(code(&refused), -32602, "{params}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let call = format!(r#"{{"jsonrpc":"2.0","id":"d","method":"kit.echo","params":{deep}}}"#);
    talk.line.send_raw(&call).await;
    assert_eq!(talk.next().await["error"]["code"], -32602);
    for method in ["identify", "rpc", "rpc.", ".identify", "rpc.identify.x", "rpc/identify", ""] {
        assert_eq!(code(&talk.call(method, json!({})).await), -32601, "{method}");
    }
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_is_answered_together_and_its_notifications_are_not() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    let echo =
        |n: u32| json!({"jsonrpc": "2.0", "id": n, "method": "kit.echo", "params": {"n": n}});
    let fire = json!({"jsonrpc": "2.0", "method": "events.fire", "params": {"class": "user.b"}});
    talk.say(&json!([echo(1), fire, echo(2), {}, [echo(3)], 7])).await;
    let answers = talk.next().await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 5, "{answers:?}");
    assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": {"n": 1}}));
    assert_eq!(answers[1]["result"], json!({"n": 2}));
    for wrong in &answers[2..] {
        assert_eq!((&wrong["id"], &wrong["error"]["code"]), (&Value::Null, &json!(-32600)));
    }
    talk.say(&json!([fire, fire])).await;
    assert!(talk.came_within(Duration::from_millis(50)).await.is_none(), "nobody asked");
    crate::harness::until("all have fired", async || {
        let list = talk.call("events.list", json!({"filter": {"classes": ["user.b"]}})).await;
        list.unwrap()["events"].as_array().unwrap().len() == 3
    })
    .await;
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_has_its_bounds() {
    let running = with_kit().await;
    let mut talk = Talk::admin(&running).await;
    let fire = json!({"jsonrpc": "2.0", "id": 1, "method": "events.fire", "params": {"class": "user.many"}});
    talk.say(&json!(vec![&fire; 1_001])).await;
    let refusal = talk.next().await;
    assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&Value::Null, &json!(-32013)));
    let identify = r#"{"jsonrpc":"2.0","id":1,"method":"rpc.identify"}"#;
    talk.line.send_raw(&format!("[{}]", vec![identify; 10_000].join(","))).await;
    assert_eq!(talk.next().await["error"]["code"], -32013);
    talk.line.send_raw(&format!("[{}]", vec![identify; 1_000].join(","))).await;
    assert_eq!(talk.next().await.as_array().unwrap().len(), 1_000);
    let list = talk.call("events.list", json!({"filter": {"classes": ["user.many"]}})).await;
    assert_eq!(list.unwrap()["events"], json!([]), "none of it was run");
    // A page of them has most of a megabyte.
    let big = json!({"class": "user.big", "data": {"x": "x".repeat(30_000)}});
    for _ in 0..30 {
        talk.call("events.fire", big.clone()).await.unwrap();
    }
    let page = json!({"jsonrpc": "2.0", "id": 1, "method": "events.list", "params": {"filter": {"classes": ["user.big"]}}});
    talk.say(&json!(vec![page; 20])).await;
    let answers = talk.next().await;
    let answers = answers.as_array().unwrap();
    let given = answers.iter().take_while(|answer| answer.get("result").is_some()).count();
    assert!((4..=6).contains(&given), "{given} answers");
    assert!(answers[given..].iter().all(|answer| answer["error"]["code"] == -32013));
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn what_changes_something_is_recorded_once_for_each_of_a_batch() {
    let running = with_kit().await;
    let changes = own_methods().filter(|own| own.kind == Kind::Mutate).count();
    assert!(changes > 0);
    let mut talk = Talk::admin(&running).await;
    let log = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "kit.log", "params": {"message": "m"}});
    talk.say(&json!([log(1), log(2), log(3)])).await;
    assert_eq!(talk.next().await.as_array().unwrap().len(), 3);
    let page = json!({"action": "query", "method": "kit/log"});
    let page = talk.call("rpc.audit", page).await.unwrap();
    assert_eq!(page["records"].as_array().unwrap().len(), 6, "{page:#}");
    drop(talk);
    running.stop().await;
}
