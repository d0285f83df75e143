//! `rpc/metrics`: what there is to measure, for monitoring.

use std::collections::BTreeMap;
use std::fs;

use protocol::{Fault, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::Dispatch;
use super::shape::said;
use crate::host::PluginStatus;

/// Answer to `rpc/metrics`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Measured {
    /// Measurements, those of one name together.
    families: Vec<Family>,
}

/// Measurements of one name.
#[derive(Serialize, JsonSchema)]
struct Family {
    /// As Prometheus names such things: with its unit, and `_total` for what only grows.
    name: &'static str,
    /// Whether it only grows, or goes up and down.
    kind: Kind,
    /// One sentence for people.
    help: &'static str,
    /// What was measured.
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// It only grows, until the daemon starts anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One measurement.
#[derive(Serialize, JsonSchema)]
struct Sample {
    /// Of what, when there is more than one.
    labels: BTreeMap<&'static str, String>,
    /// How much.
    value: u64,
}

impl Sample {
    fn of<const N: usize>(labels: [(&'static str, &str); N], value: u64) -> Self {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned()));
        Self { labels: labels.collect(), value }
    }
}

use Kind::{Counter, Gauge};

/// Measures everything.
pub(super) fn answer(dispatch: &Dispatch) -> Result<Json, Fault> {
    let mut families = of_daemon(dispatch);
    families.extend(of_plugins(&dispatch.0.host.status()));
    families.extend(of_sinks(dispatch));
    said(&Measured { families })
}

fn one(name: &'static str, kind: Kind, help: &'static str, value: u64) -> Family {
    Family { name, kind, help, samples: vec![Sample::of([], value)] }
}

fn of_daemon(dispatch: &Dispatch) -> Vec<Family> {
    let bounds = dispatch.0.bus.log().bounds();
    let version = Sample::of([("version", env!("CARGO_PKG_VERSION"))], 1);
    let help = "The version that runs";
    let mut families = vec![
        Family { name: "sysadmd_info", kind: Gauge, help, samples: vec![version] },
        one("sysadmd_event_log_head_seq", Gauge, "Number of the newest event", bounds.head),
        one(
            "sysadmd_event_log_oldest_seq",
            Gauge,
            "Number of the oldest event kept",
            bounds.oldest,
        ),
        one(
            "sysadmd_jobs_live",
            Gauge,
            "Jobs that wait or run",
            dispatch.0.jobs.all_live().len() as u64,
        ),
    ];
    families.extend(of_process());
    families
}

/// As every exporter names them; what cannot be read is left out.
fn of_process() -> Vec<Family> {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096);
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    let resident = pages.map(|pages| {
        one("process_resident_memory_bytes", Gauge, "Memory in use", pages.saturating_mul(page))
    });
    let open = files.map(|count| one("process_open_fds", Gauge, "File descriptors in use", count));
    resident.into_iter().chain(open).collect()
}

fn of_plugins(plugins: &[PluginStatus]) -> Vec<Family> {
    type Count = (&'static str, &'static str, fn(&PluginStatus) -> u64);
    const COUNTS: [Count; 5] = [
        ("sysadmd_plugin_restarts_total", "Processes started after the first one", |it| {
            it.restarts
        }),
        ("sysadmd_plugin_calls_total", "Calls a plugin was asked for", |it| it.calls),
        ("sysadmd_plugin_calls_failed_total", "Calls that ended with a fault", |it| {
            it.calls_failed
        }),
        ("sysadmd_plugin_events_total", "Events recorded for a plugin", |it| it.events_published),
        ("sysadmd_plugin_events_refused_total", "Events that were refused", |it| it.events_refused),
    ];
    let state = Family {
        name: "sysadmd_plugin_state",
        kind: Gauge,
        help: "1 for the state a plugin is in",
        samples: plugins
            .iter()
            .map(|it| Sample::of([("plugin", &it.id), ("state", it.state.as_str())], 1))
            .collect(),
    };
    let counts = COUNTS.into_iter().map(|(name, help, count)| Family {
        name,
        kind: Counter,
        help,
        samples: plugins.iter().map(|it| Sample::of([("plugin", &it.id)], count(it))).collect(),
    });
    [state].into_iter().chain(counts).collect()
}

fn of_sinks(dispatch: &Dispatch) -> Vec<Family> {
    let sinks = dispatch.0.sinks.list();
    let samples = |count: fn(&crate::sinks::SinkStatus) -> u64| {
        sinks.iter().map(|it| Sample::of([("sink", &it.name)], count(it))).collect()
    };
    vec![
        Family {
            name: "sysadmd_sink_delivered_total",
            kind: Counter,
            help: "Events delivered to a sink",
            samples: samples(|it| it.delivered),
        },
        Family {
            name: "sysadmd_sink_behind",
            kind: Gauge,
            help: "Events of the log that a sink has not come to",
            samples: samples(|it| it.behind),
        },
        Family {
            name: "sysadmd_sink_failing",
            kind: Gauge,
            help: "1 while deliveries to a sink fail",
            samples: samples(|it| u64::from(it.failing.is_some())),
        },
    ]
}
