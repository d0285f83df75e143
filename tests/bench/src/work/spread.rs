//! Fan-out rows: P1, P2, P3, P7 and the latencies beside them.

use super::contest::{Entry, Results, anchor, contest, ours};
use super::fanout::{self, Load, Spread};
use crate::args::Sizes;
use crate::client::dialect::Class;
use crate::disk;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

/// Messages on their way in a flood.
const WINDOW: u32 = 256;
const OURS: Entry = ours(Class::Durable);
const OURS_VOLATILE: Entry = ours(Class::Volatile);
const RAW: Entry = anchor(Kind::Raw);
const TUNG: Entry = anchor(Kind::Tung);
const NATS: Entry = anchor(Kind::Nats);
const NATS_TLS: Entry = anchor(Kind::NatsTls);

/// P1: as fast as it goes, everything recorded first.
pub(crate) fn flood(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let load = Load { messages: sizes.flood, window: WINDOW };
    let n = sizes.subscribers;
    let entries = [OURS, RAW, TUNG, NATS];
    let got = contest(lab, "P1 flood", (sizes.runs, &entries), |server, class| {
        fanout::run(server, &server.target(false)?, n, class, load)
    });
    let work = format!("flood, {n} subscribers, plain, recorded");
    let cpu = |e| got.of(e, |s| s.cpu);
    vec![
        Row::new("P1", &work, "s/M", cpu(OURS))
            .against("nats", cpu(NATS), Goal::AtMostTimes(0.25))
            .against("raw", cpu(RAW), Goal::AtMostTimes(2.5))
            .against("tung", cpu(TUNG), Goal::Context),
        rate("P1", &work, &got, &[NATS, RAW, TUNG]),
        Row::new("P1", "bytes of one delivery on the wire", "B", got.of(OURS, |s| s.bytes))
            .against("anchors", got.of(RAW, |s| s.bytes), Goal::Context),
    ]
}

/// P3: the same over TLS.
pub(crate) fn flood_tls(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let load = Load { messages: sizes.flood, window: WINDOW };
    let n = sizes.subscribers;
    let entries = [OURS, RAW, NATS_TLS];
    let got = contest(lab, "P3 flood over TLS", (sizes.runs, &entries), |server, class| {
        fanout::run(server, &server.target(true)?, n, class, load)
    });
    let work = format!("flood, {n} subscribers, TLS, recorded");
    let cpu = |e| got.of(e, |s| s.cpu);
    vec![
        Row::new("P3", &work, "s/M", cpu(OURS))
            .against("nats", cpu(NATS_TLS), Goal::AtMostTimes(0.35))
            .against("raw", cpu(RAW), Goal::AtMostTimes(1.7)),
        rate("P3", &work, &got, &[NATS_TLS, RAW]),
    ]
}

/// P2, P7 and latencies: the next message when the last subscriber has the previous one.
pub(crate) fn paced(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [1, 100, sizes.subscribers.max(200)] {
        let messages = (sizes.paced / u32::try_from(n).unwrap_or(u32::MAX)).clamp(50, 20_000);
        let load = Load { messages, window: 1 };
        let entries = [OURS_VOLATILE, OURS, RAW, TUNG, NATS];
        let title = format!("window 1, {n} subscribers");
        // The bare commit is taken in turn with the rest: a disk has moods.
        let mut commits = Vec::new();
        let got = contest(lab, &title, (sizes.runs, &entries), |server, class| {
            if server.kind == Kind::Raw {
                commits.push(disk::append(lab.scratch.dir(), 1, sizes.span / 4)?.p50);
            }
            fanout::run(server, &server.target(false)?, n, class, load)
        });
        rows.extend(latencies(n, &got, median(commits).unwrap_or_default()));
        if n > 100 {
            rows.extend(paced_cpu(n, &got));
        }
    }
    rows
}

fn paced_cpu(n: usize, got: &Results<Spread>) -> Vec<Row> {
    let work = format!("window 1, {n} subscribers, volatile");
    let cpu = |e| got.of(e, |s| s.cpu);
    let row = Row::new("P2", &work, "s/M", cpu(OURS_VOLATILE))
        .against("nats", cpu(NATS), Goal::AtMostTimes(0.5))
        .against("raw", cpu(RAW), Goal::AtMostTimes(1.5))
        .against("tung", cpu(TUNG), Goal::Context);
    vec![row]
}

fn latencies(n: usize, got: &Results<Spread>, commit: f64) -> Vec<Row> {
    let judged = n == 100;
    let id = if judged { "P7" } else { "latency" };
    let goal = |goal| if judged { goal } else { Goal::Context };
    let work = |what: &str| format!("publish to delivery, {n} subscriber(s), {what}");
    let p50 = |e| got.of(e, |s| s.p50);
    let p99 = |e| got.of(e, |s| s.p99);
    let durable = goal(Goal::AtMostTimesPlus(1.5, commit));
    vec![
        Row::new(id, work("volatile, p50"), "µs", p50(OURS_VOLATILE))
            .against("raw", p50(RAW), goal(Goal::AtMostTimes(1.5)))
            .against("nats", p50(NATS), Goal::Context)
            .against("tung", p50(TUNG), Goal::Context),
        Row::new(id, work("volatile, p99"), "µs", p99(OURS_VOLATILE))
            .against("raw", p99(RAW), Goal::Context)
            .against("nats", p99(NATS), Goal::Context),
        Row::new(id, work("recorded, p50"), "µs", p50(OURS)).against("raw", p50(RAW), durable),
        Row::new(id, work("recorded, p99"), "µs", p99(OURS)).against(
            "raw",
            p99(RAW),
            Goal::Context,
        ),
    ]
}

fn rate(id: &'static str, work: &str, got: &Results<Spread>, anchors: &[Entry]) -> Row {
    let rate = |e| got.of(e, |s| s.rate);
    let row = Row::new(id, work, "deliveries/s", rate(OURS));
    anchors.iter().fold(row, |row, e| row.against(e.kind.name(), rate(*e), Goal::Context))
}
