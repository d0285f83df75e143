//! Which versions, ciphers and protocols are spoken: asked with OpenSSL, which is no relative of
//! the daemon's TLS.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Site};
use crate::http;

/// Offers of clients that are taken, and a text that shows how.
const TAKEN: [(&str, &str); 11] = [
    ("", "TLSv1.3, Cipher is"),
    ("-tls1_2", "TLSv1.2, Cipher is"),
    ("-tls1_3", "TLSv1.3, Cipher is"),
    ("-noservername", "TLSv1.3, Cipher is"),
    ("-alpn http/1.1", "ALPN protocol: http/1.1"),
    ("-alpn h2,http/1.1", "ALPN protocol: http/1.1"),
    ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "Cipher is ECDHE-ECDSA-AES128-GCM"),
    ("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "Cipher is ECDHE-ECDSA-AES256-GCM"),
    ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "Cipher is ECDHE-ECDSA-CHACHA20"),
    ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", "Cipher is TLS_AES_128_GCM_SHA256"),
    ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "Cipher is TLS_CHACHA20"),
];

/// Offers that are refused, and the number of the alert that says why: 40 `handshake_failure`,
/// 120 `no_application_protocol` (RFC 8446 §6).
const REFUSED: [(&str, u8); 10] = [
    ("-tls1 -cipher DEFAULT@SECLEVEL=0", 40),
    ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", 40),
    ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", 40),
    ("-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384", 40),
    ("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", 40),
    ("-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384", 40),
    ("-tls1_2 -cipher AES128-GCM-SHA256", 40),
    ("-tls1_2 -cipher ALL:eNULL:@SECLEVEL=0:!AESGCM:!CHACHA20", 40),
    ("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", 40),
    ("-alpn h2", 120),
];

/// What OpenSSL says of a handshake with these options.
async fn openssl(addr: SocketAddr, options: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &addr.to_string()]).args(options.split_whitespace());
    command.stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || command.output());
    let output = timeout(PATIENCE, asked).await.expect("openssl ends in time").expect("it runs");
    let output = output.expect("openssl is there (apt-get install openssl)");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[tokio::test]
async fn versions_ciphers_and_protocols_are_those_of_today() {
    let running = Site::new().start().await;
    for (options, text) in TAKEN {
        let said = openssl(running.tls(), options).await;
        assert!(said.contains(text), "{options}: {said}");
    }
    for (options, number) in REFUSED {
        let said = openssl(running.tls(), options).await;
        // OpenSSL has a list of its own; only an alert is the daemon's word.
        assert!(said.contains(&format!("SSL alert number {number}")), "{options}: {said}");
    }
    running.stop().await;
}

#[tokio::test]
async fn no_session_is_taken_up_again() {
    let running = Site::new().start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // All connections of one client share what it remembers.
        let client = kit::tls::believing_in(&[version]);
        for turn in 0..3 {
            let mut stream = kit::client::tls_with(running.tls(), client.clone()).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{version:?}, connection {turn}");
            // What a server gives to be remembered comes before its first word.
            let answer = http::over(&mut stream, &http::request("GET", "/healthz", &[], "")).await;
            assert_eq!(answer.status, 200);
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn it_is_the_version_for_which_old_clients_are_refused() {
    let running = Site::new().start().await;
    for (minor, name) in [(0, "SSL 3.0"), (1, "TLS 1.0"), (2, "TLS 1.1")] {
        let answer = answer(running.tls(), minor).await;
        // A record of type alert: version, length 2, level fatal, `protocol_version`.
        assert_eq!((answer[0], &answer[3..7]), (21, &[0, 2, 2, 70][..]), "{name}");
    }
    // A record of type handshake, and in it a hello of the server.
    let answer = answer(running.tls(), 3).await;
    assert_eq!((answer[0], answer[5]), (22, 2), "TLS 1.2");
    running.stop().await;
}

/// The first seven bytes that a client of version 3.`minor` is answered.
async fn answer(addr: SocketAddr, minor: u8) -> [u8; 7] {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&hello(minor)).await.unwrap();
    let mut answer = [0; 7];
    let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    answer
}

/// The first message of a client of version 3.`minor` with a cipher, a curve and signatures of
/// today: OpenSSL's older clients name no signatures, and are refused for that first.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; one cipher: ECDHE-ECDSA-AES128-GCM-SHA256; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // ECDSA with P-256 and SHA-256, the curve P-256, its points uncompressed.
    let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 0x17, 0, 11, 0, 2, 1, 0];
    let length = |bytes: usize| u8::try_from(bytes).expect("a short message");
    body.extend([0, length(extensions.len())]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, length(body.len() + 4), 1, 0, 0, length(body.len())];
    record.extend(body);
    record
}
