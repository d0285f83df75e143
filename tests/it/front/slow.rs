//! Slowloris: many who hold their connections open and say next to nothing.

use std::net::SocketAddr;
use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{running, stranger};
use crate::harness::PATIENCE;

/// What a stranger has to log in.
const LOGIN: Duration = Duration::from_secs(5);
/// How much later it may be closed.
const LATE: Duration = Duration::from_secs(1);
/// Between two bytes.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a slow one goes before it is slow.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// Says nothing.
    Silent,
    /// In the middle of the TLS greeting.
    Greeting,
    /// In the middle of a request's head.
    Head,
    /// In the middle of a request's body.
    Body,
    /// In the middle of a websocket frame.
    Frame,
}

impl Start {
    const ALL: [Self; 5] = [Self::Silent, Self::Greeting, Self::Head, Self::Body, Self::Frame];

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Silent => b"",
            Self::Greeting => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            Self::Head => b"GET / HTTP/1.1\r\nHost: ",
            Self::Body => {
                b"POST /rpc/identify HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n[\""
            }
            Self::Frame => {
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                  \x81\xfe\x10\x00\x00\x00\x00\x00"
            }
        }
    }
}

/// How long a slow connection lives.
async fn lives(start: Start, host: u8, address: SocketAddr, with_tls: bool) -> Duration {
    let begun = Instant::now();
    let stream = stranger(host, address).await;
    if with_tls && !matches!(start, Start::Silent | Start::Greeting) {
        // It may have to make room before it has said anything.
        let greeted = kit::client::tls_over(stream, address, kit::tls::believing()).await;
        if let Ok(stream) = greeted {
            drips(stream, start).await;
        }
    } else {
        drips(stream, start).await;
    }
    begun.elapsed()
}

/// Says a byte now and then until the daemon ends it.
async fn drips(mut stream: impl AsyncRead + AsyncWrite + Unpin, start: Start) {
    if stream.write_all(start.bytes()).await.is_err() {
        return;
    }
    let mut answer = [0; 512];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
            () = sleep(PAUSE) => {
                let byte: &[u8] = if matches!(start, Start::Silent) { b"" } else { b"x" };
                if stream.write_all(byte).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_slow_strangers_are_closed_in_time_and_keep_nobody_out() {
    let running = running("login_s = 5\nhandshake_s = 3\nbody_s = 4").await;
    let (tls, plain) = (running.addresses[0], running.addresses[1]);
    let token = running.token("viewer").await;
    let mut slow = JoinSet::new();
    for number in 0..500_u16 {
        let start = Start::ALL[usize::from(number) % Start::ALL.len()];
        let with_tls = number % 2 == 0;
        // Half of them from where the good client is.
        let host = if number % 4 < 2 { 1 } else { 2 + (number / 16 % 16) as u8 };
        let address = if with_tls { tls } else { plain };
        slow.spawn(async move {
            sleep(Duration::from_millis(16) * u32::from(number)).await;
            (start, lives(start, host, address, with_tls).await)
        });
    }
    let (mut logins, mut longest) = (0, Duration::ZERO);
    while !slow.is_empty() {
        for target in [
            Target::Tls { addr: tls, token: Some(token.clone()) },
            Target::Plain { addr: plain, token: Some(token.clone()) },
        ] {
            let begun = Instant::now();
            SysAdmClient::connect(target).await.expect("a login").close().await;
            longest = longest.max(begun.elapsed());
            logins += 1;
        }
        while let Some(ended) = slow.try_join_next() {
            let (start, lived) = ended.expect("it ends");
            assert!(lived <= LOGIN + LATE, "{start:?} lived for {lived:?}");
        }
        assert!(logins < 100_000, "the slow ones never end");
        sleep(Duration::from_millis(20)).await;
    }
    println!("{logins} logins, the longest took {longest:?}");
    assert!(logins > 10, "{logins}");
    timeout(PATIENCE, running.stop()).await.expect("it stops");
}
