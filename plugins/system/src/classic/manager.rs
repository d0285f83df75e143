//! `sysadm/systemmanager`: memory, processors, processes, devices, settings of the kernel.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sdk::{Context, Fault, Request, Value, json};
use serde_json::Map;

use super::{Outcome, action, devices, processes, sysctl, text, under, unknown_action};
use crate::facts::{names_in, text as read};
use crate::machine::Machine;
use crate::parse::host::{Ticks, assigned, colon, memory, ticks};

/// An earlier reading counts as the beginning of a share when it is of this age.
const AGE_MIN: Duration = Duration::from_millis(200);
const AGE_MAX: Duration = Duration::from_mins(1);
/// How long a share is measured when there is no such reading.
const MEASURE: Duration = Duration::from_millis(500);

const ACTIONS: [&str; 14] = [
    "batteryinfo",
    "cpupercentage",
    "cputemps",
    "deviceinfo",
    "externalmounts",
    "getsysctl",
    "halt",
    "killproc",
    "memorystats",
    "procinfo",
    "reboot",
    "setsysctl",
    "sysctllist",
    "systeminfo",
];

/// Readings that shares are counted from.
#[derive(Default)]
pub(crate) struct Sampler {
    processors: Mutex<Option<(Instant, Vec<Ticks>)>>,
    pub(super) processes: processes::Sampler,
}

pub(crate) fn answer(
    machine: &Machine,
    sampler: &Sampler,
    ctx: &Context,
    request: &Request,
) -> Result<Value, Fault> {
    let (action, args) = (action(request), &request.args);
    let outcome = match action.as_str() {
        "batteryinfo" => Ok(devices::battery()),
        "cpupercentage" => Ok(percentages(sampler, ctx)),
        "cputemps" => Ok(devices::temperatures()),
        "deviceinfo" => Ok(devices::all()),
        "externalmounts" => Ok(devices::external()),
        "getsysctl" => sysctl::get(args),
        "halt" => return end(machine, &action, "poweroff.target"),
        "killproc" => end_process(args),
        "memorystats" => Ok(memory_stats()),
        "procinfo" => Ok(sampler.processes.list()),
        "reboot" => return end(machine, &action, "reboot.target"),
        "setsysctl" => sysctl::set(args),
        "sysctllist" => Ok(sysctl::list()),
        "systeminfo" => Ok(system_info()),
        _ => return Err(unknown_action(request, &ACTIONS)),
    };
    Ok(under(&action, outcome))
}

fn end(machine: &Machine, action: &str, target: &str) -> Result<Value, Fault> {
    machine.bus()?.end_machine(target)?;
    Ok(under(action, Ok(json!({ "response": "true" }))))
}

/// In MiB. The five add up to all there is; what Linux has no word for is written in the guide.
fn memory_stats() -> Value {
    let memory = memory(&read("/proc/meminfo"));
    let mib = |kib: u64| (kib / 1024).to_string();
    json!({
        "free": mib(memory.free),
        "inactive": mib(memory.inactive),
        "cache": mib(memory.cache),
        "wired": mib(memory.wired()),
        "active": mib(memory.active),
    })
}

