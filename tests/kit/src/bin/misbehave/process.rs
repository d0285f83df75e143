//! What a process can find out about and do to itself.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

/// The longest any misbehaviour lasts: nothing that a failed test forgot stays for ever.
const AT_MOST: Duration = Duration::from_mins(2);

/// Stays for as long as any misbehaviour may last, then ends the process.
pub(crate) fn linger() -> ! {
    std::thread::sleep(AT_MOST);
    std::process::exit(3)
}

/// Allocates and touches this many bytes and returns how many were to be had.
pub(crate) fn eat(bytes: usize) -> usize {
    const BITE: usize = 8 << 20;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    while total < bytes {
        let size = BITE.min(bytes - total);
        let mut bite = Vec::new();
        if bite.try_reserve_exact(size).is_err() {
            break;
        }
        bite.resize(size, 1);
        total += size;
        eaten.push(bite);
    }
    std::hint::black_box(&eaten);
    total
}

/// The process as it sees itself, so that a test can tell how it was started.
pub(crate) fn portrait() -> Value {
    let environment: Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), json!(value.to_string_lossy())))
        .collect();
    let soft = |resource| getrlimit(resource).map(|(soft, _)| soft).ok();
    json!({
        "pid": std::process::id(),
        "group": nix::unistd::getpgrp().as_raw(),
        "args": std::env::args().collect::<Vec<_>>(),
        "env": environment,
        "cwd": std::env::current_dir().ok(),
        "rlimit_data": soft(Resource::RLIMIT_DATA),
        "rlimit_nofile": soft(Resource::RLIMIT_NOFILE),
        "descriptors": descriptors(),
    })
}

fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut open: Vec<String> = entries
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            Some(format!("{} {}", entry.file_name().to_string_lossy(), target.display()))
        })
        .collect();
    open.sort();
    open
}
