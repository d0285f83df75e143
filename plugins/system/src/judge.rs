//! Whether what was read is as it should be. Pure: facts and rules in, looks out.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::condition::{Look, Trouble, level};
use crate::facts::{Disk, Storage};
use crate::kind::Rule;
use crate::parse::updates::Updates;
use crate::unit::Unit;

/// From here on a full disk is more urgent.
const NEARLY_NOTHING_LEFT: u64 = 97;

/// The one subject of what there is once on every machine.
pub(crate) const HOST: &str = "/host";

type Looks = BTreeMap<String, Look>;

/// A resource of this machine, its name as one part of a path.
pub(crate) fn subject(kind: &str, name: &str) -> String {
    let mut subject = format!("/{kind}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte) {
            subject.push(char::from(byte));
        } else {
            // A `String` takes everything that is written to it.
            write!(subject, "%{byte:02X}").ok();
        }
    }
    subject
}

/// Disks and pools by how full they are. What cannot be written is not getting any fuller.
pub(crate) fn full(storage: &Storage, rule: Rule) -> Looks {
    let disks = storage.disks.values().filter(|disk| !disk.read_only && disk.kind != "zfs");
    let disks = disks.map(|disk| (subject("disks", &disk.mount), &disk.mount, disk.percent));
    let pools = storage.pools.iter();
    let pools = pools.map(|pool| (subject("pools", &pool.name), &pool.name, pool.capacity));
    let look = |(subject, name, percent): (String, &String, u64)| {
        let bad = || Trouble {
            priority: if percent >= NEARLY_NOTHING_LEFT { 8 } else { 6 },
            message: format!("{name} is {percent} % full"),
            advice: "delete what is not needed, or give it more space".to_owned(),
        };
        (subject, level(percent, rule.raise, rule.clear, bad))
    };
    disks.chain(pools).map(look).collect()
}

/// Disks, pools and arrays that are not well.
pub(crate) fn faulty(storage: &Storage) -> Looks {
    let look = |bad: Option<String>, advice: &str| match bad {
        None => Look::Good,
        Some(message) => Look::Bad(Trouble { priority: 9, message, advice: advice.to_owned() }),
    };
    let of_disk = |disk: &Disk| {
        let bad = (!disk.faults.is_empty())
            .then(|| format!("{} is not well: {}", disk.mount, disk.faults.join("; ")));
        (subject("disks", &disk.mount), look(bad, "save what is on it, check it, replace the disk"))
    };
    let disks = storage.disks.values().map(of_disk);
    let pools = storage.pools.iter().map(|pool| {
        let bad = (pool.health != "ONLINE").then(|| format!("{} is {}", pool.name, pool.health));
        (subject("pools", &pool.name), look(bad, "`zpool status` says which disk to replace"))
    });
    let arrays = storage.arrays.iter().map(|(name, sentence)| {
        let bad = Some(format!("{name} is degraded: {sentence}"));
        (subject("arrays", name), look(bad, "`mdadm --detail` says which disk to replace"))
    });
    disks.chain(pools).chain(arrays).collect()
}

/// Tasks that wait for memory; hundredths of a percent of the time.
pub(crate) fn pressure(share: u64, rule: Rule) -> Looks {
    let percent = share / 100;
    let bad = || Trouble {
        priority: if percent >= 2 * rule.raise.max(1) { 7 } else { 5 },
        message: format!("programs wait for memory {percent} % of the time"),
        advice: "see which program has grown (sysadmctl call sysadm systemmanager procinfo)"
            .to_owned(),
    };
    one(level(percent, rule.raise, rule.clear, bad))
}

/// Units that have failed.
pub(crate) fn failed(units: &BTreeMap<String, Unit>) -> Looks {
    let look = |unit: &Unit| match unit.active.as_str() {
        "failed" => Look::Bad(Trouble {
            priority: 6,
            message: format!("the service {} has failed", unit.name),
            advice: format!("`systemctl status {}` says why; then start it again", unit.name),
        }),
        // On its way, one way or the other: what it becomes is seen then.
        "activating" | "deactivating" => Look::Between,
        _ => Look::Good,
    };
    units.values().map(|unit| (subject("services", &unit.name), look(unit))).collect()
}

