//! What strangers, broken programs and attackers send. The daemon answers or closes, serves
//! everybody else meanwhile, and keeps its size.

mod chaos;
mod rest;
mod strangers;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::harness::Site;
use crate::raw::{BINARY, CONTINUE, Raw, TEXT};

const MIB: usize = 1024 * 1024;

/// The daemon is there and this connection works.
async fn answers(client: &mut SysAdmClient) {
    assert_eq!(client.call("rpc", "identify", json!("")).await.unwrap()["type"], "server");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_nothing_else_happens() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    let texts = [
        "",
        " ",
        "not json",
        "{",
        "}",
        "[]",
        "null",
        "true",
        "7",
        "\"text\"",
        "{}",
        "{}{}",
        "[[[[",
        r#"{"namespace":"rpc"}"#,
        r#"{"namespace":"rpc","name":7,"id":"x"}"#,
        r#"{"namespace":["rpc"],"name":"identify"}"#,
        r#"{"name":"identify"}"#,
        r#"{"namespace":"rpc","name":"identify","id":"1"} trailing"#,
        r#"{"namespace":"rpc","name":"query","name":"query"}"#,
        "{\"namespace\":\"rpc\",\"name\":\"iden\ntify\"}",
        "\u{feff}{}",
        "{\"a\":1e999}",
        r#"{"namespace":"rpc","name":"\ud800","id":"1"}"#,
    ];
    for text in texts {
        client.send_raw(text).await;
        let answer = client.next().await;
        assert_eq!(
            (&answer["namespace"], &answer["name"]),
            (&json!("error"), &json!("error")),
            "{text}"
        );
        assert_eq!(answer["args"]["code"], "400", "{text}");
        assert!(answer["args"]["error"].as_str().is_some_and(|it| !it.is_empty()), "{answer}");
    }
    client.send_raw(r#"{"id":"known","namespace":1,"name":"x"}"#).await;
    assert_eq!(client.next().await["id"], "known");
    answers(&mut client).await;
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn arguments_of_a_wrong_type_are_the_askers_fault() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut client = running.admin().await;
    let methods = [
        "rpc/query",
        "rpc/hello",
        "rpc/plugins",
        "rpc/tokens",
        "rpc/auth",
        "rpc/auth_token",
        "events/fire",
        "consul/fire",
        "events/list",
        "rpc/alerts",
        "rpc/logs",
        "events/subscribe",
        "events/unsubscribe",
        "kit/publish",
        "rpc/identify",
    ];
    let wrong = [
        json!(null),
        json!(7),
        json!(-1.5),
        json!("x"),
        json!([]),
        json!([[1]]),
        json!({"action": 7}),
        json!({"action": "create", "name": 7, "role": []}),
        json!({"action": "revoke", "id": "x"}),
        json!({"action": "restart", "id": {}}),
        json!({"sub": [], "filter": 7}),
        json!({"sub": "s", "filter": {"classes": "x"}}),
        json!({"filter": {"min_priority": 11}}),
        json!({"class": 7}),
        json!({"class": "User Event"}),
        json!({"class": "user.a", "priority": -1}),
        json!({"limit": 1e300}),
        json!({"since": "yesterday"}),
        json!({"protocols": "all"}),
        json!({"after_seq": -1}),
        json!({"token": {"a": 1}}),
        json!({"draft": 1, "n": "x"}),
    ];
    for method in methods {
        let (namespace, name) = method.split_once('/').unwrap();
        // Each failed login costs a moment.
        let wrong = if name.starts_with("auth") { &wrong[..3] } else { &wrong[..] };
        for args in wrong {
            if let Err(refusal) = client.call(namespace, name, args.clone()).await {
                let code = refusal["code"].as_str().unwrap();
                assert!(code.starts_with('4'), "{method} {args}: {refusal}");
                assert!(!refusal["fault"]["kind"].is_null(), "{refusal}");
            }
        }
    }
    answers(&mut client).await;
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn members_nobody_knows_are_ignored_where_the_page_says_so_and_refused_elsewhere() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    client
        .send_raw(
            r#"{"jsonrpc":"2.0","namespace":"rpc","name":"identify","id":"1","args":"","x":{}}"#,
        )
        .await;
    assert_eq!(client.answer("1").await.unwrap()["type"], "server");
    // Here a misspelt member would silently mean something else.
    for args in [
        json!({"sub": "s", "filters": {}}),
        json!({"sub": "s", "filter": {"min_prio": 5}}),
        json!({"sub": "s", "overflow": "block"}),
    ] {
        assert_eq!(client.subscribe(args).await.unwrap_err()["code"], "400");
    }
    let list = client.call("events", "list", json!({"limits": 1})).await;
    assert_eq!(list.unwrap_err()["code"], "400");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn depth_and_width_are_bounded() {
    // What is wide takes a busy machine longer than a health question may be left unanswered.
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    manifest["health"]["timeout_ms"] = 10_000.into();
    let running = Site::new().with_plugin(manifest).start().await;
    running.ready("kit").await;
    let mut client = running.admin().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        let requests = [
            format!(r#"{{"namespace":"kit","name":"echo","id":"1","args":{deep}}}"#),
            format!(r#"{{"namespace":"events","name":"subscribe","id":"1","args":{deep}}}"#),
            format!(r#"{{"namespace":"rpc","name":"auth","id":"1","args":{deep}}}"#),
        ];
        for request in requests {
            client.send_raw(&request).await;
            assert_eq!(client.answer("1").await.unwrap_err()["code"], "400");
        }
        let ignored =
            format!(r#"{{"namespace":"rpc","name":"identify","id":"2","x":{deep},"args":""}}"#);
        client.send_raw(&ignored).await;
        client.answer("2").await.unwrap();
        client.send_raw(&deep).await;
        assert_eq!(client.next().await["name"], "error");
    }
    let wide = |keys: usize| {
        let members: Vec<String> = (0..keys).map(|key| format!("\"{key}\":0")).collect();
        let members = members.join(",");
        format!(r#"{{"namespace":"kit","name":"echo","id":"w","args":{{{members}}}}}"#)
    };
    client.send_raw(&wide(90_000)).await;
    assert_eq!(client.answer("w").await.unwrap().as_object().unwrap().len(), 90_000);
    answers(&mut client).await;
    let token = running.token("admin").await;
    let mut raw = Raw::tls(running.tls()).await;
    raw.login(&token).await;
    raw.send(TEXT, wide(1_000_000).as_bytes()).await;
    assert_eq!(raw.close_code().await, 1009);
    answers(&mut client).await;
    drop((client, raw));
    running.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_close_with_1007() {
    let running = Site::new().start().await;
    for kind in [TEXT, BINARY] {
        let mut raw = Raw::unix(&running.socket).await;
        raw.send(kind, b"{\"namespace\":\"rpc\",\"name\":\"\xff\xfe\",\"id\":\"1\"}").await;
        assert_eq!(raw.close_code().await, 1007, "{kind}");
    }
    let mut split = Raw::unix(&running.socket).await;
    split.frame(false, TEXT, b"{\"namespace\":\"\xc3").await;
    split.frame(true, CONTINUE, b"(\"}").await;
    assert_eq!(split.close_code().await, 1007);
    // A character cut in two by fragments is none of that.
    let mut whole = Raw::unix(&running.socket).await;
    let text = "{\"namespace\":\"rpc\",\"name\":\"identify\",\"id\":\"\u{fc}\"}".as_bytes();
    let cut = text.iter().position(|byte| *byte == 0xc3).unwrap() + 1;
    whole.frame(false, TEXT, &text[..cut]).await;
    whole.frame(true, CONTINUE, &text[cut..]).await;
    assert_eq!(whole.message().await["id"], "\u{fc}");
    drop(whole);
    running.stop().await;
}

#[tokio::test]
async fn a_message_of_64_mib_is_refused_and_not_kept() {
    let program = Site::new().spawn().await;
    let token = program.token("admin").await;
    let mut other = program.admin().await;
    answers(&mut other).await;
    // What is allocated once and for all is allocated now.
    let mut raw = Raw::tls(program.tls()).await;
    raw.login(&token).await;
    raw.send(TEXT, json_text(MIB - 100).as_bytes()).await;
    raw.message().await;
    let before = program.peak_bytes();
    for _ in 0..3 {
        let mut raw = Raw::tls(program.tls()).await;
        raw.login(&token).await;
        raw.header(TEXT, 64 * MIB as u64).await;
        let piece = vec![b' '; MIB];
        for _ in 0..64 {
            raw.push(&piece).await;
        }
        assert_eq!(raw.close_code().await, 1009);
        // The same in pieces: the limit is the message's, not the frame's.
        let mut raw = Raw::tls(program.tls()).await;
        raw.login(&token).await;
        raw.frame(false, TEXT, &piece[..64 * 1024]).await;
        for _ in 0..1_000 {
            raw.frame(false, CONTINUE, &piece[..64 * 1024]).await;
        }
        assert_eq!(raw.close_code().await, 1009);
    }
    let grown = program.peak_bytes().saturating_sub(before);
    assert!(grown < 5 * MIB as u64, "the daemon grew by {grown} bytes");
    answers(&mut other).await;
    drop((other, raw));
    program.stop().await;
}

/// A request that has so many bytes.
fn json_text(bytes: usize) -> String {
    let request =
        |fill: &str| format!(r#"{{"namespace":"rpc","name":"identify","id":"1","args":"{fill}"}}"#);
    request(&"x".repeat(bytes - request("").len()))
}

#[tokio::test]
async fn a_message_has_one_mebibyte_and_no_byte_more() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    let mut client = running.remote(&token).await;
    client.send_raw(&json_text(MIB)).await;
    client.answer("1").await.unwrap();
    let mut raw = Raw::tls(running.tls()).await;
    raw.login(&token).await;
    raw.send(TEXT, json_text(MIB + 1).as_bytes()).await;
    assert_eq!(raw.close_code().await, 1009);
    drop((client, raw));
    running.stop().await;
}

#[tokio::test]
async fn strangers_have_eight_kibibytes() {
    let running = Site::new().start().await;
    let mut fits = running.anonymous().await;
    for _ in 0..5 {
        fits.send_raw(&json_text(8 * 1024)).await;
        fits.answer("1").await.unwrap();
    }
    for bytes in [8 * 1024 + 1, 20_000, MIB - 1, 30 * MIB] {
        let mut raw = Raw::tls(running.tls()).await;
        raw.send(TEXT, json_text(bytes).as_bytes()).await;
        assert_eq!(raw.close_code().await, 1009, "{bytes}");
        let mut raw = Raw::tls(running.tls()).await;
        raw.send_in_pieces(json_text(bytes).as_bytes(), 4_000).await;
        assert_eq!(raw.close_code().await, 1009, "{bytes} in pieces");
    }
    // Whoever logs in gets the rest, in the very next message.
    let token = running.token("viewer").await;
    let mut client = running.anonymous().await;
    client.send("rpc", "auth_token", json!({"token": token})).await;
    client.send_raw(&json_text(MIB)).await;
    client.answer("1").await.unwrap();
    drop((fits, client));
    running.stop().await;
}

/// Requests of which each is as large as a stranger's may be, all unfinished.
#[tokio::test]
async fn strangers_who_never_finish_cost_little() {
    let mut site = Site::new();
    site.settings = "[limits]\nanonymous_per_source = 100\n".to_owned();
    let program = site.spawn().await;
    let mut other = program.admin().await;
    answers(&mut other).await;
    let mut raws = Vec::new();
    for _ in 0..100 {
        raws.push(Raw::tls(program.tls()).await);
    }
    let before = program.peak_bytes();
    for raw in &mut raws {
        raw.header(TEXT, MIB as u64).await;
        raw.push(&vec![b' '; 8_000]).await;
    }
    for raw in &mut raws {
        raw.push(&vec![b' '; MIB / 4]).await;
        assert_eq!(raw.close_code().await, 1009);
    }
    let grown = program.peak_bytes().saturating_sub(before);
    assert!(grown < 5 * MIB as u64, "the daemon grew by {grown} bytes");
    let values: Value = other.call("rpc", "query", json!("")).await.unwrap();
    assert!(values.is_object());
    drop((other, raws));
    program.stop().await;
}
