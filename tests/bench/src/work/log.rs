//! P8: a full log.

use super::durable::{prepare, recorded};
use super::replay;
use crate::Res;
use crate::args::Sizes;
use crate::server::{Kind, Lab};
use crate::stats::median;
use crate::table::{Goal, Row};

/// What a server with a full log did.
struct Full {
    events: u64,
    start: f64,
    replay: Option<f64>,
}

/// Start and replay, ours and `JetStream`'s.
pub(crate) fn rows(lab: &Lab, sizes: &Sizes) -> Res<Vec<Row>> {
    let ours = full(lab, sizes, Kind::Ours)?;
    let nats = full(lab, sizes, Kind::JetStream)?;
    let events = ours.as_ref().or(nats.as_ref()).map_or(0, |f| f.events);
    let start = format!("start until it answers, {events} events in the log");
    let replay = format!("replay of {events} events to one client");
    let began = |f: &Option<Full>| f.as_ref().map(|f| f.start);
    let rate = |f: &Option<Full>| f.as_ref().and_then(|f| f.replay);
    Ok(vec![
        Row::new("P8", start, "ms", began(&ours)).goal(Goal::AtMost(1000.0)).against(
            "jetstream",
            began(&nats),
            Goal::Context,
        ),
        Row::new("P8", replay, "events/s", rate(&ours)).goal(Goal::AtLeast(300_000.0)).against(
            "jetstream",
            rate(&nats),
            Goal::Context,
        ),
    ])
}

fn full(lab: &Lab, sizes: &Sizes, kind: Kind) -> Res<Option<Full>> {
    let dir = lab.scratch.fresh("full-log")?;
    let Some(server) = lab.start_in(kind, &dir)? else { return Ok(None) };
    eprintln!("P8: filling {} with {} events", kind.name(), sizes.log);
    prepare(&server)?;
    let target = server.target(false)?;
    let events = replay::fill(&server, &target, recorded(), sizes.log)?;
    server.stop()?;
    let (mut starts, mut rates) = (Vec::new(), Vec::new());
    for run in 1..=sizes.runs {
        eprintln!("P8: start and replay, run {run} of {}, {}", sizes.runs, kind.name());
        let Some(server) = lab.start_in(kind, &dir)? else { return Ok(None) };
        starts.push(server.ready.as_secs_f64() * 1000.0);
        rates.push(replay::run(&server, &server.target(false)?, events)?);
        server.stop()?;
    }
    let start = median(starts).ok_or("no run")?;
    Ok(Some(Full { events, start, replay: median(rates) }))
}
