//! The same calls in the same protocol: the daemon's JSON-RPC and a bare server's.

use super::calls::{self, Called, Load, Request};
use super::contest::{Entry, Results, anchor, contest};
use super::request::{echo, single, smallest, wide};
use crate::args::Sizes;
use crate::server::{Kind, Lab};
use crate::table::{Goal, Row};

const OURS: Entry = anchor(Kind::OursWithPlugin);
const BARE: Entry = anchor(Kind::Jsonrpc);
/// The least part of a bare server's calls a second that ours must reach.
const PART: Goal = Goal::AtLeastTimes(0.9);

/// A call that the daemon answers and one that a plugin answers, which has a process of its own; the bare server
/// answers both where it stands.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let run = |request: Request, load: Load, title: &str| {
        contest(lab, title, (sizes.runs, &[OURS, BARE]), |server, _| {
            calls::run(server, &server.jsonrpc()?, request, load)
        })
    };
    let many = run(smallest(), wide(sizes), "JSON-RPC identify, 50 x 16");
    let one = run(smallest(), single(sizes), "JSON-RPC identify, one at a time");
    let plugged = run(echo(), wide(sizes), "JSON-RPC plugin, 50 x 16");
    let plugged_one = run(echo(), single(sizes), "JSON-RPC plugin, one at a time");
    vec![
        row("rpc.identify, 50 × 16 in flight", "calls/s", (&many, |c| c.rate), PART),
        row("rpc.identify, 50 × 16 in flight, server CPU", "µs", (&many, |c| c.cpu), Goal::Context),
        row("rpc.identify, one at a time", "calls/s", (&one, |c| c.rate), PART),
        row("through a plugin, 50 × 16 in flight", "calls/s", (&plugged, |c| c.rate), PART),
        row("through a plugin, one at a time", "calls/s", (&plugged_one, |c| c.rate), PART),
    ]
}

fn row(
    work: &str,
    unit: &'static str,
    (got, figure): (&Results<Called>, fn(&Called) -> f64),
    goal: Goal,
) -> Row {
    let ours = got.of(OURS, figure);
    Row::new("jsonrpc", work, unit, ours).against("jsonrpsee", got.of(BARE, figure), goal)
}
