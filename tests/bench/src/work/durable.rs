//! P6: events acknowledged once they would survive a power cut.

use super::calls::{self, Called, Load, Request};
use super::contest::{Entry, Results, anchor, contest, ours};
use crate::Res;
use crate::args::Sizes;
use crate::client::dialect::{Class, Dialect, fire, inbox, nats_publish};
use crate::client::setup::Setup;
use crate::disk;
use crate::server::{Kind, Lab, Server};
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Durable);
const SYNCED: Entry = anchor(Kind::JetStreamSync);
const UNSYNCED: Entry = anchor(Kind::JetStream);
/// In flight, on 16 connections of 16.
const GROUP: u32 = 256;

/// Both rows of P6 and what stands beside them.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Res<Vec<Row>> {
    let many = Load { connections: 16, depth: 16, span: sizes.span };
    let one = Load { connections: 1, depth: 1, span: sizes.span };
    let many = run(lab, sizes, many, "P6 recorded, 16 x 16")?;
    let one = run(lab, sizes, one, "P6 recorded, one at a time")?;
    let group = disk::append(lab.scratch.dir(), GROUP, sizes.span)?;
    let bare = disk::append(lab.scratch.dir(), 1, sizes.span)?;
    let rate = |got: &Results<Called>, e| got.of(e, |c| c.rate);
    let p50 = |e| one.of(e, |c| c.p50);
    Ok(vec![
        Row::new("P6", "recorded fires, 16 × 16 in flight", "acks/s", rate(&many, OURS))
            .against(Kind::JetStreamSync.name(), rate(&many, SYNCED), Goal::AtLeastTimes(5.0))
            .against("jetstream, no fsync", rate(&many, UNSYNCED), Goal::Context)
            .against("fdatasync per 256", Some(group.rate), Goal::Context),
        Row::new("P6", "recorded fires, 16 × 16 in flight, CPU", "µs", many.of(OURS, |c| c.cpu))
            .against(Kind::JetStreamSync.name(), many.of(SYNCED, |c| c.cpu), Goal::Context)
            .against("jetstream, no fsync", many.of(UNSYNCED, |c| c.cpu), Goal::Context),
        Row::new("P6", "recorded fires, one at a time", "acks/s", rate(&one, OURS))
            .against(Kind::JetStreamSync.name(), rate(&one, SYNCED), Goal::Context)
            .against("fdatasync per record", Some(bare.rate), Goal::Context),
        Row::new("P6", "recorded fire, one at a time, p50", "µs", p50(OURS))
            .against("fdatasync", Some(bare.p50), Goal::AtMostTimesPlus(2.0, 100.0))
            .against(Kind::JetStreamSync.name(), p50(SYNCED), Goal::Context)
            .against("jetstream, no fsync", p50(UNSYNCED), Goal::Context),
    ])
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

fn run(lab: &Lab, sizes: &Sizes, load: Load, title: &str) -> Res<Results<Called>> {
    contest(lab, title, (sizes.runs, &[OURS, SYNCED, UNSYNCED]), |server, _| {
        prepare(server)?;
        let target = server.target(false)?;
        calls::run(server, &target, recorded(), load)
    })
}
