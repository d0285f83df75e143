//! Messages that are small to send and would be large to keep.

use kit::client::{SysAdmClient, Target};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Site};
use crate::raw::{Raw, TEXT};

const MIB: usize = 1024 * 1024;
/// What the daemon may grow beside the largest message there is.
const GROWTH: usize = 5 * MIB + MIB;

/// A request head of ten megabytes, as far as it is taken; the status of the answer, or nothing
/// where the connection was reset before it could be read.
async fn huge_head(stream: &mut TcpStream) -> String {
    let line = format!("X: {}\r\n", "x".repeat(1_000));
    let mut sent = stream.write_all(b"GET / HTTP/1.1\r\n").await;
    for _ in 0..10_000 {
        if sent.is_err() {
            break;
        }
        sent = stream.write_all(line.as_bytes()).await;
    }
    assert!(sent.is_err(), "ten megabytes of a head were taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_not_kept() {
    let mut site = Site::new();
    site.plain = true;
    let program = site.with_kit().spawn().await;
    program.ready("kit").await;
    let token = program.token("admin").await;
    let target = Target::Tls { addr: program.tls(), token: Some(token.clone()) };
    let mut client = SysAdmClient::connect(target).await.unwrap();
    let echo =
        |args: &str| format!(r#"{{"namespace":"kit","name":"echo","id":"b","args":{args}}}"#);
    // The largest that is allowed goes through and back, so that room for it is there.
    client.send_raw(&echo(&format!("\"{}\"", "x".repeat(MIB / 2)))).await;
    client.answer("b").await.unwrap();
    program.forget_peak();
    let before = program.peak_bytes();

    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        client.send_raw(&echo(&deep)).await;
        assert_eq!(client.answer("b").await.unwrap_err()["code"], "400");
        let mut stranger = Raw::tls(program.tls()).await;
        stranger.send(TEXT, echo(&deep).as_bytes()).await;
        assert_eq!(stranger.close_code().await, 1009);
    }
    let members: Vec<String> = (0..1_000_000).map(|key| format!("\"{key}\":0")).collect();
    let wide = echo(&format!("{{{}}}", members.join(",")));
    let mut known = Raw::tls(program.tls()).await;
    known.login(&token).await;
    known.send(TEXT, wide.as_bytes()).await;
    assert_eq!(known.close_code().await, 1009);
    let mut stranger = Raw::tls(program.tls()).await;
    stranger.header(TEXT, 64 * MIB as u64).await;
    assert_eq!(stranger.close_code().await, 1009);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(program.addresses[1]).await.unwrap();
        let status = timeout(PATIENCE, huge_head(&mut stream)).await.expect("it is refused");
        assert!(status.is_empty() || status.contains(" 431 "), "{status}");
    }

    let grown = usize::try_from(program.peak_bytes().saturating_sub(before)).unwrap();
    println!("the daemon grew by {grown} bytes");
    assert!(grown < GROWTH, "the daemon grew by {grown} bytes");
    assert!(client.call("kit", "echo", json!({"n": 1})).await.is_ok());
    drop((client, known, stranger));
    program.stop().await;
}
