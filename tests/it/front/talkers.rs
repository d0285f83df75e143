//! Those who never stop talking: they are no harder to end than those who say nothing, even when
//! nothing has to be answered, so that nothing ever waits for them to read it.

use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{running, stranger};
use crate::harness::{PATIENCE, until};

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked pong without a payload.
const PONG: &[u8] = b"\x8a\x80\0\0\0\0";

/// A text frame with a question, masked with zeros.
fn question(namespace: &str, name: &str, args: &Value) -> Vec<u8> {
    let text = json!({"namespace": namespace, "name": name, "id": "q", "args": args}).to_string();
    let length = u16::try_from(text.len()).expect("a short question");
    let mut frame = vec![0x81, 0xfe];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Answers questions that were never asked as fast as it can, until the daemon ends the connection.
async fn talks(stream: TcpStream, login: Option<Vec<u8>>) -> u16 {
    let (mut from, mut to) = stream.into_split();
    to.write_all(UPGRADE).await.expect("the upgrade is sent");
    if let Some(login) = login {
        to.write_all(&login).await.expect("the login is sent");
    }
    let pongs = PONG.repeat(10_000);
    let ((), end) = tokio::join!(talk(&mut to, &pongs), listen(&mut from));
    end
}

async fn talk(to: &mut (impl AsyncWrite + Unpin), words: &[u8]) {
    while to.write_all(words).await.is_ok() {}
}

/// The close code, if one comes before the end.
async fn listen(from: &mut (impl AsyncRead + Unpin)) -> u16 {
    let mut came = Vec::new();
    // What is thrown away unread at the end takes the last words along.
    while from.read_buf(&mut came).await.is_ok_and(|count| count > 0) {}
    let close = came.windows(2).rposition(|head| head[0] == 0x88 && head[1] >= 2);
    let code = close.and_then(|place| came.get(place + 2..place + 4)?.first_chunk().copied());
    code.map_or(1006, u16::from_be_bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_never_stops_talking_must_log_in_in_time_all_the_same() {
    let running = running("login_s = 1").await;
    let talking = talks(stranger(1, running.addresses[1]).await, None);
    let code = timeout(PATIENCE, talking).await.expect("it is closed");
    assert_eq!(code, 1000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn strangers_who_never_stop_talking_make_room_all_the_same() {
    let running = running("anonymous_per_source = 1").await;
    let token = running.token("viewer").await;
    let mut talkers = JoinSet::new();
    // More than may be on their way out at once: were they to stay, nobody would be let in any more.
    for _ in 0..80 {
        talkers.spawn(talks(stranger(1, running.addresses[1]).await, None));
    }
    let target = Target::Plain { addr: running.addresses[1], token: Some(token) };
    SysAdmClient::connect(target).await.expect("a login").close().await;
    until("they have gone", async || {
        while talkers.try_join_next().is_some() {}
        talkers.len() <= 1
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_never_stops_talking_is_cut_when_their_token_is_revoked() {
    let running = running("").await;
    let made = running.make_token(json!({"name": "t", "role": "viewer"})).await;
    let login = question("rpc", "auth_token", &json!({"token": made["token"]}));
    let mut talker = JoinSet::new();
    talker.spawn(talks(stranger(1, running.addresses[1]).await, Some(login)));
    let mut admin = running.admin().await;
    until("it is logged in", async || {
        let listed = admin.call("rpc", "sessions", json!({"action": "list"})).await;
        listed.expect("sessions")["sessions"].as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let revoke = json!({"action": "revoke", "id": made["id"]});
    admin.call("rpc", "tokens", revoke).await.expect("it is revoked");
    let code = timeout(PATIENCE, talker.join_next()).await.expect("it is cut").unwrap();
    assert_eq!(code.unwrap(), 4001);
    drop(admin);
    running.stop().await;
}
