//! What the machine gives the daemon: time, room, kernel features, open files, PAM.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use landlock::{AccessFs, Ruleset, RulesetAttr as _, RulesetStatus};
use nix::sys::statvfs::{FsFlags, statvfs};
use protocol::Time;

use super::Finding;
use super::place::Place;

const CLOCK: &str = "clock";
const DISK: &str = "disk";
const LANDLOCK: &str = "landlock";
const SECCOMP: &str = "seccomp";
const OPEN_FILES: &str = "open-files";
const PAM: &str = "passwords";
/// Where packages put what checks passwords.
const PACKAGED_HELPER: &str = "/usr/libexec/sysadmd/sysadmd-pam";
/// This program was made later.
const MADE: u64 = 1_767_225_600_000_000;
/// Below this the daemon refuses new events before long.
const ROOM_MIN: u64 = 100 * 1024 * 1024;
/// 12,000 connections, and what is kept for everything else.
const FILES_MIN: u64 = 12_128;
/// Each is there as long as something sets the clock: systemd-timesyncd, chrony, ntpd, ntpsec.
const SET_BY: [&str; 4] = [
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/ntpd.pid",
    "/run/ntpsec/ntpd.pid",
];

/// The time of day on this machine.
#[expect(clippy::disallowed_methods, reason = "the clock of this machine is what is judged")]
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Everything of this module.
pub(super) fn check(place: &Place) -> Vec<Finding> {
    let set = SET_BY.iter().find(|path| Path::new(path).exists());
    vec![
        clock(now(), set.copied()),
        disk(&place.state_dir),
        landlock(),
        seccomp(fs::read_to_string("/proc/self/status").ok().as_deref()),
        open_files(place.pid),
        passwords(place),
    ]
}

fn clock(now: Time, set_by: Option<&str>) -> Finding {
    let mend = "timedatectl set-ntp true";
    match set_by {
        _ if now.micros() < MADE => Finding::problem(CLOCK, format!("it says {now}"), mend),
        Some(_) => Finding::ok(CLOCK, "it is set from the network"),
        None => Finding::warning(CLOCK, "nothing is seen that sets it from the network", mend),
    }
}

fn disk(dir: &Path) -> Finding {
    match statvfs(dir) {
        Ok(it) => {
            let block = it.fragment_size();
            let (free, all) = (it.blocks_available() * block, it.blocks() * block);
            judge_disk(dir, it.flags().contains(FsFlags::ST_RDONLY), (free, all))
        }
        Err(error) => Finding::unknown(DISK, format!("{}: {error}", dir.display())),
    }
}

fn judge_disk(dir: &Path, read_only: bool, (free, all): (u64, u64)) -> Finding {
    let (shown, mib) = (dir.display(), free / (1024 * 1024));
    let mend = "make room, or keep less: log.max_size_mib, log.max_age_days";
    if read_only {
        let mend = format!("mount -o remount,rw $(findmnt -n -o TARGET -T {shown})");
        return Finding::problem(DISK, format!("{shown} is on a read-only file system"), mend);
    }
    if free < ROOM_MIN {
        return Finding::problem(DISK, format!("{mib} MiB are free for {shown}"), mend);
    }
    if free < all / 20 {
        let what = format!("less than a twentieth is free for {shown}: {mib} MiB");
        return Finding::warning(DISK, what, mend);
    }
    Finding::ok(DISK, format!("{mib} MiB are free"))
}

/// The kernel tells whether it has Landlock to whoever restricts itself: a thread that ends.
fn landlock() -> Finding {
    let probe = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::Execute).ok()?;
        Some(ruleset.create().ok()?.restrict_self().ok()?.ruleset)
    };
    match std::thread::spawn(probe).join().ok().flatten() {
        Some(RulesetStatus::NotEnforced) | None => Finding::warning(
            LANDLOCK,
            "the kernel has none: plugins are kept from files by their user alone",
            "Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and landlock in lsm= on its command line",
        ),
        Some(_) => Finding::ok(LANDLOCK, "the kernel has it"),
    }
}

