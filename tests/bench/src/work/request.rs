//! Call rows: P4, answered by the daemon itself and by a plugin.

use serde_json::json;

use super::calls::{self, Called, Load, Request};
use super::contest::{Entry, Results, anchor, contest, ours};
use crate::args::Sizes;
use crate::client::dialect::{Class, Dialect, jsonrpc, sysadm};
use crate::plugin;
use crate::server::{Kind, Lab};
use crate::table::{Goal, Row};

const OURS: Entry = ours(Class::Volatile);
const PLUGGED: Entry = anchor(Kind::OursWithPlugin);
const RAW: Entry = anchor(Kind::Raw);
const JSONRPC: Entry = anchor(Kind::Jsonrpc);

/// `identify`: the smallest call there is.
pub(crate) fn identify(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let run = |load: Load, title: &str| {
        let entries = [OURS, RAW, JSONRPC];
        contest(lab, title, (sizes.runs, &entries), |server, _| {
            let target = server.target(false)?;
            calls::run(server, &target, smallest(), load)
        })
    };
    let many = run(wide(sizes), "P4 identify, 50 x 16");
    let one = run(single(sizes), "P4 identify, one at a time");
    let mut rows = vec![
        Row::new("P4", "identify, 50 × 16 in flight, server CPU", "µs", cpu(&many, OURS))
            .against("jsonrpsee", cpu(&many, JSONRPC), Goal::AtMostTimes(0.3))
            .against("raw", cpu(&many, RAW), Goal::Context),
        Row::new("P4", "identify, 50 × 16 in flight", "calls/s", many.of(OURS, |c| c.rate))
            .against("jsonrpsee", many.of(JSONRPC, |c| c.rate), Goal::Context)
            .against("raw", many.of(RAW, |c| c.rate), Goal::Context),
    ];
    rows.push(
        Row::new("P4", "identify, one at a time, p50", "µs", one.of(OURS, |c| c.p50))
            .against("jsonrpsee", one.of(JSONRPC, |c| c.p50), Goal::Context)
            .against("raw", one.of(RAW, |c| c.p50), Goal::Context),
    );
    rows
}

/// The same through a plugin process, which answers with its arguments.
pub(crate) fn plugin(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let run = |load: Load, title: &str| {
        contest(lab, title, (sizes.runs, &[PLUGGED]), |server, _| {
            calls::run(server, &server.target(false)?, echo(), load)
        })
    };
    let many = run(wide(sizes), "P4 plugin, 50 x 16");
    let one = run(single(sizes), "P4 plugin, one at a time");
    let works = ["through a plugin, 50 × 16 in flight", "through a plugin, one at a time"];
    let [wide, single] = works;
    vec![
        Row::new("P4", format!("{wide}, daemon CPU"), "µs", cpu(&many, PLUGGED))
            .goal(Goal::AtMost(25.0))
            .against("the plugin's own", many.of(PLUGGED, |c| c.children_cpu), Goal::Context),
        Row::new("P4", wide, "calls/s", many.of(PLUGGED, |c| c.rate)),
        Row::new("P4", format!("{single}, p50"), "µs", one.of(PLUGGED, |c| c.p50)),
    ]
}

fn cpu(got: &Results<Called>, entry: Entry) -> Option<f64> {
    got.of(entry, |c| c.cpu)
}

/// Enough callers to keep any server busy.
pub(super) fn wide(sizes: &Sizes) -> Load {
    Load { connections: 50, depth: 16, span: sizes.span }
}

/// One that waits for each answer.
pub(super) fn single(sizes: &Sizes) -> Load {
    Load { connections: 1, depth: 1, span: sizes.span }
}

/// A call of `identify`.
pub(super) fn smallest() -> Request {
    let message = |dialect, _| match dialect {
        Dialect::Jsonrpc => jsonrpc("rpc.identify", &json!({})),
        _ => sysadm("rpc", "identify", "x", &json!({})),
    };
    Request { namespace: "rpc", message }
}

/// A call of the plugin.
pub(super) fn echo() -> Request {
    let message = |dialect, _| match dialect {
        Dialect::Jsonrpc => jsonrpc("bench.echo", &json!({"n": 1})),
        _ => sysadm(plugin::ID, "echo", "x", &json!({"n": 1})),
    };
    Request { namespace: plugin::ID, message }
}
