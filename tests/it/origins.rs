//! Which pages reach a daemon through a browser that has credentials: every kind of request, with
//! every kind of credential, from a page of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Door, Site};
use crate::http::{self, Reply};

/// What a page of this kind may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Pass,
    /// The origin is neither the host nor listed: `access.origins` decides.
    NotFrom,
    /// The host is no name of this machine: `access.hosts` decides.
    NotTo,
}

/// Host, the page's origin, what a browser adds, what comes of it.
const PAGES: [(&str, Option<&str>, Option<&str>, May); 14] = [
    ("localhost:12150", None, None, May::Pass),
    ("whatever.example", None, None, May::Pass),
    ("localhost:12150", Some("sysadm-client"), None, May::Pass),
    ("localhost:12150", Some("https://localhost:12150"), Some("same-origin"), May::Pass),
    ("127.0.0.1:12150", Some("https://127.0.0.1:12150"), None, May::Pass),
    ("nas.example:12150", Some("https://nas.example:12150"), None, May::Pass),
    ("localhost:12150", Some("https://console.example"), Some("cross-site"), May::Pass),
    ("localhost:12150", Some("https://evil.example"), Some("cross-site"), May::NotFrom),
    ("localhost:12150", Some("https://localhost:8080"), Some("same-site"), May::NotFrom),
    ("localhost:12150", Some("https://console.example.evil.example"), None, May::NotFrom),
    ("localhost:12150", Some("https://console.example:8443"), None, May::NotFrom),
    ("localhost:12150", Some("null"), None, May::NotFrom),
    ("localhost:12150", None, Some("cross-site"), May::NotFrom),
    // A name of somebody else's that leads here.
    ("rebound.example:12150", Some("https://rebound.example:12150"), None, May::NotTo),
];

/// Ways to ask, and where.
const KINDS: [(&str, &str); 8] = [
    ("GET", "/rpc/query"),
    ("POST", "/rpc/query"),
    ("upgrade", "/rpc/query"),
    ("POST", "/jsonrpc"),
    ("upgrade", "/jsonrpc"),
    ("GET", STREAM),
    ("upgrade", STREAM),
    ("GET", LIST),
];
/// Where whoever shows nothing sees nothing.
const LIST: &str = "/v1/event/list";
/// Where nobody is anybody without a login.
const STREAM: &str = "/cloudevents";

#[tokio::test]
async fn only_our_own_pages_and_listed_ones_pass() {
    let mut site = Site::new();
    site.settings = "[access]\npassword_login = false\norigins = [\"https://console.example\"]\n\
        hosts = [\"nas.example\"]\n"
        .to_owned();
    let running = site.start().await;
    let token = running.token("viewer").await;
    let basic = STANDARD.encode(format!("whoever:{token}"));
    let credentials = [None, Some(format!("Basic {basic}")), Some(format!("Bearer {token}"))];
    let mut tried = 0;
    for page in PAGES {
        for kind in KINDS {
            for credential in &credentials {
                let reply = ask(&running, page, kind, credential.as_deref()).await;
                check(page, kind, credential.is_some(), &reply);
                tried += 1;
            }
        }
    }
    assert_eq!(tried, PAGES.len() * KINDS.len() * credentials.len());
    running.stop().await;
}

async fn ask(
    door: &Door,
    (host, origin, site, _): (&str, Option<&str>, Option<&str>, May),
    (kind, path): (&str, &str),
    credential: Option<&str>,
) -> Reply {
    let method = if kind == "POST" { "POST" } else { "GET" };
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), format!("Host: {host}")];
    lines.extend(origin.map(|origin| format!("Origin: {origin}")));
    lines.extend(site.map(|site| format!("Sec-Fetch-Site: {site}")));
    lines.extend(credential.map(|value| format!("Authorization: {value}")));
    if path == STREAM {
        lines.push("Sec-WebSocket-Protocol: cloudevents.json".to_owned());
    }
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    if kind == "upgrade" {
        lines.extend(upgrade.map(str::to_owned));
        lines.push("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        // A close frame behind it, masked with zeros, so that the connection ends.
        let mut bytes = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        bytes.extend([0x88, 0x80, 0, 0, 0, 0]);
        return http::over_tls(door.tls(), &bytes).await;
    }
    let body = match path {
        "/jsonrpc" => r#"{"jsonrpc":"2.0","id":1,"method":"rpc.query"}"#,
        _ => "",
    };
    lines.push("Content-Type: application/json".to_owned());
    lines.extend(["Connection: close".to_owned(), format!("Content-Length: {}", body.len())]);
    let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    http::over_tls(door.tls(), request.as_bytes()).await
}

fn check(
    page: (&str, Option<&str>, Option<&str>, May),
    (kind, path): (&str, &str),
    has_credential: bool,
    reply: &Reply,
) {
    let case = format!("{page:?} {kind} {path} with credentials: {has_credential}: {reply:?}");
    let (host, origin, _, may) = page;
    if may == May::Pass {
        let passed = match (kind, path, has_credential) {
            // Whoever shows nothing is a stranger on a websocket, and nobody over REST.
            (_, STREAM, false) => 401,
            ("upgrade", ..) => 101,
            // It says in its body what came of a call.
            (_, _, true) | (_, "/jsonrpc" | LIST, _) => 200,
            (_, _, false) => 401,
        };
        if path == "/jsonrpc" && kind == "POST" {
            assert_eq!(reply.body.contains("\"result\""), has_credential, "{case}");
        }
        return assert_eq!(reply.status, passed, "{case}");
    }
    assert_eq!(reply.status, 403, "{case}");
    let (key, check) = match may {
        May::NotTo => ("access.hosts", host.split(':').next().expect("a name")),
        _ => ("access.origins", origin.unwrap_or("of another site")),
    };
    assert!(reply.body.contains(key) && reply.body.contains(check), "{case}");
}
