//! P8: a full log.

use super::durable::{prepare, recorded};
use super::{calls, replay};
use crate::Res;
use crate::args::Sizes;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

/// Beyond this the anchor would have to be slowed down by hand: what it cannot write at once it keeps in memory.
const ANCHOR_EVENTS: u32 = 1_000_000;

/// What a server with a full log did.
struct Full {
    start: f64,
    replay: Option<f64>,
}

/// Start and replay, ours and `JetStream`'s.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Vec<Row> {
    let ours = attempt(lab, sizes.runs, sizes.log, Kind::Ours);
    let nats = attempt(lab, sizes.runs, sizes.log.min(ANCHOR_EVENTS), Kind::JetStream);
    let start = format!("start until it answers, {} events in the log", sizes.log);
    let replay = format!("replay of {} events to one client", sizes.log);
    let began = |f: &Option<Full>| f.as_ref().map(|f| f.start);
    let rate = |f: &Option<Full>| f.as_ref().and_then(|f| f.replay);
    vec![
        Row::new("P8", start, "ms", began(&ours)).goal(Goal::AtMost(1000.0)).against(
            "jetstream, ≤ 1 M",
            began(&nats),
            Goal::Context,
        ),
        Row::new("P8", replay, "events/s", rate(&ours)).goal(Goal::AtLeast(300_000.0)).against(
            "jetstream, ≤ 1 M",
            rate(&nats),
            Goal::Context,
        ),
    ]
}

fn attempt(lab: &Lab, runs: u32, events: u32, kind: Kind) -> Option<Full> {
    full(lab, runs, events, kind).unwrap_or_else(|error| {
        lab.failed(format!("P8: {}: {error}", kind.name()));
        None
    })
}

fn full(lab: &Lab, runs: u32, events: u32, kind: Kind) -> Res<Option<Full>> {
    let dir = lab.scratch.fresh("full-log")?;
    let Some(server) = lab.start_in(kind, &dir)? else { return Ok(None) };
    eprintln!("P8: filling {} with {} events", kind.name(), events);
    prepare(&server)?;
    let target = server.target(false)?;
    let events = calls::repeat(&target, recorded(), u64::from(events))?;
    server.stop()?;
    let (mut starts, mut rates) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("P8: start and replay, run {run} of {runs}, {}", kind.name());
        let Some(server) = lab.start_in(kind, &dir)? else { return Ok(None) };
        starts.push(server.ready.as_secs_f64() * 1000.0);
        rates.push(replay::run(&server, &server.target(false)?, events)?);
        server.stop()?;
    }
    let start = median(starts).ok_or("no run")?;
    Ok(Some(Full { start, replay: median(rates) }))
}
