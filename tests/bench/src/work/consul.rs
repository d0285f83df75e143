//! The Consul face: durable fires, and how soon those hear of one who wait in a blocking list.

mod client;

use self::client::{Client, Heard};
use super::calls::{self, Load};
use super::contest::{Entry, Results, anchor, contest, ours};
use super::durable::{prepare, recorded};
use crate::args::Sizes;
use crate::client::dialect::Class;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Durable);
const SYNCED: Entry = anchor(Kind::JetStreamSync);
const UNSYNCED: Entry = anchor(Kind::JetStream);

/// What a real Consul did, for comparison: 1.8.7, one server and four agents on loopback, payloads of 100 bytes, at
/// another time than the rest of the table. It keeps its events in memory only.
const CONSUL: &str = "consul, noted";
/// Its fires a second, one at a time.
const CONSUL_FIRES: f64 = 3267.0;
/// Microseconds from a fire to a waiter on the same agent, median.
const CONSUL_HEARD: f64 = 1900.0;

/// Clients of the group commit.
const MANY: usize = 8;
/// What a list holds at most.
const RING: u32 = 256;
/// Times all waiters are woken in one run.
const WAKES: u32 = 5;

/// All rows of the face.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let mut rows = fires(lab, sizes);
    rows.extend(heard(lab, sizes));
    rows.extend([1, RING].map(|listed| woken(lab, sizes, listed)));
    rows
}

fn fires(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let run = |clients: usize| {
        let entries = [OURS, SYNCED, UNSYNCED];
        let title = format!("consul fires, {clients} client(s)");
        contest(lab, &title, (sizes.runs, &entries), |server, _| {
            let target = server.target(false)?;
            if server.kind == Kind::Ours {
                return Client::open(target, clients)?.fires(sizes.span);
            }
            prepare(server)?;
            let load = Load { connections: clients, depth: 1, span: sizes.span };
            Ok(calls::run(server, &target, recorded(), load)?.rate)
        })
    };
    let row = |clients: usize, goal: Goal, noted: Goal| {
        let got: Results<f64> = run(clients);
        let rate = |entry| got.of(entry, |rate| *rate);
        let work = format!("Consul: durable fires, {clients} client(s)");
        let row = Row::new("consul", work, "fires/s", rate(OURS));
        let row = if matches!(goal, Goal::Context) { row } else { row.goal(goal) };
        row.against(Kind::JetStreamSync.name(), rate(SYNCED), Goal::Context)
            .against("jetstream, no fsync", rate(UNSYNCED), Goal::Context)
            .against(CONSUL, Some(CONSUL_FIRES), noted)
    };
    vec![
        row(1, Goal::AtLeast(1500.0), Goal::Context),
        row(MANY, Goal::Context, Goal::AtLeastTimes(1.0)),
    ]
}

fn heard(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let rounds = (sizes.paced / 100).clamp(50, 2000);
    let got = contest(lab, "consul, one waiter", (sizes.runs, &[OURS]), |server, _| {
        Client::open(server.target(false)?, 2)?.heard(rounds, RING)
    });
    let of = |figure: fn(&Heard) -> f64| got.of(OURS, figure);
    let work = "Consul: fire to blocked waiter";
    vec![
        Row::new("consul", format!("{work}, p50"), "µs", of(|h| h.p50))
            .goal(Goal::AtMost(1000.0))
            .against("the fire's answer", of(|h| h.answered), Goal::Context)
            .against(CONSUL, Some(CONSUL_HEARD), Goal::Context),
        Row::new("consul", format!("{work}, p99"), "µs", of(|h| h.p99)),
    ]
}

fn woken(lab: &Lab, sizes: &Sizes, listed: u32) -> Row {
    let waiters = sizes.subscribers;
    let title = format!("consul, {waiters} waiters, {listed} listed");
    // The list of a name that is new is empty, whatever was fired before.
    let mut name = 0_u32;
    let got = contest(lab, &title, (sizes.runs, &[OURS]), |server, _| {
        let mut client = Client::open(server.target(false)?, waiters + 1)?;
        let mut times = Vec::new();
        for _ in 0..WAKES {
            name += 1;
            times.push(client.woken(&format!("wake-{name}"), listed)?);
        }
        Ok(median(times).unwrap_or_default())
    });
    let work = format!("Consul: {waiters} waiters woken by one event, {listed} listed, the last");
    Row::new("consul", work, "ms", got.of(OURS, |ms| *ms))
}