fn seccomp(status: Option<&str>) -> Finding {
    match status {
        None => Finding::unknown(SECCOMP, "/proc cannot be read"),
        Some(text) if text.lines().any(|line| line.starts_with("Seccomp:")) => {
            Finding::ok(SECCOMP, "the kernel has it")
        }
        Some(_) => Finding::warning(
            SECCOMP,
            "the kernel has none: the system calls of plugins are not filtered",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn open_files(pid: Option<u32>) -> Finding {
    let limits = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    match limits.as_deref().and_then(limit) {
        None => Finding::unknown(OPEN_FILES, "the daemon's process is not seen"),
        Some(files) if files < FILES_MIN => Finding::warning(
            OPEN_FILES,
            format!("the daemon may open {files} files, too few for 12,000 connections"),
            format!(
                "LimitNOFILE={FILES_MIN} in its unit (systemctl edit sysadmd), or limits.connections"
            ),
        ),
        Some(files) => Finding::ok(OPEN_FILES, format!("the daemon may open {files}")),
    }
}

/// The soft limit on open files in `/proc/PID/limits` (proc(5)).
fn limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn passwords(place: &Place) -> Finding {
    let Some(service) = &place.pam_service else {
        return Finding::ok(PAM, "nobody logs in with a password (access.password_login)");
    };
    let off = "or switch passwords off: access.password_login = false";
    let own = || {
        let program = fs::read_link(format!("/proc/{}/exe", place.pid?)).ok()?;
        let beside = program.with_file_name("sysadmd-pam");
        Some(if beside.exists() { beside } else { PathBuf::from(PACKAGED_HELPER) })
    };
    if let Some(helper) = place.pam_helper.clone().or_else(own).filter(|helper| !helper.exists()) {
        let what =
            format!("the helper {} is not there: every password is refused", helper.display());
        let mend = format!("install it there, or name its place: access.pam_helper; {off}");
        return Finding::warning(PAM, what, mend);
    }
    let rules = PathBuf::from("/etc/pam.d").join(service);
    if rules.exists() {
        return Finding::ok(PAM, "the helper and its PAM rules are there");
    }
    let what = format!("{} is not there: every password is refused", rules.display());
    let mend = format!("install -m 0644 packaging/pam.d/sysadmd {}; {off}", rules.display());
    Finding::warning(PAM, what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_disk_has_room_in_bytes_and_in_parts() {
        const GIB: u64 = 1 << 30;
        let verdict = |read_only, room| judge_disk(Path::new("/s"), read_only, room).verdict;
        assert_eq!(verdict(false, (10 * GIB, 100 * GIB)), Verdict::Ok);
        assert_eq!(verdict(false, (4 * GIB, 100 * GIB)), Verdict::Warning);
        assert_eq!(verdict(false, (GIB / 16, GIB)), Verdict::Problem);
        assert_eq!(verdict(true, (10 * GIB, 10 * GIB)), Verdict::Problem);
    }

    #[test]
    fn a_clock_is_set_or_wrong() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        assert_eq!(clock(at("1970-01-01T00:05:00Z"), Some("x")).verdict, Verdict::Problem);
        assert_eq!(clock(at("2026-11-01T00:00:00Z"), Some("x")).verdict, Verdict::Ok);
        assert_eq!(clock(at("2026-11-01T00:00:00Z"), None).verdict, Verdict::Warning);
        assert_eq!(at("2026-01-01T00:00:00Z").micros(), MADE);
    }

    #[test]
    fn kernel_and_limits_are_read_from_proc() {
        assert_eq!(seccomp(Some("Name:\tx\nSeccomp:\t0\n")).verdict, Verdict::Ok);
        assert_eq!(seccomp(Some("Name:\tx\n")).verdict, Verdict::Warning);
        assert_eq!(
            limit("Max processes 5 5\nMax open files            1024   4096   files"),
            Some(1024)
        );
        assert_eq!(limit("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(limit(""), None);
    }
}
