//! Login with an RSA key, end to end: the keys and answers are made by the `openssl` program.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::client::SysAdmClient;
use nix::unistd::{Group, User, getegid, geteuid};
use serde_json::{Value, json};

use crate::harness::{Running, Site};

/// Somebody's private key, as PEM.
pub(crate) struct Key(tempfile::NamedTempFile);

impl Key {
    pub(crate) fn new() -> Self {
        let key = Self(tempfile::NamedTempFile::new().unwrap());
        let words = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        let pem = openssl(&words, b"");
        std::fs::write(key.0.path(), pem).unwrap();
        key
    }

    /// What names it in classic messages.
    pub(crate) fn encoded(&self) -> String {
        STANDARD.encode(self.pem())
    }

    fn pem(&self) -> Vec<u8> {
        openssl(&["pkey", "-pubout", "-in", self.0.path().to_str().unwrap()], b"")
    }

    /// The text under PKCS#1 v1.5 type 1 padding without a hash, to the private exponent.
    pub(crate) fn answer(&self, text: &str) -> String {
        let path = self.0.path().to_str().unwrap();
        let words = ["rsautl", "-sign", "-pkcs", "-inkey", path];
        STANDARD.encode(openssl(&words, text.as_bytes()))
    }

    /// The base64 of the MD5 of the PEM text.
    fn checksum(&self) -> String {
        STANDARD.encode(openssl(&["dgst", "-md5", "-binary"], &self.pem()))
    }
}

fn openssl(words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("openssl (apt-get install openssl)");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {words:?}");
    output.stdout
}

async fn settings(client: &mut SysAdmClient, action: &str, key: &Key) -> Result<Value, Value> {
    let (nickname, email) = ("desk", "me@example.org");
    let args =
        json!({"action": action, "pub_key": key.encoded(), "nickname": nickname, "email": email});
    client.call("rpc", "settings", args).await
}

/// The text to be answered on this connection.
async fn asked(client: &mut SysAdmClient) -> String {
    let question = client.call("rpc", "auth_ssl", json!({})).await.unwrap();
    let members: Vec<&String> = question.as_object().unwrap().keys().collect();
    assert_eq!(members, ["test_string"]);
    question["test_string"].as_str().unwrap().to_owned()
}

async fn answer(client: &mut SysAdmClient, answer: &str) -> Result<Value, Value> {
    client.call("rpc", "auth_ssl", json!({"encrypted_string": answer})).await
}

/// Refused as wrong, or as once too often.
async fn is_refused(client: &mut SysAdmClient, given: &str) -> bool {
    let refusal = answer(client, given).await.expect_err("it is refused");
    refusal["code"] == "401"
}

/// Logs in with the key; the connection and the session token.
async fn by_key(running: &Running, key: &Key) -> (SysAdmClient, String) {
    let mut client = running.anonymous().await;
    let text = asked(&mut client).await;
    let session = answer(&mut client, &key.answer(&text)).await.expect("the login");
    assert_eq!(session[1], 900);
    let session = session[0].as_str().unwrap().to_owned();
    (client, session)
}

async fn principal(client: &mut SysAdmClient) -> Value {
    client.call("rpc", "hello", json!({})).await.unwrap()["principal"].clone()
}

/// Whoever runs this test.
fn account() -> String {
    User::from_uid(geteuid()).unwrap().expect("an account").name
}

/// A daemon of which they are an administrator also when they are not on the unix socket.
async fn start() -> Running {
    let group = Group::from_gid(getegid()).unwrap().expect("a group").name;
    let mut site = Site::new();
    site.settings =
        format!("[access]\npassword_login = false\ngroups = {{ admin = [{group:?}] }}\n");
    site.start().await
}

