//! Certificates that clients show.

use kit::client::tls_with;
use rcgen::{DnType, date_time_ymd};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::files::{Authority, replace};
use crate::harness::{Door, PATIENCE, Running, Site, until};

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
    let mut site = Site::new();
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
