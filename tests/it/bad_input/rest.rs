//! HTTP that is wrong, or not even that.

use serde_json::{Value, json};

use crate::harness::{Running, Site};
use crate::http::{Reply, over_tls, over_unix, request};

async fn ask(running: &Running, method: &str, path: &str, body: &str) -> Reply {
    over_unix(&running.socket, &request(method, path, &[], body)).await
}

#[tokio::test]
async fn a_path_is_a_namespace_and_a_name() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    for (path, status) in [
        ("/rpc/identify", 200),
        ("/RPC/Identify", 200),
        ("/rpc/identify?pretty=1", 200),
        ("/rpc/anything/between/identify", 200),
        ("/kit/echo", 200),
        ("/", 400),
        ("/rpc", 400),
        ("/rpc/", 400),
        ("//identify", 400),
        ("/rpc/%69dentify", 404),
        ("/rpc/../../etc/passwd", 404),
        ("/no-such/thing", 404),
        ("/events/subscribe", 400),
    ] {
        for method in ["GET", "POST", "PUT"] {
            let reply = ask(&running, method, path, "").await;
            assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
            assert!(reply.header("content-type").unwrap().starts_with("application/json"));
            assert!(!reply.json()["args"].is_null());
        }
    }
    // One request is no conversation: there is nothing to log in to.
    let login = ask(&running, "POST", "/rpc/auth_token", "{\"token\":\"x\"}").await;
    assert_eq!(login.status, 404, "{login:?}");
    let long = format!("/{}/x", "n".repeat(8_000));
    assert_eq!(ask(&running, "GET", &long, "").await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn arguments_are_the_body() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let echo = async |body: &str| ask(&running, "POST", "/kit/echo", body).await;
    assert_eq!(echo("{\"n\":1}").await.json()["args"], json!({"n": 1}));
    assert_eq!(echo("{\"args\":[1,2]}").await.json()["args"], json!([1, 2]));
    assert_eq!(echo("").await.json()["args"], json!({}));
    assert_eq!(echo(" \r\n ").await.json()["args"], json!({}));
    for (body, status) in [
        ("not json", 400),
        ("{", 400),
        ("{}{}", 400),
        (&*format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)), 400),
        (&*format!("\"{}\"", "x".repeat(1024 * 1024)), 413),
    ] {
        let reply = echo(body).await;
        assert_eq!(reply.status, status, "{}", body.chars().take(20).collect::<String>());
        assert_eq!(reply.json()["args"]["code"], status.to_string());
    }
    let bytes = b"POST /kit/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\"\xff\xfe\"";
    assert_eq!(over_unix(&running.socket, bytes).await.status, 400);
    let chunked = b"POST /kit/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n";
    assert_eq!(over_unix(&running.socket, chunked).await.json()["args"], json!([1, 2]));
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_forgotten() {
    let running = Site::new().start().await;
    let head = |line: &str| format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let garbage: Vec<(Vec<u8>, &[u16])> = vec![
        (b"\x00\x01\x02\x03\r\n\r\n".to_vec(), &[400]),
        (b"GARBAGE\r\n\r\n".to_vec(), &[400]),
        (b"GET /\r\n\r\n".to_vec(), &[400]),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), &[400, 505, 0]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 505, 0]),
        (b"GET / HTTP/1.1\r\nno colon here\r\n\r\n".to_vec(), &[400]),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(), &[400]),
        (b"POST /rpc/identify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_vec(), &[400]),
        (huge.into_bytes(), &[431]),
        (many.into_bytes(), &[431]),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64 * 1024)).into_bytes(), &[414, 431]),
        (head("DELETE /rpc/identify HTTP/1.1"), &[400]),
        (head("TRACE /rpc/identify HTTP/1.1"), &[400]),
    ];
    for (bytes, statuses) in garbage {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        for reply in
            [over_unix(&running.socket, &bytes).await, over_tls(running.tls(), &bytes).await]
        {
            assert!(statuses.contains(&reply.status), "{shown:?}: {reply:?}");
        }
        assert_eq!(ask(&running, "GET", "/rpc/identify", "").await.status, 200, "after {shown:?}");
    }
    for line in ["OPTIONS /rpc/identify HTTP/1.1", "HEAD /rpc/identify HTTP/1.1"] {
        let reply = over_unix(&running.socket, &head(line)).await;
        assert_eq!(reply.status, 200);
        assert!(reply.header("allow").is_some_and(|allow| allow.contains("POST")), "{reply:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_one_of_rfc_6455() {
    let running = Site::new().start().await;
    let good = [
        "GET / HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let with = |place: usize, line: &'static str| {
        let mut lines = good;
        lines[place] = line;
        let lines = lines.iter().filter(|line| !line.is_empty());
        let head = lines.copied().collect::<Vec<_>>().join("\r\n");
        format!("{head}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let wrong =
        [with(0, "POST / HTTP/1.1"), with(4, ""), with(4, "Sec-WebSocket-Version: 8"), with(5, "")];
    for bytes in wrong {
        let reply = over_unix(&running.socket, &bytes).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(reply.json()["args"]["fault"]["kind"], "bad-request");
    }
    let unknown = over_unix(&running.socket, &with(3, "Upgrade: h2c")).await;
    assert_ne!(unknown.status, 101);
    let body: Value = ask(&running, "GET", "/rpc/identify", "").await.json();
    assert_eq!(body["args"]["type"], "server");
    running.stop().await;
}