#[tokio::test]
async fn a_registered_key_logs_its_user_in() {
    let running = start().await;
    let user = format!("user:{}", account());
    let key = Key::new();
    let mut admin = running.admin().await;
    assert_eq!(settings(&mut admin, "register_ssl_cert", &key).await, Ok(json!({})));
    let (mut client, session) = by_key(&running, &key).await;
    assert_eq!(principal(&mut client).await, json!({"name": user, "role": "admin"}));

    let listed = client.call("rpc", "settings", json!({"action": "list_ssl_certs"})).await.unwrap();
    let users: Vec<&String> = listed.as_object().unwrap().keys().collect();
    assert_eq!(users, [&account()]);
    let told = listed[&account()][key.encoded()].as_str().expect("the key names it");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["Nickname: desk", "Email: me@example.org"]);
    assert!(lines.len() == 3 && lines[2].starts_with("Date Registered: 2"), "{told}");
    let sums = json!({"action": "list_ssl_checksums"});
    let sums = client.call("rpc", "settings", sums).await.unwrap();
    assert_eq!(sums, json!({"md5_keys": [key.checksum()]}));

    // The session is as good as any, and what is registered outlives the daemon.
    drop((client, admin));
    let running = running.restart().await;
    let mut again = running.remote(&session).await;
    assert_eq!(principal(&mut again).await["name"], user.as_str());
    by_key(&running, &key).await.0.close().await;
    drop(again);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_is_good_once_for_one_connection_and_by_a_known_key() {
    let running = start().await;
    let user = format!("user:{}", account());
    let (key, stranger) = (Key::new(), Key::new());
    let mut admin = running.admin().await;
    settings(&mut admin, "register_ssl_cert", &key).await.unwrap();
    let mut client = running.anonymous().await;
    // By a key that nobody has registered.
    let text = asked(&mut client).await;
    assert!(is_refused(&mut client, &stranger.answer(&text)).await);
    // That has used the question up.
    assert!(is_refused(&mut client, &key.answer(&text)).await);
    // On another connection.
    let text = asked(&mut client).await;
    let mut other = running.anonymous().await;
    assert!(is_refused(&mut other, &key.answer(&text)).await);
    asked(&mut other).await;
    assert!(is_refused(&mut other, &key.answer(&text)).await);
    assert_eq!(principal(&mut other).await, Value::Null);
    // Where it was asked it is good, and once.
    let right = key.answer(&text);
    answer(&mut client, &right).await.expect("the login");
    assert!(is_refused(&mut client, &right).await);
    asked(&mut client).await;
    assert!(is_refused(&mut client, &right).await);
    assert_eq!(principal(&mut client).await["name"], user.as_str(), "a failure takes nothing away");
    drop((client, other, admin));
    running.stop().await;
}

#[tokio::test]
async fn revoking_a_key_cuts_whoever_came_by_it() {
    let running = start().await;
    let user = format!("user:{}", account());
    let (key, kept) = (Key::new(), Key::new());
    let mut admin = running.admin().await;
    for key in [&key, &kept] {
        settings(&mut admin, "register_ssl_cert", key).await.unwrap();
    }
    let (mut first, session) = by_key(&running, &key).await;
    let (mut other, _) = by_key(&running, &kept).await;
    let mut resumed = running.remote(&session).await;
    // The same key again is the same key.
    settings(&mut admin, "register_ssl_cert", &key).await.unwrap();
    assert_eq!(settings(&mut admin, "revoke_ssl_cert", &key).await, Ok(json!({})));
    for client in [&mut first, &mut resumed] {
        assert_eq!(client.closed().await, (4001, "the login was revoked".to_owned()));
    }
    assert_eq!(principal(&mut other).await["name"], user.as_str());
    let mut client = running.anonymous().await;
    let text = asked(&mut client).await;
    assert!(is_refused(&mut client, &key.answer(&text)).await);
    let by_session = client.call("rpc", "auth_token", json!({"token": session})).await;
    assert_eq!(by_session.unwrap_err()["code"], "401");
    let again = settings(&mut admin, "revoke_ssl_cert", &key).await.unwrap_err();
    assert_eq!(again["code"], "400");
    drop((first, resumed, other, client, admin));
    running.stop().await;
}

#[tokio::test]
async fn keys_are_their_users_business_and_an_administrators() {
    let running = start().await;
    let key = Key::new();
    let mut admin = running.admin().await;
    settings(&mut admin, "register_ssl_cert", &key).await.unwrap();
    let mut viewer = running.remote(&running.token("viewer").await).await;
    for action in ["register_ssl_cert", "revoke_ssl_cert"] {
        let own = settings(&mut viewer, action, &key).await.unwrap_err();
        assert_eq!(own["code"], "400", "a token is no user: {own}");
        let args = json!({"action": action, "pub_key": key.encoded(), "user": account()});
        let others = viewer.call("rpc", "settings", args).await.unwrap_err();
        assert_eq!(others["code"], "403", "{others}");
    }
    let listed = viewer.call("rpc", "settings", json!({"action": "list_ssl_certs"})).await;
    assert_eq!(listed, Ok(json!({})));
    let sums = viewer.call("rpc", "settings", json!({"action": "list_ssl_checksums"})).await;
    assert_eq!(sums, Ok(json!({"md5_keys": []})));
    drop((viewer, admin));
    running.stop().await;
}
