//! Memory: what a subscriber costs that does nothing.

use std::time::Duration;

use super::contest::{Entry, anchor, contest, ours};
use crate::Res;
use crate::args::Sizes;
use crate::client::Target;
use crate::client::dialect::Class;
use crate::client::setup::Setup;
use crate::server::{Kind, Lab, Server};
use crate::stats::{count, float};
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Durable);
const RAW: Entry = anchor(Kind::Raw);
const TUNG: Entry = anchor(Kind::Tung);
const NATS: Entry = anchor(Kind::Nats);
const NATS_TLS: Entry = anchor(Kind::NatsTls);

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
