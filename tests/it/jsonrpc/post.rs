//! By POST: each request by itself.

use serde_json::{Value, json};

use super::talk::PATH;
use crate::harness::{Door, Site};
use crate::http::{self, Reply};

const KIND: &str = "Content-Type: application/json";

async fn post(door: &Door, path: &str, headers: &[&str], body: &str) -> Reply {
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    http::over_tls(door.tls(), &http::request("POST", path, &headers, body)).await
}

fn call(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn each_request_is_somebodys_own() {
    let running = Site::new().start().await;
    let bearer = format!("Authorization: Bearer {}", running.token("operator").await);
    let query = call("rpc.query", &json!({}));
    let reply = post(&running, PATH, &[KIND, &bearer], &query).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(reply.json()["result"]["rpc/query"], "read");
    let reply = post(&running, PATH, &[KIND], &query).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (200, &json!(-32001)));
    let wrong = "Authorization: Bearer sad_wrong";
    let reply = post(&running, PATH, &[KIND, wrong], &query).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (401, &json!(-32001)));
    assert_eq!(reply.json()["id"], Value::Null);
    assert!(reply.header("www-authenticate").is_some());
    let forbidden = call("rpc.tokens", &json!({"action": "list"}));
    let reply = post(&running, PATH, &[KIND, &bearer], &forbidden).await;
    assert_eq!(reply.json()["error"]["code"], -32003);
    running.stop().await;
}

#[tokio::test]
async fn what_needs_no_answer_gets_none() {
    let running = Site::new().start().await;
    let bearer = format!("Authorization: Bearer {}", running.token("operator").await);
    let told = r#"{"jsonrpc":"2.0","method":"events.fire","params":{"class":"user.told"}}"#;
    for body in [told.to_owned(), format!("[{told},{told}]")] {
        let reply = post(&running, PATH, &[KIND, &bearer], &body).await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    }
    let list = call("events.list", &json!({"filter": {"classes": ["user.told"]}}));
    let reply = post(&running, PATH, &[KIND, &bearer], &list).await;
    assert_eq!(reply.json()["result"]["events"].as_array().unwrap().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_json_rpc_is_told_by_status_and_error() {
    let running = Site::new().start().await;
    let body = call("rpc.identify", &json!({}));
    for path in ["/jsonrpc", "/jsonrpc/", "/jsonrpc/v1"] {
        assert_eq!(post(&running, path, &[KIND], &body).await.status, 200, "{path}");
    }
    for path in ["/jsonrpc/v2", "/jsonrpc/v1/x", "/jsonrpc/rpc/identify"] {
        let reply = post(&running, path, &[KIND], &body).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!(-32004)), "{path}");
    }
    let gzip = "Content-Encoding: gzip";
    for headers in [&[][..], &["Content-Type: text/plain"], &[KIND, gzip]] {
        assert_eq!(post(&running, PATH, headers, &body).await.status, 415, "{headers:?}");
    }
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let reply = http::over_tls(running.tls(), &http::request(method, PATH, &[], "")).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST, OPTIONS")), "{method}");
    }
    let page = "Origin: https://elsewhere.example";
    let reply = post(&running, PATH, &[KIND, page], &body).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (403, &json!(-32003)));
    let large = "x".repeat(9_000);
    let reply = post(&running, PATH, &[KIND], &large).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &json!(-32013)));
    let upgrade = ["Upgrade: websocket", "Connection: Upgrade"].map(str::to_owned);
    let reply = http::over_tls(running.tls(), &http::request("GET", PATH, &upgrade, "")).await;
    assert_eq!((reply.status, &reply.json()["id"]), (400, &Value::Null));
    let mut bytes = http::request("POST", PATH, &[KIND.to_owned()], "xxxx");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&[b'"', 0xff, 0xfe, b'"']);
    let reply = http::over_tls(running.tls(), &bytes).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (200, &json!(-32700)));
    running.stop().await;
}

#[tokio::test]
async fn what_is_of_a_connection_needs_one() {
    let running = Site::new().start().await;
    let bearer = format!("Authorization: Bearer {}", running.token("admin").await);
    let codes =
        [("events.subscribe", -32602), ("events.unsubscribe", -32601), ("rpc.auth", -32601)];
    for (method, code) in codes {
        let body = call(method, &json!({}));
        let reply = post(&running, PATH, &[KIND, &bearer], &body).await;
        assert_eq!(reply.json()["error"]["code"], code, "{method}");
        let reply = post(&running, PATH, &[KIND, &bearer], &format!("[{body}]")).await;
        assert_eq!(reply.json()[0]["error"]["code"], -32600, "{method}");
    }
    running.stop().await;
}
