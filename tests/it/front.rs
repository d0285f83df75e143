//! The front door: who gets in when many want to, and who has to make room.

mod bombs;
mod files;
mod slow;
mod talkers;

use std::io::ErrorKind;
use std::net::SocketAddr;

use kit::client::{SysAdmClient, Target};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Running, Site, until};
use crate::http;

/// A daemon with a plain listener and these limits.
async fn running(limits: &str) -> Running {
    let mut site = Site::new();
    site.plain = true;
    site.settings = format!("[limits]\n{limits}\n");
    site.start().await
}

/// A connection from 127.0.0.`host` that has said nothing.
async fn stranger(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("a loopback address");
    socket.connect(to).await.expect("a connection")
}

fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_strangers_keep_nobody_out() {
    let running = running("").await;
    let token = running.token("viewer").await;
    let target = Target::Plain { addr: running.addresses[1], token: Some(token) };
    let mut known = SysAdmClient::connect(target.clone()).await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(stranger(1, running.addresses[1]).await);
    }
    until("all but the last sixteen had to make room", async || {
        strangers.iter().take(284).all(is_closed)
    })
    .await;
    assert!(!strangers.iter().skip(284).any(is_closed), "the last sixteen are there");
    // From the same address, with as many strangers as there may be.
    for _ in 0..20 {
        SysAdmClient::connect(target.clone()).await.unwrap().close().await;
    }
    // From everywhere.
    for host in 2..=40 {
        for _ in 0..16 {
            strangers.push(stranger(host, running.addresses[1]).await);
        }
    }
    until("there are no more than 256", async || {
        strangers.iter().filter(|stranger| !is_closed(stranger)).count() <= 256
    })
    .await;
    let mut later = SysAdmClient::connect(target.clone()).await.unwrap();
    for client in [&mut known, &mut later] {
        assert!(client.call("rpc", "query", json!("")).await.is_ok());
    }
    drop((known, later, strangers));
    running.stop().await;
}

#[tokio::test]
async fn a_stranger_that_makes_room_is_told_so() {
    let running = running("anonymous_per_source = 1").await;
    let mut first = running.anonymous().await;
    let second = running.anonymous().await;
    assert_eq!(
        first.closed().await,
        (1013, "room is needed for others; retry_after_ms=1000".to_owned())
    );
    drop((first, second));
    running.stop().await;
}

#[tokio::test]
async fn an_account_beyond_its_connections_is_refused_and_stays_a_stranger() {
    let running = running("per_account = 2").await;
    let token = running.token("viewer").await;
    let first = running.remote(&token).await;
    let mut second = running.remote(&token).await;
    let mut third = running.anonymous().await;
    let refusal = third.call("rpc", "auth_token", json!({"token": token})).await.unwrap_err();
    assert_eq!(refusal["code"], "429", "{refusal}");
    assert_eq!(refusal["fault"]["kind"], "too-many");
    assert!(refusal["fault"]["retry_after_ms"].is_u64(), "{refusal}");
    assert!(third.call("rpc", "query", json!("")).await.is_err(), "nobody is logged in");
    let bearer = [format!("Authorization: Bearer {token}")];
    let request = http::request("GET", "/rpc/query", &bearer, "");
    let reply = http::over_tls(running.tls(), &request).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")), "{reply:?}");
    // Who is in stays in, also as somebody else, and gives back the place.
    assert!(second.call("rpc", "query", json!("")).await.is_ok());
    let other = running.token("admin").await;
    second.call("rpc", "auth_token", json!({"token": other})).await.unwrap();
    third.call("rpc", "auth_token", json!({"token": token})).await.unwrap();
    drop((first, second, third));
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_awaited_for_ever() {
    let running = running("body_s = 1").await;
    let token = running.token("viewer").await;
    let head = format!(
        "POST /rpc/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{\"arg"
    );
    let reply = http::over_tls(running.tls(), head.as_bytes()).await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(reply.body.contains("longer than 1 s"), "{reply:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_strangers_body_is_as_small_as_its_messages() {
    let running = running("").await;
    let body = format!("{{\"args\": \"{}\"}}", "x".repeat(8 * 1024));
    let request = http::request("POST", "/rpc/identify", &[], &body);
    assert_eq!(http::over_tls(running.tls(), &request).await.status, 413);
    running.stop().await;
}
