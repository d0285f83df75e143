//! By which names web pages may reach this machine: asked as a browser would.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Finding;
use super::certificate;
use super::place::Place;

const CHECK: &str = "names";
/// For one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const ANSWER_MAX: u64 = 64 * 1024;

/// Asks under each name that this machine has or its certificate says.
pub(super) async fn check(place: &Place, hostname: &str) -> Vec<Finding> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = names(hostname, &hosts, certificate::names_in(&place.certificate));
    let mut findings = Vec::new();
    for name in &names {
        let answer = timeout(PATIENCE, ask(&place.socket, name)).await;
        match answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(text) => findings.extend(refusal(name, &text)),
            Err(error) => findings.push(Finding::unknown(CHECK, format!("{name}: {error}"))),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("pages may come by {}", names.join(", "))));
    }
    findings
}

/// Each name once: the host's, those with a domain in `/etc/hosts`, the certificate's.
fn names(hostname: &str, hosts: &str, certified: Vec<String>) -> Vec<String> {
    let long = format!("{}.", hostname.to_lowercase());
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let listed = lines.flat_map(|line| line.split_whitespace().skip(1));
    let full = listed.filter(|name| name.to_lowercase().starts_with(&long)).map(str::to_owned);
    let is_name = |name: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty() && name.chars().all(plain) && name.parse::<IpAddr>().is_err()
    };
    let mut names: Vec<String> = Vec::new();
    for name in [hostname.to_owned()].into_iter().chain(full).chain(certified).filter(is_name) {
        if !names.iter().any(|had| had.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
    names
}

async fn ask(socket: &Path, name: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {name}\r\nOrigin: https://{name}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What the daemon has against this name, with its own hint.
fn refusal(name: &str, answer: &str) -> Option<Finding> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 403") {
        return None;
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let fault = &body["args"]["fault"];
    let hint =
        fault["hint"].as_str().map_or_else(|| format!("access.hosts = [{name:?}]"), str::to_owned);
    let why = fault["message"].as_str().unwrap_or("the daemon refuses it");
    Some(Finding::warning(CHECK, format!("pages that come by {name} are refused: {why}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_host_and_of_its_certificate() {
        let hosts = "127.0.1.1 nas.example nas # nas.comment\n::1 localhost\n";
        let certified =
            ["127.0.0.1", "NAS", "files.example", "*.example", "a b"].map(str::to_owned);
        let found = names("nas", hosts, certified.to_vec());
        assert_eq!(found, ["nas", "nas.example", "files.example"]);
    }

    #[test]
    fn a_refusal_is_told_with_the_daemons_hint() {
        let refused = "HTTP/1.1 403 Forbidden\r\na: b\r\n\r\n{\"args\":{\"fault\":{\"message\":\"no\",\"hint\":\"add it\"}}}";
        assert_eq!(refusal("x", refused).unwrap().mend.as_deref(), Some("add it"));
        assert_eq!(refusal("x", "HTTP/1.1 404 Not Found\r\n\r\n{}"), None);
        let bare = refusal("x", "HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
        assert!(bare.mend.unwrap().contains("access.hosts"));
    }
}
