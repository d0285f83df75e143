//! What a plugin's process is confined to, as the kernel tells it.

use std::fs;
use std::path::PathBuf;

use protocol::sandbox::Capability;
use schemars::JsonSchema;
use serde::Serialize;

use super::launch::{self, Policy};

/// What holds for a process that runs. Numbers and flags are read from `/proc`; what the kernel
/// does not show (Landlock's rules, the calls that are refused) is what it was given before it began,
/// without which it would not have begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own and is shown as one")]
pub struct Confinement {
    /// The user it runs as.
    pub user: u32,
    /// The capabilities it has.
    pub capabilities: Vec<Capability>,
    /// The capabilities that it and its children could ever have.
    pub bounding: Vec<Capability>,
    /// Whether no program that it starts can give it more, such as a setuid one.
    pub no_new_privs: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// The version of Landlock that holds; absent where the kernel has none.
    pub landlock: Option<u32>,
    /// What it may read and execute, where its user may.
    pub read: Vec<PathBuf>,
    /// What it may also write, where its user may.
    pub write: Vec<PathBuf>,
    /// Whether it may open internet sockets.
    pub network: bool,
    /// Whether it may open unix sockets.
    pub unix_sockets: bool,
    /// Bytes of private memory of each process; absent: any.
    pub memory_bytes: Option<u64>,
    /// Open files of each process; absent: any.
    pub open_files: Option<u64>,
    /// Bytes of the longest file it may write; absent: any.
    pub file_bytes: Option<u64>,
    /// Processes and threads of its user; absent: any.
    pub processes: Option<u64>,
}

impl Confinement {
    /// How this process is confined that was started with this policy; `None` when it has ended.
    pub(crate) fn of(pid: u32, policy: &Policy) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let capabilities = |name| {
            let bits = u64::from_str_radix(field(&status, name)?, 16).ok()?;
            Some(Capability::in_set(bits).collect())
        };
        let (seccomp, landlock) =
            (field(&status, "Seccomp") == Some("2"), launch::landlock_version());
        let everything = || (vec![PathBuf::from("/")], vec![PathBuf::from("/")]);
        let opened = landlock.and_then(|_| launch::opened(policy));
        let (read, write) = opened.unwrap_or_else(everything);
        Some(Self {
            user: field(&status, "Uid")?.parse().ok()?,
            capabilities: capabilities("CapEff")?,
            bounding: capabilities("CapBnd")?,
            no_new_privs: field(&status, "NoNewPrivs") == Some("1"),
            seccomp,
            landlock,
            read,
            write,
            network: policy.network || !seccomp,
            unix_sockets: policy.unix_sockets || !seccomp,
            memory_bytes: limit(&limits, "Max data size"),
            open_files: limit(&limits, "Max open files"),
            file_bytes: limit(&limits, "Max file size"),
            processes: limit(&limits, "Max processes"),
        })
    }
}

/// The first word after `NAME:` in `/proc/PID/status` (proc(5)).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()
}

/// The soft limit of this name in `/proc/PID/limits`; `None` for `unlimited`.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let status =
            "Name:\tUid: 5\nUid:\t60800\t0\t0\t0\nCapEff:\t0000000000200001\nSeccomp:\t2\n";
        assert_eq!(field(status, "Uid"), Some("60800"));
        assert_eq!(field(status, "Seccomp"), Some("2"));
        assert_eq!(field(status, "NoNewPrivs"), None);
        let limits = "Max data size             1024  1024  bytes\nMax processes  unlimited  5 x\n";
        assert_eq!(limit(limits, "Max data size"), Some(1024));
        assert_eq!(limit(limits, "Max processes"), None);
    }

    #[test]
    fn a_living_process_is_described() {
        let policy =
            Policy { write: Some(Vec::new()), state_dir: "/s".into(), ..Policy::default() };
        let found = Confinement::of(std::process::id(), &policy).unwrap();
        assert_eq!(found.user, nix::unistd::geteuid().as_raw());
        assert!(found.open_files.is_some());
        let open = if found.landlock.is_some() { "/s" } else { "/" };
        assert_eq!(found.write, [PathBuf::from(open)]);
        assert_eq!(Confinement::of(u32::MAX, &policy), None);
    }
}
