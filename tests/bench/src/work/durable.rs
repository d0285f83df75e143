//! P6: events acknowledged once they would survive a power cut.

use super::calls::{self, Called, Load, Request};
use super::contest::{Entry, Results, anchor, contest, ours};
use crate::Res;
use crate::args::Sizes;
use crate::client::dialect::{Class, Dialect, fire, inbox, nats_publish};
use crate::client::setup::Setup;
use crate::disk::{self, Synced};
use crate::server::{Kind, Lab, Server};
use crate::stats::median;
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Durable);
const SYNCED: Entry = anchor(Kind::JetStreamSync);
const UNSYNCED: Entry = anchor(Kind::JetStream);
/// In flight, on 16 connections of 16.
const GROUP: u32 = 256;

/// Both rows of P6 and what stands beside them.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let many = Load { connections: 16, depth: 16, span: sizes.span };
    let one = Load { connections: 1, depth: 1, span: sizes.span };
    let many = run(lab, sizes, many, "P6 recorded, 16 x 16");
    let one = run(lab, sizes, one, "P6 recorded, one at a time");
    let group = bare(lab, sizes, GROUP);
    let single = bare(lab, sizes, 1);
    let rate = |got: &Results<Called>, e| got.of(e, |c| c.rate);
    let p50 = |e| one.of(e, |c| c.p50);
    vec![
        Row::new("P6", "recorded fires, 16 × 16 in flight", "acks/s", rate(&many, OURS))
            .against(Kind::JetStreamSync.name(), rate(&many, SYNCED), Goal::AtLeastTimes(5.0))
            .against("jetstream, no fsync", rate(&many, UNSYNCED), Goal::Context)
            .against("fdatasync per 256", group.map(|d| d.rate), Goal::Context),
        Row::new("P6", "recorded fires, 16 × 16 in flight, CPU", "µs", many.of(OURS, |c| c.cpu))
            .against(Kind::JetStreamSync.name(), many.of(SYNCED, |c| c.cpu), Goal::Context)
            .against("jetstream, no fsync", many.of(UNSYNCED, |c| c.cpu), Goal::Context),
        Row::new("P6", "recorded fires, one at a time", "acks/s", rate(&one, OURS))
            .against(Kind::JetStreamSync.name(), rate(&one, SYNCED), Goal::Context)
            .against("fdatasync per record", single.map(|d| d.rate), Goal::Context),
        Row::new("P6", "recorded fire, one at a time, p50", "µs", p50(OURS))
            .against("fdatasync", single.map(|d| d.p50), Goal::AtMostTimesPlus(2.0, 100.0))
            .against(Kind::JetStreamSync.name(), p50(SYNCED), Goal::Context)
            .against("jetstream, no fsync", p50(UNSYNCED), Goal::Context),
    ]
}

/// The bare disk: the median run of as many as everybody has.
fn bare(lab: &Lab, sizes: &Sizes, group: u32) -> Option<Synced> {
    let run = |_| disk::append(lab.scratch.dir(), group, sizes.span);
    match (0..sizes.runs).map(run).collect::<Res<Vec<Synced>>>() {
        Ok(runs) => Some(Synced {
            rate: median(runs.iter().map(|d| d.rate))?,
            p50: median(runs.iter().map(|d| d.p50))?,
        }),
        Err(error) => {
            lab.failed(format!("P6: fdatasync: {error}"));
            None
        }
    }
}

/// A recorded event, acknowledged.
pub(crate) fn recorded() -> Request {
    let message = |dialect, caller| {
        if dialect == Dialect::Nats {
            nats_publish("durable", Some(&inbox(caller)), &Dialect::record())
        } else {
            fire(Class::Durable)
        }
    };
    Request { namespace: "events", message }
}

/// `JetStream` needs its stream; making the same one again changes nothing.
pub(crate) fn prepare(server: &Server) -> Res<()> {
    match server.kind {
        Kind::JetStream | Kind::JetStreamSync => Setup::open(&server.target(false)?)?.make_stream(),
        _ => Ok(()),
    }
}

fn run(lab: &Lab, sizes: &Sizes, load: Load, title: &str) -> Results<Called> {
    contest(lab, title, (sizes.runs, &[OURS, SYNCED, UNSYNCED]), |server, _| {
        prepare(server)?;
        let target = server.target(false)?;
        calls::run(server, &target, recorded(), load)
    })
}
