//! Certificates that clients show.

use std::time::Duration;

use kit::client::{SysAdmClient, tls_with};
use rcgen::{DnType, date_time_ymd};
use rustls::ClientConfig;
use serde_json::json;
use sysadmd::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::files::{Authority, replace};
use crate::harness::{Door, PATIENCE, Running, Site, until};
use crate::http;

/// The first word that a client with these settings is answered.
async fn answer(door: &Door, config: ClientConfig) -> Result<String, String> {
    let mut stream = tls_with(door.tls(), config).await?;
    // `HTTP/1.1 ` and the code.
    let mut answer = vec![0; 12];
    let talk = async {
        stream.write_all(b"GET /rpc/query HTTP/1.1\r\nHost: nas\r\n\r\n").await?;
        stream.read_exact(&mut answer).await
    };
    let talked = timeout(PATIENCE, talk).await.expect("an answer in time");
    talked.map(|_| String::from_utf8_lossy(&answer).into_owned()).map_err(|error| error.to_string())
}

/// What TLS says to a client with these settings that only listens: with TLS 1.3 a client hears of
/// a refusal after its own handshake, and what it sent meanwhile could overrun the alert.
async fn alert(door: &Door, config: ClientConfig) -> String {
    let mut stream = match tls_with(door.tls(), config).await {
        Ok(stream) => stream,
        Err(alert) => return alert,
    };
    let heard = timeout(PATIENCE, stream.read_u8()).await.expect("an alert in time");
    heard.expect_err("nothing was asked").to_string()
}

/// A daemon that believes the authority, which it reads from `ca.pem` in the state directory.
async fn believing(authority: &Authority) -> Running {
    believing_at(authority, Clock::system()).await
}

async fn believing_at(authority: &Authority, clock: Clock) -> Running {
    let mut site = Site::new();
    site.clock = clock;
    let path = site.path().join("ca.pem");
    replace(&path, &authority.pem());
    let access = "[access]\npassword_login = false\ncertificates = { known = \"viewer\" }\n";
    site.settings = format!("[tls]\nclient_ca = '{}'\n{access}", path.display());
    site.start().await
}

/// The same settings for one version of TLS only.
fn only(config: ClientConfig, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let mut narrowed = kit::tls::believing_in(&[version]);
    narrowed.client_auth_cert_resolver = config.client_auth_cert_resolver;
    narrowed
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn a_certificate_is_welcome_and_not_needed() {
    let ours = Authority::new("ours");
    let running = believing(&ours).await;
    for version in VERSIONS {
        for config in [ours.client(|_| ()), kit::tls::believing()] {
            let answered = answer(&running, only(config, version)).await;
            assert_eq!(answered.as_deref(), Ok("HTTP/1.1 401"), "{version:?}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_with_a_known_name_logs_its_holder_in() {
    let ours = Authority::new("ours");
    let running = believing(&ours).await;
    let named = |name: &str| {
        let name = name.to_owned();
        ours.client(move |params| params.distinguished_name.push(DnType::CommonName, name))
    };
    for version in VERSIONS {
        for (name, answered) in [("known", "HTTP/1.1 200"), ("unknown", "HTTP/1.1 401")] {
            let config = only(named(name), version);
            assert_eq!(answer(&running, config).await.as_deref(), Ok(answered), "{name}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_ends_the_handshake() {
    let ours = Authority::new("ours");
    // Of the same name, so that clients choose it whatever the daemon asks for.
    let foreign = Authority::new("ours");
    let old = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let running = believing(&ours).await;
    for version in VERSIONS {
        let refused = alert(&running, only(foreign.client(|_| ()), version)).await;
        assert!(refused.contains("DecryptError") || refused.contains("UnknownCA"), "{refused}");
        let stranger = Authority::new("theirs").client(|_| ());
        let refused = alert(&running, only(stranger, version)).await;
        assert!(refused.contains("UnknownCA"), "{version:?}: {refused}");
        let refused = alert(&running, only(ours.client(old), version)).await;
        assert!(refused.contains("CertificateExpired"), "{version:?}: {refused}");
    }
    running.stop().await;
}

#[tokio::test]
async fn another_authority_is_believed_without_a_restart() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let running = believing(&before).await;
    let fingerprint = running.daemon.fingerprint();
    assert_eq!(answer(&running, before.client(|_| ())).await.as_deref(), Ok("HTTP/1.1 401"));
    replace(&running.site.path().join("ca.pem"), &after.pem());
    running.daemon.reload();
    until("the new authority is believed", async || {
        answer(&running, after.client(|_| ())).await.is_ok()
    })
    .await;
    assert!(alert(&running, before.client(|_| ())).await.contains("UnknownCA"));
    assert_eq!(running.daemon.fingerprint(), fingerprint);
    running.stop().await;
}

/// A connection of somebody known by their certificate.
async fn known(running: &Running, authority: &Authority) -> SysAdmClient {
    let named = authority.client(|params| {
        params.distinguished_name.push(DnType::CommonName, "known");
        params.not_after = date_time_ymd(2090, 1, 1);
    });
    let mut client =
        SysAdmClient::connect_showing(running.tls(), named).await.expect("it is let in");
    client.call("rpc", "roles", json!({})).await.expect("it is known");
    client
}

#[tokio::test]
async fn whoever_came_by_another_authority_is_cut_when_it_is_not_believed_any_more() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let running = believing(&before).await;
    let mut cut = known(&running, &before).await;
    let mut stays = running.remote(&running.token("viewer").await).await;
    // A request on its way counts as what it is when it is there.
    let named = before.client(|params| params.distinguished_name.push(DnType::CommonName, "known"));
    let mut slow = tls_with(running.tls(), named).await.expect("it is let in");
    let request = http::request("POST", "/rpc/roles", &[], "{}");
    let (head, rest) = request.split_at(request.len() - 1);
    http::send(&mut slow, head).await;
    replace(&running.site.path().join("ca.pem"), &after.pem());
    running.daemon.reload();
    assert_eq!(cut.closed().await, (4001, "the login was revoked".to_owned()));
    http::send(&mut slow, rest).await;
    assert_eq!(http::answer(&mut slow).await.expect("an answer").status, 401);
    stays.call("rpc", "roles", json!({})).await.expect("a token has nothing to do with it");
    // As long as the same are believed, a new pair of the daemon cuts nobody.
    let mut new = known(&running, &after).await;
    let own = running.site.path().join("tls");
    let files = super::files::Files { cert: own.join("cert.pem"), key: own.join("key.pem") };
    let pair = super::files::made(&super::files::key(), |_| ());
    files.put(&pair);
    running.daemon.reload();
    until("the new pair is in use", async || running.daemon.fingerprint() == pair.fingerprint)
        .await;
    new.call("rpc", "roles", json!({})).await.expect("it stays");
    drop((cut, stays, new));
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_lets_nobody_in_for_longer_than_it_is_good() {
    let ours = Authority::new("ours");
    let clock = Clock::fake(Clock::system().now());
    let running = believing_at(&ours, clock.clone()).await;
    let mut client = known(&running, &ours).await;
    clock.set("2089-12-31T23:00:00Z".parse().unwrap());
    client.call("rpc", "roles", json!({})).await.expect("it is still good");
    clock.advance(Duration::from_hours(2));
    client.send("rpc", "roles", json!({})).await;
    assert_eq!(client.closed().await, (4001, "the login has expired".to_owned()));
    running.stop().await;
}
