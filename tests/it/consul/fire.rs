//! Firing: what is answered, what is refused, what is recorded.

use serde_json::{Value, json};

use super::talk::{ask, fire, list, names, remote, site};
use crate::harness::Site;
use crate::http;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_has_the_members_of_consul_in_its_order() {
    let running = Site::new().start().await;
    let reply =
        ask(&running, "PUT", "/v1/event/fire/test?node=Node&service=foo&tag=bar", "test").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
    assert_eq!(reply.header("x-consul-index"), None);
    let id = reply.json()["ID"].as_str().expect("an id").to_owned();
    let expected = format!(
        r#"{{"ID":"{id}","Name":"test","Payload":"dGVzdA==","NodeFilter":"Node","ServiceFilter":"foo","TagFilter":"bar","Version":1,"LTime":0}}"#
    );
    assert_eq!(reply.body, expected);
    let empty = fire(&running, "empty?node=&node=x", "").await;
    assert_eq!((&empty["Payload"], &empty["NodeFilter"]), (&Value::Null, &json!("")));
    let pretty = ask(&running, "PUT", "/v1/event/fire/p?pretty", "").await;
    assert!(pretty.body.starts_with("{\n    \"ID\": \"") && pretty.body.ends_with("0\n}\n"));
    assert_eq!(
        ask(&running, "PUT", "/v1/event/fire/p?pretty=1", "").await.body.lines().count(),
        10
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_nothing_is_recorded() {
    let running = Site::new().start().await;
    for (method, path, status, text) in [
        ("PUT", "/v1/event/fire/", 400, "Missing name"),
        ("POST", "/v1/event/fire/a", 405, "method POST not allowed"),
        ("GET", "/v1/event/fire/a", 405, "method GET not allowed"),
        ("DELETE", "/v1/event/fire/a", 405, "method DELETE not allowed"),
        ("HEAD", "/v1/event/fire/a", 405, ""),
        ("OPTIONS", "/v1/event/fire/a", 200, ""),
        ("PUT", "/v1/event/fire", 301, ""),
        ("PUT", "/v1/event/fire/a/../b", 301, ""),
        ("PUT", "/v1/event/fire/a%00b", 400, ""),
        ("PUT", "/v1/event/fire/a%0ab", 400, ""),
        ("PUT", "/v1/event/fire/a?bad=%zz", 500, ""),
        ("PUT", "/v1/event/fire/a?dc=elsewhere", 500, "No path to datacenter"),
        ("PUT", "/v1/event/fire/a?tag=x", 500, "Cannot provide tag filter without service filter"),
        (
            "PUT",
            "/v1/event/fire/a?node=(",
            500,
            "Invalid node filter: error parsing regexp: missing closing ): `(`",
        ),
        (
            "PUT",
            "/v1/event/fire/a?service=(%3f%3d.)",
            500,
            "Invalid service filter: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
        ),
        (
            "PUT",
            "/v1/event/fire/a?service=a&tag=a{1001}",
            500,
            "Invalid tag filter: error parsing regexp: invalid repeat count: `{1001}`",
        ),
        ("PUT", "/v1/kv/a", 404, ""),
        ("PUT", "/v1/event/", 404, ""),
    ] {
        let reply = ask(&running, method, path, "x").await;
        assert_eq!((reply.status, reply.body.as_str()), (status, text), "{method} {path}");
        let allowed = matches!(status, 405).then_some("OPTIONS,PUT");
        assert!(allowed.is_none() || reply.header("allow") == allowed, "{method} {path}");
    }
    assert_eq!(list(&running, "").await, (Vec::new(), 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_taken_as_they_are_within_their_limit() {
    let running = Site::new().start().await;
    for (path, name) in [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("trail/", "trail/"),
        ("with%20space", "with space"),
        ("gr%C3%B6%C3%9Fe", "größe"),
        ("a..b", "a..b"),
        ("star*", "star*"),
    ] {
        assert_eq!(fire(&running, path, "").await["Name"], name);
    }
    fire(&running, "star", "").await;
    let (found, _) = list(&running, "name=star*").await;
    assert_eq!(names(&found), ["star*"], "a star in a name is no pattern");
    let (longest, longer) = ("x".repeat(512), "x".repeat(513));
    assert_eq!(fire(&running, &longest, "").await["Name"], longest);
    let reply = ask(&running, "PUT", &format!("/v1/event/fire/{longer}"), "").await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(ask(&running, "PUT", "/v1/event/fire/_x", "").await.status, 400);
    running.stop().await;
    let running = site("[consul]\nunderscore_names = true\n").start().await;
    assert_eq!(fire(&running, "_x", "").await["Name"], "_x");
    assert_eq!(names(&list(&running, "name=_x").await.0), ["_x"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_kept_to_the_last_byte_and_no_further() {
    let running = site("[consul]\npayload_bytes = 1000\n").start().await;
    let fits = fire(&running, "size", &"x".repeat(1_000)).await;
    assert_eq!(fits["Payload"].as_str().map(str::len), Some(1_336));
    let over = ask(&running, "PUT", "/v1/event/fire/size", &"x".repeat(1_001)).await;
    let text = "the payload exceeds configured limit of 1000 bytes";
    assert_eq!((over.status, over.body.as_str()), (413, text));
    let head = "PUT /v1/event/fire/odd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let send = async |rest: &[u8]| {
        http::over_unix(&running.socket, &[head.as_bytes(), rest].concat()).await
    };
    let chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\na\0\xff\r\n2\r\nbc\r\n0\r\n\r\n";
    assert_eq!(send(chunked).await.json()["Payload"], "YQD/YmM=", "chunks are kept");
    let gzip = b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08";
    assert_eq!(send(gzip).await.json()["Payload"], "H4sI", "nothing is unpacked");
    let many = format!("64\r\n{}\r\n", "y".repeat(100)).repeat(11);
    let many = format!("Transfer-Encoding: chunked\r\n\r\n{many}0\r\n\r\n");
    assert_eq!(send(many.as_bytes()).await.status, 413, "chunks are counted, too");
    let (found, _) = list(&running, "").await;
    assert_eq!(names(&found), ["size", "odd", "odd"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_early_fires_nothing() {
    let running = Site::new().start().await;
    for rest in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
        let request = format!("PUT /v1/event/fire/cut HTTP/1.1\r\nHost: localhost\r\n{rest}");
        let mut stream = tokio::net::UnixStream::connect(&running.socket).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut answer = Vec::new();
        drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await);
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{rest}");
    }
    assert_eq!(list(&running, "").await.0, Vec::<Value>::new());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_face_sees_it_and_can_fire_it() {
    let running = Site::new().start().await;
    let fired = fire(&running, "deploy?node=.", "go").await;
    let mut admin = running.admin().await;
    let filter = json!({"filter": {"classes": ["consul.event"]}});
    let listed = admin.call("events", "list", filter).await.unwrap();
    let event = &listed["events"][0];
    assert_eq!(event["event_id"], fired["ID"]);
    assert_eq!(event["subject"], "/consul/deploy");
    let data = json!({"name": "deploy", "payload": "Z28=", "node": ".", "service": "", "tag": "",
        "version": 1});
    assert_eq!(event["data"], data);
    let args = json!({"name": "back", "payload": "Z28="});
    let receipt = admin.call("consul", "fire", args).await.unwrap();
    let (found, _) = list(&running, "name=back").await;
    assert_eq!(found[0]["ID"], receipt["event_id"]);
    assert_eq!(found[0]["LTime"], receipt["seq"]);
    for args in [
        json!({"name": ""}),
        json!({"name": "a/../b"}),
        json!({"name": "a", "payload": "?"}),
        json!({"name": "a", "version": 2}),
        json!({"name": "a", "nod": "x"}),
    ] {
        let refused = admin.call("consul", "fire", args.clone()).await;
        assert!(refused.is_err(), "{args}");
    }
    let other = json!({"class": "consul.event", "data": {"name": "forged"}});
    assert!(admin.call("events", "fire", other).await.is_err(), "only as Consul fires it");
    admin.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_fires_nothing() {
    let running = Site::new().start().await;
    let token = format!("X-Consul-Token: {}", running.token("admin").await);
    let page = "Origin: https://evil.example";
    let reply = remote(&running, ("PUT", "/v1/event/fire/a"), &[&token, page]).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(list(&running, "").await.0, Vec::<Value>::new());
    running.stop().await;
}
