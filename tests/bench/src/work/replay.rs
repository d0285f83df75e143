//! A full log: how soon the daemon answers again, and how fast one client gets all of it.

use std::time::Instant;

use crate::Res;
use crate::client::Target;
use crate::client::dialect::{Class, nats_publish, subscribe};
use crate::client::net::Net;
use crate::client::setup::Setup;
use crate::server::{Kind, Server};
use crate::stats::float;

/// Where `JetStream` delivers.
const INBOX: &str = "replay";

/// Asks for everything from the oldest on. Returns events a second, from the request to the last of `events`.
pub(crate) fn run(server: &Server, target: &Target, events: u64) -> Res<f64> {
    let setup = Setup::open(target)?;
    let (mut conn, request) = if server.kind == Kind::Ours {
        (setup.finish()?, subscribe(Class::Durable, "oldest"))
    } else {
        (setup.caller(&[], INBOX)?, consume())
    };
    let mut net = Net::new()?;
    net.watch(&mut conn, 0)?;
    let mut reader = target.dialect.deliveries();
    let (mut came, mut ready) = (0_u64, Vec::new());
    let begin = Instant::now();
    conn.queue(&target.dialect.framed(&request));
    conn.flush()?;
    while came < events {
        net.wait(&mut ready).map_err(|e| {
            let stray = reader.stray().unwrap_or("nothing else");
            format!("{came} of {events} replayed: {e}; got: {stray}")
        })?;
        conn.drain(&mut net.buffers, |payload| came += u64::from(reader.count(payload)))?;
        conn.flush()?;
    }
    Ok(float(events) / begin.elapsed().as_secs_f64())
}

/// A consumer of the whole stream that needs no acknowledgements, delivering to the caller's inbox.
fn consume() -> Vec<u8> {
    let config = serde_json::json!({"stream_name": "BENCH", "config": {
        "deliver_subject": INBOX, "deliver_policy": "all", "ack_policy": "none",
        "replay_policy": "instant",
    }});
    nats_publish("$JS.API.CONSUMER.CREATE.BENCH", None, config.to_string().as_bytes())
}
