//! `procinfo`: every process, in the columns of `top`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::unistd::{SysconfVar, sysconf};
use sdk::{Value, json};
use serde_json::Map;

use super::users::Names;
use crate::facts::{names_in, text as read};
use crate::parse::process::{Stat, owner, short_bytes, short_time, stat, state_word};

/// The longest command line that is shown, in characters.
const COMMAND_MAX: usize = 256;
/// Processes in one answer; those that use the least are left out beyond it.
const PROCESSES_MAX: usize = 3000;

/// A process of a moment: its number, and when it began, because numbers are used again.
type Identity = (u32, u64);

/// What processes had used when they were listed last.
#[derive(Default)]
pub(crate) struct Sampler(Mutex<Option<(Instant, HashMap<Identity, u64>)>>);

struct Process {
    pid: u32,
    stat: Stat,
    /// Hundredths of a percent of one processor.
    share: u64,
}

impl Sampler {
    /// Every process. Its share of a processor is that since the list before, or since it began.
    pub(crate) fn list(&self) -> Value {
        let mut earlier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = earlier.take();
        let mut processes = all(before.as_ref());
        let used = processes.iter().map(|it| ((it.pid, it.stat.started), it.stat.ticks));
        *earlier = Some((Instant::now(), used.collect()));
        drop(earlier);
        processes.sort_by_key(|it| std::cmp::Reverse((it.share, it.stat.resident_pages)));
        processes.truncate(PROCESSES_MAX);
        let mut names = Names::default();
        let units = Units::read();
        let rows = processes.iter().map(|it| (it.pid.to_string(), row(it, &units, &mut names)));
        rows.collect::<Map<_, _>>().into()
    }
}

/// The kernel's units.
struct Units {
    ticks_per_s: u64,
    page_bytes: u64,
}

impl Units {
    fn read() -> Self {
        let of = |variable, usual: u64| {
            let value = sysconf(variable).ok().flatten();
            value.and_then(|value| u64::try_from(value).ok()).filter(|it| *it > 0).unwrap_or(usual)
        };
        Self {
            ticks_per_s: of(SysconfVar::CLK_TCK, 100),
            page_bytes: of(SysconfVar::PAGE_SIZE, 4096),
        }
    }
}

fn all(before: Option<&(Instant, HashMap<Identity, u64>)>) -> Vec<Process> {
    let units = Units::read();
    let uptime = read("/proc/uptime");
    let uptime = uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let pids = names_in("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    pids.filter_map(|pid| {
        // One that has ended in between is not there.
        let stat = stat(&read(&format!("/proc/{pid}/stat")))?;
        let known = before.and_then(|(at, used)| {
            let used = used.get(&(pid, stat.started))?;
            let ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            (ms >= 200).then(|| (stat.ticks.saturating_sub(*used), ms))
        });
        let lifetime = || {
            let age_s = uptime.saturating_sub(stat.started / units.ticks_per_s).max(1);
            (stat.ticks, age_s.saturating_mul(1000))
        };
        let (ticks, ms) = known.unwrap_or_else(lifetime);
        let busy_ms = ticks.saturating_mul(1000) / units.ticks_per_s;
        Some(Process { pid, share: busy_ms.saturating_mul(10_000) / ms.max(1), stat })
    })
    .collect()
}

fn row(process: &Process, units: &Units, names: &mut Names) -> Value {
    let Process { pid, stat, share } = process;
    let owner = owner(&read(&format!("/proc/{pid}/status"))).unwrap_or(0);
    json!({
        "username": names.user(owner),
        "thr": stat.threads.to_string(),
        "pri": stat.priority.to_string(),
        "nice": stat.nice.to_string(),
        "size": short_bytes(stat.virtual_bytes),
        "res": short_bytes(stat.resident_pages.saturating_mul(units.page_bytes)),
        "state": state_word(stat.state),
        "cpu": stat.processor.to_string(),
        "time": short_time(stat.ticks / units.ticks_per_s),
        "wcpu": format!("{}.{:02}%", share / 100, share % 100),
        "command": command(*pid, stat),
    })
}

/// The command line, or the kernel's name in brackets.
fn command(pid: u32, stat: &Stat) -> String {
    let line = read(&format!("/proc/{pid}/cmdline"));
    let line = line.trim_end_matches('\0').replace('\0', " ");
    if line.is_empty() {
        format!("[{}]", stat.name)
    } else {
        line.chars().take(COMMAND_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_in_the_list_with_every_column() {
        let sampler = Sampler::default();
        let own = std::process::id().to_string();
        for _ in 0..2 {
            let list = sampler.list();
            let row = list[&own].as_object().unwrap();
            let columns = [
                "command", "cpu", "nice", "pri", "res", "size", "state", "thr", "time", "username",
                "wcpu",
            ];
            assert_eq!(row.keys().collect::<Vec<_>>(), columns);
            assert!(row.values().all(Value::is_string), "{row:?}");
            assert!(row["wcpu"].as_str().unwrap().ends_with('%'));
        }
    }
}
