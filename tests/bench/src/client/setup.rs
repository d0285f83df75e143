//! Opening a connection: TCP, TLS, upgrade, greeting, login, subscription. Blocking, because none of it is measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, Connection, Stream};
use serde_json::json;

use super::Target;
use super::conn::Conn;
use super::dialect::{Class, Dialect, expect, jsonrpc, nats_publish, subscribe, sysadm};
use crate::Res;
use crate::frame::{self, CLOSE, PING, PONG};
use crate::pipe::Pipe;

/// A server that does not answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection being opened.
pub(crate) struct Setup {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    kept: Vec<u8>,
    dialect: Dialect,
}

impl Setup {
    /// Connects, upgrades, greets and logs in.
    pub(crate) fn open(target: &Target) -> Res<Self> {
        let mut setup = Self::connect(target)?;
        setup.upgrade(target)?;
        match target.dialect {
            Dialect::Nats => setup.greet_nats()?,
            Dialect::Sysadm | Dialect::Jsonrpc => setup.log_in(target)?,
            Dialect::Plain => {}
        }
        Ok(setup)
    }

    /// Asks for a page by HTTP, which must be answered with status 200.
    pub(crate) fn get(target: &Target, path: &str) -> Res<()> {
        let mut setup = Self::connect(target)?;
        let token = target.token.as_ref();
        let token = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
        let addr = target.addr;
        setup.send(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{token}\r\n").as_bytes())?;
        expect(&setup.head()?, " 200 ")
    }

    fn connect(target: &Target) -> Res<Self> {
        let socket = TcpStream::connect(target.addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = target.addr.ip().into();
        let tls = target.tls.as_ref().map(|c| ClientConnection::new(Arc::clone(c), name));
        let tls = tls.transpose()?;
        Ok(Self { socket, tls, kept: Vec::new(), dialect: target.dialect })
    }

    /// Becomes a subscriber of everything of `class`, from now on.
    pub(crate) fn subscriber(mut self, class: Class) -> Res<Conn> {
        match self.dialect {
            Dialect::Plain | Dialect::Jsonrpc => expect(&self.ask(b"sub")?, "ok")?,
            Dialect::Sysadm => expect(&self.ask(&subscribe(class, "now"))?, r#""response""#)?,
            Dialect::Nats => self.nats_subscribe("bench")?,
        }
        self.finish()
    }

    /// Becomes a publisher.
    pub(crate) fn publisher(mut self) -> Res<Conn> {
        if self.dialect == Dialect::Plain {
            expect(&self.ask(b"pub")?, "ok")?;
        }
        self.finish()
    }

    /// Becomes a caller, once the server has answered `request` without an error. NATS replies to `inbox`.
    pub(crate) fn caller(mut self, request: &[u8], inbox: &str) -> Res<Conn> {
        match self.dialect {
            Dialect::Plain => expect(&self.ask(b"call")?, "ok")?,
            Dialect::Nats => self.nats_subscribe(inbox)?,
            Dialect::Sysadm => expect(&self.ask(request)?, r#""response""#)?,
            Dialect::Jsonrpc => expect(&self.ask(request)?, r#""result""#)?,
        }
        self.finish()
    }

    /// Makes the `JetStream` stream that acknowledges publications to `durable`.
    pub(crate) fn make_stream(mut self) -> Res<()> {
        self.nats_subscribe("made")?;
        let config = json!({
            "name": "BENCH", "subjects": ["durable"], "storage": "file", "retention": "limits",
            "max_msgs": -1, "num_replicas": 1, "discard": "old",
        });
        let api = "$JS.API.STREAM.CREATE.BENCH";
        let reply = self.ask(&nats_publish(api, Some("made"), config.to_string().as_bytes()))?;
        expect(&reply, r#""config""#)
    }

    /// Sends one message and waits for the next that comes.
    pub(crate) fn ask(&mut self, payload: &[u8]) -> Res<Vec<u8>> {
        let framed = self.dialect.framed(payload);
        self.send(&framed)?;
        self.next()
    }

    /// Hands the socket over to the epoll loop.
    pub(crate) fn finish(self) -> Res<Conn> {
        self.socket.set_nonblocking(true)?;
        let socket = mio::net::TcpStream::from_std(self.socket);
        Ok(Conn::new(Pipe::new(socket, self.tls.map(Connection::Client)), self.kept))
    }

    fn upgrade(&mut self, target: &Target) -> Res<()> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            target.path, target.addr
        );
        self.send(request.as_bytes())?;
        expect(&self.head()?, " 101 ")
    }

    /// The head of an HTTP answer.
    fn head(&mut self) -> Res<Vec<u8>> {
        let end = loop {
            if let Some(at) = self.kept.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.read()?;
        };
        Ok(self.kept.drain(..end).collect())
    }

    fn greet_nats(&mut self) -> Res<()> {
        expect(&self.next()?, "INFO ")?;
        let options = json!({"verbose": false, "pedantic": false, "protocol": 1, "lang": "bench",
            "version": "1", "headers": false, "no_responders": false});
        self.nats_flush(&format!("CONNECT {options}\r\n"))
    }

    fn nats_subscribe(&mut self, subject: &str) -> Res<()> {
        self.nats_flush(&format!("SUB {subject} 1\r\n"))
    }

    /// Sends lines and waits until the server has read them.
    fn nats_flush(&mut self, lines: &str) -> Res<()> {
        let framed = self.dialect.framed(format!("{lines}PING\r\n").as_bytes());
        self.send(&framed)?;
        loop {
            let reply = self.next()?;
            if reply.windows(6).any(|w| w == b"PONG\r\n") {
                return Ok(());
            }
            if reply.starts_with(b"-ERR") {
                return expect(&reply, "PONG");
            }
        }
    }

    fn log_in(&mut self, target: &Target) -> Res<()> {
        let Some(token) = &target.token else { return Ok(()) };
        let args = json!({"token": token});
        let (login, granted) = match self.dialect {
            Dialect::Jsonrpc => (jsonrpc("rpc.auth_token", &args), r#""result""#),
            _ => (sysadm("rpc", "auth_token", "1", &args), r#""response""#),
        };
        expect(&self.ask(&login)?, granted)
    }

    fn send(&mut self, bytes: &[u8]) -> Res<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes)?,
            Some(tls) => {
                let mut stream = Stream::new(tls, &mut self.socket);
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Res<()> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.tls {
            None => self.socket.read(&mut chunk)?,
            Some(tls) => Stream::new(tls, &mut self.socket).read(&mut chunk)?,
        };
        if read == 0 {
            return Err("the server closed the connection during its setup".into());
        }
        self.kept.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    /// The payload of the next data frame.
    pub(crate) fn next(&mut self) -> Res<Vec<u8>> {
        loop {
            let whole = frame::head(&self.kept).filter(|h| h.size + h.payload <= self.kept.len());
            let Some(head) = whole else {
                self.read()?;
                continue;
            };
            let payload = self.kept[head.size..head.size + head.payload].to_vec();
            self.kept.drain(..head.size + head.payload);
            match head.opcode {
                CLOSE => return Err("the server closed the websocket during its setup".into()),
                PING => {
                    let mut pong = Vec::new();
                    frame::client(&mut pong, PONG, &payload);
                    self.send(&pong)?;
                }
                PONG => {}
                _ if self.dialect == Dialect::Nats && payload == b"PING\r\n" => {
                    let pong = self.dialect.framed(b"PONG\r\n");
                    self.send(&pong)?;
                }
                _ => return Ok(payload),
            }
        }
    }
}