/// A clock that no server keeps right.
pub(crate) fn clock(synchronized: bool) -> Looks {
    one(bad_unless(synchronized, || Trouble {
        priority: 4,
        message: "the clock is not synchronized".to_owned(),
        advice: "see whether a time service runs and reaches its servers (timedatectl)".to_owned(),
    }))
}

/// A machine that should be started again.
pub(crate) fn reboot(reason: Option<&str>) -> Looks {
    one(bad_unless(reason.is_none(), || Trouble {
        priority: 9,
        message: format!("a restart is required: {}", reason.unwrap_or_default()),
        advice: "start the machine again when it suits".to_owned(),
    }))
}

/// Updates that are waiting, and the command that installs them.
pub(crate) fn updates(updates: &Updates, install: &str) -> Looks {
    let Updates { pending, security } = *updates;
    one(bad_unless(pending == 0, || Trouble {
        priority: if security > 0 { 4 } else { 2 },
        message: format!("{pending} updates are available, {security} of them for security"),
        advice: format!("install them ({install})"),
    }))
}

fn one(look: Look) -> Looks {
    Looks::from([(HOST.to_owned(), look)])
}

fn bad_unless(good: bool, bad: impl FnOnce() -> Trouble) -> Look {
    if good { Look::Good } else { Look::Bad(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    fn disk(percent: u64) -> Storage {
        let disk = Disk {
            source: "/dev/sda1".to_owned(),
            mount: "/srv/a b".to_owned(),
            kind: "ext4".to_owned(),
            read_only: false,
            size: 1,
            percent,
            faults: Vec::new(),
        };
        Storage { disks: BTreeMap::from([(disk.mount.clone(), disk)]), ..Storage::default() }
    }

    #[test]
    fn a_disk_is_full_between_its_thresholds_and_more_so_at_the_end() {
        let look = |percent| {
            let looks = full(&disk(percent), Kind::DiskFull.rule());
            looks["/disks/%2Fsrv%2Fa%20b"].clone()
        };
        assert_eq!(look(84), Look::Good);
        assert_eq!(look(87), Look::Between);
        let Look::Bad(bad) = look(90) else { panic!("full") };
        assert_eq!((bad.priority, &*bad.message), (6, "/srv/a b is 90 % full"));
        let Look::Bad(bad) = look(98) else { panic!("full") };
        assert_eq!(bad.priority, 8);
        let mut read_only = disk(100);
        read_only.disks.values_mut().for_each(|disk| disk.read_only = true);
        assert!(full(&read_only, Kind::DiskFull.rule()).is_empty());
    }

    #[test]
    fn what_the_kernel_has_noticed_is_urgent() {
        let mut storage = disk(1);
        assert_eq!(faulty(&storage)["/disks/%2Fsrv%2Fa%20b"], Look::Good);
        storage.disks.values_mut().for_each(|disk| disk.faults.push("3 errors".to_owned()));
        storage.arrays.insert("md0".to_owned(), "1 of its 2 members work".to_owned());
        let bad: Vec<_> = faulty(&storage).into_values().collect();
        assert!(
            bad.iter().all(|look| matches!(look, Look::Bad(it) if it.priority == 9)),
            "{bad:?}"
        );
    }

    #[test]
    fn updates_for_security_are_more_urgent() {
        let priority =
            |pending, security| match &updates(&Updates { pending, security }, "apt-get upgrade")
                [HOST]
            {
                Look::Bad(trouble) => Some(trouble.priority),
                _ => None,
            };
        assert_eq!((priority(0, 0), priority(3, 0), priority(3, 1)), (None, Some(2), Some(4)));
    }
}
