//! Questions to an engine that need more than the model: the whole of an inspection, logs, figures.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::{InspectContainerOptions, LogsOptions, StatsOptions};
use futures_util::{StreamExt as _, pin_mut};
use sdk::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

use crate::engine::{sentence, within};

/// The most that one answer holds of a log.
const LOG_BYTES: usize = 256 * 1024;
/// The longest line that is given whole.
const LINE_BYTES: usize = 16 * 1024;
/// How long a log may take to be read.
const READING: Duration = Duration::from_secs(10);

/// The environment of a container, as pairs.
///
/// # Errors
/// A sentence about why it cannot be said.
pub(crate) async fn environment(docker: &Docker, id: &str) -> Result<Vec<Value>, String> {
    let seen = within(docker.inspect_container(id, None::<InspectContainerOptions>)).await?;
    let pairs = seen.config.and_then(|config| config.env).unwrap_or_default();
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        json!({"key": key, "value": value})
    };
    Ok(pairs.iter().map(pair).collect())
}

/// The newest lines of a container's log, and whether older ones were left out because there is no
/// room for them.
///
/// # Errors
/// A sentence about why they cannot be read.
pub(crate) async fn logs(
    docker: &Docker,
    id: &str,
    (tail, since): (usize, Option<i64>),
) -> Result<(Vec<Value>, bool), String> {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: tail.to_string(),
        since: since.map_or(0, seconds),
        ..LogsOptions::default()
    };
    let parts = docker.logs(id, Some(options));
    pin_mut!(parts);
    let mut lines = Lines::default();
    let read = async {
        while let Some(part) = parts.next().await {
            lines.take(part.map_err(|error| sentence(&error))?);
        }
        Ok::<(), String>(())
    };
    match timeout(READING, read).await {
        Ok(read) => read?,
        Err(_) => lines.cut = true,
    }
    Ok(lines.done())
}

/// The engine's client counts in 32 bits, which end in 2038.
fn seconds(moment: i64) -> i32 {
    i32::try_from(moment.max(0)).unwrap_or(i32::MAX)
}

/// Lines of both streams, the newest that fit.
#[derive(Default)]
struct Lines {
    all: std::collections::VecDeque<(&'static str, String)>,
    bytes: usize,
    cut: bool,
}

impl Lines {
    fn take(&mut self, part: LogOutput) {
        let (stream, bytes) = match part {
            LogOutput::StdErr { message } => ("stderr", message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => ("stdout", message),
            LogOutput::StdIn { .. } => return,
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            self.put(stream, line);
        }
    }

    fn put(&mut self, stream: &'static str, line: &str) {
        let most = line.len().min(LINE_BYTES);
        let end = (0..=most).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
        self.cut |= end < line.len();
        self.bytes += end;
        self.all.push_back((stream, line[..end].to_owned()));
        while self.bytes > LOG_BYTES {
            self.cut = true;
            let gone = self.all.pop_front().map_or(0, |(_, line)| line.len());
            self.bytes -= gone;
        }
    }

    fn done(self) -> (Vec<Value>, bool) {
        let line = |(stream, line): (&str, String)| {
            // The engine puts the time before each line.
            let (time, text) = match line.split_once(' ') {
                Some((time, text)) if time.ends_with('Z') && time.len() >= 20 => (Some(time), text),
                _ => (
                    line.ends_with('Z').then_some(line.as_str()),
                    if line.ends_with('Z') { "" } else { line.as_str() },
                ),
            };
            json!({"stream": stream, "time": time, "text": text})
        };
        (self.all.into_iter().map(line).collect(), self.cut)
    }
}

/// What a container uses at the moment.
///
/// # Errors
/// A sentence about why it cannot be said.
pub(crate) async fn stats(docker: &Docker, id: &str) -> Result<Value, String> {
    let options = StatsOptions { stream: false, one_shot: false };
    let figures = docker.stats(id, Some(options));
    pin_mut!(figures);
    match timeout(READING, figures.next()).await {
        Ok(Some(Ok(figures))) => Ok(shown(&figures)),
        Ok(Some(Err(error))) => Err(sentence(&error)),
        Ok(None) | Err(_) => Err("the engine tells no figures".to_owned()),
    }
}

fn shown(figures: &ContainerStatsResponse) -> Value {
    let memory = figures.memory_stats.clone().unwrap_or_default();
    let networks = figures.networks.clone().unwrap_or_default();
    let sum = |pick: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        networks.values().filter_map(pick).sum::<u64>()
    };
    let cache = memory.stats.as_ref().and_then(|stats| {
        let of = |name: &str| stats.get(name).copied();
        of("inactive_file").or(of("total_inactive_file"))
    });
    let used = memory.usage.unwrap_or(0).saturating_sub(cache.unwrap_or(0));
    json!({
        "cpu_percent": cpu(figures),
        "memory_bytes": used,
        "memory_limit": memory.limit.unwrap_or(0),
        "received_bytes": sum(|it| it.rx_bytes),
        "sent_bytes": sum(|it| it.tx_bytes),
        "processes": figures.pids_stats.as_ref().and_then(|it| it.current).unwrap_or(0),
    })
}

/// In percent of one processor, between the two looks that the engine takes.
#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn cpu(figures: &ContainerStatsResponse) -> f64 {
    let of = |stats: &Option<bollard::models::ContainerCpuStats>| {
        let stats = stats.clone().unwrap_or_default();
        let used = stats.cpu_usage.and_then(|usage| usage.total_usage).unwrap_or(0);
        (used, stats.system_cpu_usage.unwrap_or(0), stats.online_cpus.unwrap_or(1))
    };
    let ((used, all, cpus), (used_before, all_before, _)) =
        (of(&figures.cpu_stats), of(&figures.precpu_stats));
    let (used, all) = (used.saturating_sub(used_before), all.saturating_sub(all_before));
    if all == 0 {
        0.0
    } else {
        (used as f64 / all as f64 * f64::from(cpus) * 1000.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    #[test]
    fn a_line_has_its_time_and_its_text() {
        let mut lines = Lines::default();
        lines.take(out("2026-11-26T10:00:00.123456789Z hello world\n2026-11-26T10:00:01.1Z \n"));
        lines.take(LogOutput::StdErr { message: "no time".to_owned().into() });
        let (lines, cut) = lines.done();
        assert!(!cut);
        let wanted = json!({"stream": "stdout", "time": "2026-11-26T10:00:00.123456789Z", "text": "hello world"});
        assert_eq!(lines[0], wanted);
        assert_eq!((&lines[1]["text"], &lines[2]["time"]), (&json!(""), &Value::Null));
    }

    #[test]
    fn only_the_newest_lines_are_held() {
        let mut lines = Lines::default();
        for n in 0..100 {
            lines.take(out(&format!("{n} {}", "é".repeat(9_000))));
        }
        assert!(lines.bytes <= LOG_BYTES && lines.cut);
        let (lines, _) = lines.done();
        assert!(lines.last().unwrap()["text"].as_str().unwrap().starts_with("99 "));
    }
}
