//! Serves the daemon's websocket stack as an echo on loopback, for `tests/conformance/run`.
//!
//! Prints the port it got. The upgrade is done here, by hand: what is tested are frames, and the
//! daemon's upgrade needs a daemon.

#![allow(clippy::print_stdout, reason = "the port is what it is asked for")]

use std::io;

use sysadmd::config::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The suite's largest message; the daemon itself takes 1 MiB.
const MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a request's head.
const HEAD_BYTES: usize = 8 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // The suite opens one connection after the other, so this holds a few at most.
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            if let Err(error) = serve(stream).await {
                println!("a connection ended: {error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = head(&mut stream).await?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value.trim())
    });
    let key = key.ok_or(io::ErrorKind::InvalidData)?;
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    let limits = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
    sysadmd::listen::echo(stream, limits).await;
    Ok(())
}

/// The head of the request, byte by byte so that nothing behind it is taken.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
