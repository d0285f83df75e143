//! Memory: what a subscriber costs that does nothing, and what the daemon has before anybody comes.

use std::time::Duration;

use super::contest::{Entry, anchor, contest, ours};
use crate::Res;
use crate::args::Sizes;
use crate::client::Target;
use crate::client::dialect::{Class, Dialect};
use crate::client::setup::Setup;
use crate::server::{Kind, Lab, Server};
use crate::stats::{count, float};
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Durable);
const RAW: Entry = anchor(Kind::Raw);
const TUNG: Entry = anchor(Kind::Tung);
const NATS: Entry = anchor(Kind::Nats);
const NATS_TLS: Entry = anchor(Kind::NatsTls);
const JSONRPC: Entry = anchor(Kind::Jsonrpc);
/// A page of every face that is asked over HTTP: REST, Consul and `CloudEvents`.
const PAGES: [&str; 4] =
    ["/rpc/identify", "/v1/agent/self", "/v1/event/list", "/cloudevents?limit=1"];

/// P5, plain and over TLS. One run each, on fresh processes: memory that was freed is not memory that was given back.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let run = |title: &str, entries: &[Entry], tls: bool, n: usize| {
        contest(lab, title, (1, entries), |server, _| run(server, &server.target(tls)?, n))
    };
    let plain = run("P5 idle", &[OURS, RAW, TUNG, NATS], false, sizes.idle);
    let secret = run("P5 idle over TLS", &[OURS, RAW, NATS_TLS], true, sizes.idle_tls);
    let plain = |e| plain.of(e, |kb| *kb);
    let secret = |e| secret.of(e, |kb| *kb);
    let work = |n: usize, how: &str| format!("memory of an idle subscriber, {n} of them, {how}");
    vec![
        Row::new("P5", work(sizes.idle, "plain"), "kB", plain(OURS))
            .goal(Goal::AtMost(8.0))
            .against("raw", plain(RAW), Goal::Context)
            .against("nats", plain(NATS), Goal::Context)
            .against("tung", plain(TUNG), Goal::Context),
        Row::new("P5", work(sizes.idle_tls, "TLS"), "kB", secret(OURS))
            .goal(Goal::AtMost(20.0))
            .against("raw", secret(RAW), Goal::Context)
            .against("nats", secret(NATS_TLS), Goal::Context),
    ]
}

/// The whole daemon, on a fresh process, when every face has answered once and nobody is connected any more.
pub(crate) fn daemon(lab: &Lab, _: &Sizes) -> Vec<Row> {
    let got = contest(lab, "memory, idle", (1, &[OURS, NATS, JSONRPC]), |server, _| quiet(server));
    // The kernel's kB are 1024 bytes.
    let megabytes = |entry| got.of(entry, |kb| kb * 1024.0 / 1e6);
    let work = "memory of the daemon, idle, after each face was used once";
    vec![
        Row::new("memory", work, "MB", megabytes(OURS))
            .goal(Goal::AtMost(30.0))
            .against("nats", megabytes(NATS), Goal::Context)
            .against("jsonrpsee", megabytes(JSONRPC), Goal::Context),
    ]
}

/// The server's resident memory.
fn quiet(server: &Server) -> Res<f64> {
    let target = server.target(false)?;
    if target.dialect == Dialect::Sysadm {
        for target in [&target, &server.target(true)?, &server.jsonrpc()?] {
            drop(Setup::open(target)?);
        }
        for page in PAGES {
            Setup::get(&target, page).map_err(|e| format!("{page}: {e}"))?;
        }
    }
    // Ended connections give back what they had.
    std::thread::sleep(Duration::from_secs(1));
    server.resident()
}

/// Kilobytes of the server's resident memory for each of `connections` idle subscribers.
fn run(server: &Server, target: &Target, connections: usize) -> Res<f64> {
    // The first few pay for what the process sets up once.
    let mut held = Vec::with_capacity(connections + 8);
    for _ in 0..8 {
        held.push(Setup::open(target)?.subscriber(Class::Durable)?);
    }
    let before = server.resident()?;
    for _ in 0..connections {
        held.push(Setup::open(target)?.subscriber(Class::Durable)?);
    }
    std::thread::sleep(Duration::from_millis(200));
    let grown = server.resident()? - before;
    drop(held);
    Ok(grown / float(count(connections)))
}
