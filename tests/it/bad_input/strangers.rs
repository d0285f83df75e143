//! Connections that never become anything.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answers;
use crate::harness::{PATIENCE, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_and_dripping_connections_end_and_delay_nobody() {
    let mut site = Site::new();
    site.plain = true;
    site.settings = "[limits]\nanonymous_per_source = 100\n".to_owned();
    let running = site.start().await;
    let (tls, plain) = (running.addresses[0], running.addresses[1]);
    let mut ends = JoinSet::new();
    for _ in 0..5 {
        // Nothing at all; half a TLS greeting; half a request; a request byte by byte.
        ends.spawn(ends_after(tls, b"", false));
        ends.spawn(ends_after(tls, b"\x16\x03\x01\x02\x00\x01", false));
        ends.spawn(ends_after(plain, b"", false));
        ends.spawn(ends_after(plain, b"GET / HTTP/1.1\r\nHost: ", false));
        ends.spawn(ends_after(plain, b"GET / HTTP/1.1\r\nX-Drip: ", true));
    }
    let mut admin = running.admin().await;
    let token = running.token("viewer").await;
    for _ in 0..3 {
        answers(&mut admin).await;
        running.remote(&token).await.close().await;
    }
    assert_eq!(ends.len(), 25, "they were there all the while");
    while let Some(ended) = ends.join_next().await {
        ended.expect("it was closed in time");
        answers(&mut admin).await;
    }
    drop(admin);
    running.stop().await;
}

/// Says this much, and if it drips one byte more now and then, until the daemon ends it.
async fn ends_after(addr: SocketAddr, start: &'static [u8], drips: bool) {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(start).await.expect("it is sent");
    let mut answer = [0; 256];
    let until_end = async {
        loop {
            let pause = Duration::from_millis(if drips { 50 } else { 60_000 });
            tokio::select! {
                read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
                () = sleep(pause) => if stream.write_all(b"x").await.is_err() { return },
            }
        }
    };
    timeout(PATIENCE, until_end).await.expect("the daemon ends it");
}
