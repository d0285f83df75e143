//! The works in their order, and the table at the end.
//!
//! Knows which servers do which work and what the goals are; how a figure is taken stands one level lower.

mod calls;
mod consul;
mod contest;
mod durable;
mod fanout;
mod idle;
mod jsonrpc;
mod killed;
mod log;
mod refused;
mod replay;
mod request;
mod revoked;
mod spread;

use std::cell::RefCell;

use crate::args::{Plan, Sizes};
use crate::pin::{self, Cores};
use crate::scratch::{Scratch, Sweep};
use crate::server::Lab;
use crate::table::{self, Row};
use crate::{Res, tls};

/// One group of rows and the ids it makes.
type Work = (&'static [&'static str], fn(&Lab, &Sizes) -> Vec<Row>);

const WORKS: [Work; 14] = [
    (&["P1"], spread::flood),
    (&["P2", "P7", "latency"], spread::paced),
    (&["P3"], spread::flood_tls),
    (&["P4"], request::identify),
    (&["P4", "plugin"], request::plugin),
    (&["jsonrpc"], jsonrpc::rows),
    (&["P5"], idle::rows),
    (&["memory"], idle::daemon),
    (&["P6"], durable::rows),
    (&["P8"], log::rows),
    (&["consul"], consul::rows),
    (&["kill"], killed::rows),
    (&["revoke"], revoked::rows),
    (&["refused"], refused::rows),
];

/// Measures, prints, and says whether all of it worked and, with `--check`, whether every goal is met.
pub(crate) fn run(plan: &Plan) -> Res<bool> {
    let files = pin::raise_open_files()?;
    let scratch = Scratch::new(plan.scratch.as_deref())?;
    let _sweep = Sweep(scratch.clone());
    let lab = lab(plan, scratch)?;
    let mut sizes = plan.sizes();
    // A connection is one file in the client and one in the server; leave some for everything else.
    sizes.idle = sizes.idle.min(usize::try_from(files)?.saturating_sub(200));
    let mut rows = Vec::new();
    for (ids, work) in WORKS {
        if ids.iter().any(|id| plan.wants(id)) {
            rows.extend(work(&lab, &sizes));
        }
    }
    print!("{}\n{}", table::text(&rows), footer(&lab, &sizes, plan));
    if let Some(path) = &plan.json {
        let notes: Vec<String> = footer(&lab, &sizes, plan).lines().map(str::to_owned).collect();
        let whole = serde_json::json!({"rows": rows, "notes": notes, "quick": plan.quick});
        std::fs::write(path, serde_json::to_vec_pretty(&whole)?)?;
    }
    let missed = rows.iter().flat_map(|row| &row.versus).any(|v| v.met == Some(false));
    Ok(lab.failures.borrow().is_empty() && !(plan.check && missed))
}

fn lab(plan: &Plan, scratch: Scratch) -> Res<Lab> {
    let beside = std::env::current_exe()?.with_file_name("sysadmd");
    let sysadmd = if plan.anchors_only {
        None
    } else {
        let path = plan.sysadmd.clone().unwrap_or(beside);
        if !path.exists() {
            let why = "does not exist; build it first: cargo build --release";
            return Err(format!("{} {why}", path.display()).into());
        }
        Some(path)
    };
    Ok(Lab {
        pair: tls::self_signed(scratch.dir())?,
        scratch,
        cores: Cores::pick()?,
        client_tls: tls::client()?,
        sysadmd,
        nats: plan.nats.exists().then(|| plan.nats.clone()),
        failures: RefCell::default(),
    })
}

fn footer(lab: &Lab, sizes: &Sizes, plan: &Plan) -> String {
    let mut lines = vec![
        format!("Medians of {} interleaved run(s); {}.", sizes.runs, lab.cores.text()),
        "s/M: CPU seconds of the server process per million deliveries. –: not measured."
            .to_owned(),
    ];
    lines.push(
        "jetstream fsync: sync_interval: always where nats-server knows it (2.10), else a store folder marked for \
         synchronous writes (chattr +S)."
            .to_owned(),
    );
    lines.push(
        "consul, noted: Consul 1.8.7 at another time, its events in memory only; not of this run."
            .to_owned(),
    );
    match &lab.nats {
        None => lines.push("nats-server is not installed: apt-get install nats-server".to_owned()),
        Some(path) => lines.push(version(path)),
    }
    if plan.quick {
        lines
            .push("--quick: small sizes, one run. These figures prove function, not speed.".into());
    }
    lines.extend(lab.failures.borrow().iter().map(|f| format!("FAILED {f}")));
    lines.join("\n") + "\n"
}

fn version(path: &std::path::Path) -> String {
    let output = std::process::Command::new(path).arg("--version").output();
    output.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