fn percentages(sampler: &Sampler, ctx: &Context) -> Value {
    let read_now = || (Instant::now(), ticks(&read("/proc/stat")));
    let earlier = lock(&sampler.processors).take();
    let earlier = earlier.filter(|(at, _)| (AGE_MIN..AGE_MAX).contains(&at.elapsed()));
    let (_, before) = earlier.unwrap_or_else(|| {
        let first = read_now();
        ctx.pause(MEASURE);
        first
    });
    let now = read_now();
    let busy = |place: usize| {
        let of = |ticks: &[Ticks]| ticks.get(place).copied().unwrap_or_default();
        of(&now.1).percent_since(of(&before)).to_string()
    };
    let mut answer = Map::new();
    answer.insert("busytotal".to_owned(), busy(0).into());
    for number in 1..now.1.len() {
        answer.insert(format!("cpu{number}"), json!({ "busy": busy(number) }));
    }
    *lock(&sampler.processors) = Some(now);
    answer.into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_info() -> Value {
    let release = read("/etc/os-release");
    let name = |key| assigned(&release, key).filter(|value| !value.is_empty());
    let kernel = |file: &str| read(&format!("/proc/sys/kernel/{file}")).trim().to_owned();
    let processors = read("/proc/cpuinfo");
    let processor = ["model name", "Model", "Processor", "cpu model"]
        .iter()
        .find_map(|key| colon(&processors, key))
        .unwrap_or("unknown");
    let seconds = read("/proc/uptime");
    let seconds = seconds.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let cores = ticks(&read("/proc/stat")).len().saturating_sub(1);
    json!({
        "arch": std::env::consts::ARCH,
        "systemversion": name("PRETTY_NAME").or(name("NAME")).unwrap_or("Linux"),
        "kernelversion": kernel("osrelease"),
        "kernelident": kernel("version"),
        "hostname": kernel("hostname"),
        "uptime": uptime(seconds),
        "cputype": processor,
        "cpucores": cores.to_string(),
        "totalmem": (memory(&read("/proc/meminfo")).total / 1024).to_string(),
    })
}

/// Seconds as people say it, such as `3d 4h 5m 6s`.
fn uptime(seconds: u64) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let rest = format!("{}m {}s", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, _) => format!("{hours}h {rest}"),
        _ => format!("{days}d {hours}h {rest}"),
    }
}

/// The signals that the original knows, by its names.
fn signal(name: &str) -> Option<Signal> {
    Some(match name {
        "HUP" => Signal::SIGHUP,
        "INT" => Signal::SIGINT,
        "QUIT" => Signal::SIGQUIT,
        "ABRT" => Signal::SIGABRT,
        "KILL" => Signal::SIGKILL,
        "ALRM" => Signal::SIGALRM,
        "TERM" => Signal::SIGTERM,
        _ => return None,
    })
}

fn end_process(args: &Value) -> Outcome {
    let pid = text(args, "pid").ok_or("Missing required key 'pid'")?;
    // Zero and below would be whole groups of processes; the first process is the machine itself.
    let number = pid.parse::<i32>().ok().filter(|pid| *pid > 1);
    let number = number.ok_or_else(|| format!("{pid:?} is not the number of a process to end"))?;
    let name = text(args, "signal").unwrap_or_else(|| "KILL".to_owned());
    let signal = signal(&name).ok_or("Invalid signal! (INT|QUIT|ABRT|KILL|ALRM|TERM)")?;
    if !names_in("/proc").iter().any(|known| *known == number.to_string()) {
        return Err(format!("there is no process {number}"));
    }
    kill(Pid::from_raw(number), signal)
        .map_err(|error| format!("process {number} was not sent {name}: {}", error.desc()))?;
    let mut echo = args.clone();
    if let Some(members) = echo.as_object_mut() {
        members.remove("action");
    }
    Ok(echo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_machine_are_told_as_texts() {
        for answer in [memory_stats(), system_info()] {
            let members = answer.as_object().unwrap();
            let is_said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            assert!(members.values().all(is_said), "{answer}");
        }
        assert_eq!(system_info().as_object().unwrap().len(), 9);
        assert_eq!(uptime(90_061), "1d 1h 1m 1s");
        assert_eq!(uptime(61), "1m 1s");
    }

    #[test]
    fn only_one_process_is_ended_and_only_by_known_signals() {
        for (args, named) in [
            (json!({}), "Missing required key 'pid'"),
            (json!({"pid": "1"}), "not the number"),
            (json!({"pid": "-1"}), "not the number"),
            (json!({"pid": "0"}), "not the number"),
            (json!({"pid": "12; reboot"}), "not the number"),
            (json!({"pid": "4", "signal": "SEGV"}), "Invalid signal!"),
            (json!({"pid": i32::MAX}), "there is no process"),
        ] {
            let sentence = end_process(&args).unwrap_err();
            assert!(sentence.contains(named), "{args}: {sentence}");
        }
        let mut child = std::process::Command::new("/usr/bin/sleep").arg("60").spawn().unwrap();
        let args = json!({"action": "killproc", "pid": child.id().to_string(), "signal": "TERM"});
        let echo = end_process(&args).unwrap();
        assert_eq!(echo, json!({"pid": child.id().to_string(), "signal": "TERM"}));
        assert!(!child.wait().unwrap().success());
    }
}
