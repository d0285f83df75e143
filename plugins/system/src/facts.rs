//! How the machine is at one moment: read, not judged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use crate::parse::host::arrays;
use crate::parse::mounts::{Mount, disks, table};
use crate::parse::tools::{OLD_POOL_COLUMNS, POOL_COLUMNS, Pool, pools};
use crate::tool::{self, TOOL_TIME};

/// A file system on a disk, as clients are told of it. Bytes in use change all the time, so only
/// their share is a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Disk {
    /// The device or ZFS dataset.
    pub(crate) source: String,
    /// Where it is mounted.
    pub(crate) mount: String,
    /// Its kind, such as `ext4`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) read_only: bool,
    /// Bytes.
    pub(crate) size: u64,
    /// The share in use of what users can have, rounded up, as `df` counts it.
    pub(crate) percent: u64,
    /// What the kernel has noticed of it.
    pub(crate) faults: Vec<String>,
}

/// Everything that keeps data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    /// By mount point.
    pub(crate) disks: BTreeMap<String, Disk>,
    /// ZFS pools.
    pub(crate) pools: Vec<Pool>,
    /// Sentences about software RAIDs that miss members, by their name.
    pub(crate) arrays: BTreeMap<String, String>,
}

/// Reads what is mounted, how full it is and what the kernel has noticed.
pub(crate) fn storage() -> Storage {
    let mounted = disks(table(&text("/proc/self/mounts")));
    let disks = mounted.into_iter().filter_map(disk).map(|disk| (disk.mount.clone(), disk));
    let degraded = arrays(&text("/proc/mdstat"));
    let degraded = degraded.into_iter().filter(|array| array.working < array.wanted);
    let sentence = |(working, wanted)| format!("{working} of its {wanted} members work");
    Storage {
        disks: disks.collect(),
        pools: zfs_pools(),
        arrays: degraded
            .map(|array| (array.name, sentence((array.working, array.wanted))))
            .collect(),
    }
}

fn disk(mount: Mount) -> Option<Disk> {
    // What cannot be asked, such as a mount that is going away, is not there.
    let figures = statvfs(Path::new(&mount.target)).ok()?;
    let unit = figures.fragment_size();
    let (all, free, available) =
        (figures.blocks(), figures.blocks_free(), figures.blocks_available());
    if all == 0 {
        return None;
    }
    let used = all.saturating_sub(free);
    let usable = used.saturating_add(available);
    let percent = used.saturating_mul(100).div_ceil(usable.max(1));
    let faults = faults(&mount);
    Some(Disk {
        source: mount.source,
        mount: mount.target,
        kind: mount.kind,
        read_only: mount.read_only,
        size: all.saturating_mul(unit),
        percent,
        faults,
    })
}

/// What the file system's driver counts.
fn faults(mount: &Mount) -> Vec<String> {
    let Some(device) = fs::canonicalize(&mount.source).ok() else { return Vec::new() };
    let device = device.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(device) = device else { return Vec::new() };
    match mount.kind.as_str() {
        "ext2" | "ext3" | "ext4" => ext4_faults(&device),
        "btrfs" => btrfs_faults(&device),
        _ => Vec::new(),
    }
}

fn ext4_faults(device: &str) -> Vec<String> {
    let count = text(&format!("/sys/fs/ext4/{device}/errors_count"));
    match count.trim().parse::<u64>() {
        Ok(count @ 1..) => vec![format!("the kernel has found {count} errors in it")],
        _ => Vec::new(),
    }
}

/// Devices of a btrfs that are missing, or that have had errors which are still counted.
fn btrfs_faults(device: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for pool in names_in("/sys/fs/btrfs") {
        let dir = format!("/sys/fs/btrfs/{pool}");
        if !Path::new(&format!("{dir}/devices/{device}")).exists() {
            continue;
        }
        for member in names_in(&format!("{dir}/devinfo")) {
            let of = |name: &str| text(&format!("{dir}/devinfo/{member}/{name}"));
            if of("missing").trim() == "1" {
                faults.push(format!("its device {member} is missing"));
            }
            let is_error = |line: &str| {
                line.split_whitespace()
                    .nth(1)
                    .is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n > 0))
            };
            let stats = of("error_stats");
            let counted: Vec<&str> = stats.lines().filter(|line| is_error(line)).collect();
            if !counted.is_empty() {
                faults.push(format!("its device {member} has had errors: {}", counted.join(", ")));
            }
        }
    }
    faults
}

/// The pools of a ZFS that is there; its tool is not asked otherwise, since it would load the module.
fn zfs_pools() -> Vec<Pool> {
    let is_there = Path::new("/dev/zfs").exists() || Path::new("/run/zfs/zfs_socket").exists();
    let tool = ["/usr/sbin/zpool", "/sbin/zpool", "/usr/bin/zpool"];
    let tool = tool.into_iter().find(|path| is_there && Path::new(path).exists());
    let Some(tool) = tool else { return Vec::new() };
    let list = |columns| {
        let listed = tool::run(tool, &["list", "-H", "-o", columns], None, TOOL_TIME);
        listed.ok().and_then(|answer| answer.good().ok())
    };
    let listed = list(POOL_COLUMNS).or_else(|| list(OLD_POOL_COLUMNS));
    listed.map(|text| pools(&text)).unwrap_or_default()
}

/// Why the machine should be started again; `None` when it need not be.
pub(crate) fn reboot_reason() -> Option<String> {
    if Path::new("/run/reboot-required").exists() {
        let packages = text("/run/reboot-required.pkgs");
        let mut packages: Vec<&str> = packages.lines().filter(|line| !line.is_empty()).collect();
        packages.sort_unstable();
        packages.dedup();
        return Some(match &packages[..] {
            [] => "an update takes effect with the next start".to_owned(),
            some => format!("updates take effect with the next start: {}", some.join(", ")),
        });
    }
    newer_kernel()
}

/// A kernel in `/boot` that was put there after this start, where the running one is from there as
/// well: that of a container's host or of a virtual machine's boot loader is not.
fn newer_kernel() -> Option<String> {
    let release = text("/proc/sys/kernel/osrelease");
    fs::metadata(format!("/boot/vmlinuz-{}", release.trim())).ok()?;
    let started = text("/proc/stat");
    let started = started.lines().find_map(|line| line.strip_prefix("btime "))?;
    let started: i64 = started.trim().parse().ok()?;
    let kernels = names_in("/boot").into_iter();
    let mut kernels = kernels.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    let newer = kernels.find(|release| {
        let file = fs::metadata(format!("/boot/vmlinuz-{release}"));
        file.is_ok_and(|file| file.ctime() > started)
    })?;
    Some(format!("the kernel {newer} takes effect with the next start"))
}

/// The machine's name.
pub(crate) fn hostname() -> String {
    text("/proc/sys/kernel/hostname").trim().to_owned()
}

/// A file of the kernel's as text; empty when it is not there.
pub(crate) fn text(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names in a directory, sorted; none when it is not there.
pub(crate) fn names_in(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_root_that_is_not_empty_and_a_name() {
        let storage = storage();
        let root = &storage.disks["/"];
        assert!(root.size > 0 && root.percent <= 100, "{root:?}");
        assert_eq!(hostname(), nix::unistd::gethostname().unwrap().to_string_lossy());
    }

    #[test]
    fn what_is_not_there_is_empty() {
        assert_eq!(text("/no/such/file"), "");
        assert!(names_in("/no/such/dir").is_empty());
    }
}
