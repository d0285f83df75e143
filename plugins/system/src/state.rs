//! The event `system.state`, in the shape that classic clients know as `system-state`. Pure.

use std::collections::BTreeMap;

use sdk::{Priority, Value, json};
use serde_json::Map;

use crate::condition::{Key, Raised};
use crate::facts::{Disk, Storage};
use crate::judge::subject;
use crate::kind::Kind;
use crate::parse::process::short_bytes;
use crate::parse::tools::Pool;

/// A host name that has changed.
const RENAMED: u8 = 3;
/// Pools and conditions that stand in one event; `system/conditions` lists them all.
const POOLS_MAX: usize = 200;
const CONDITIONS_MAX: usize = 50;

/// What the event is made of.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) hostname: &'a str,
    /// It is another one than in the event before.
    pub(crate) renamed: bool,
    pub(crate) storage: &'a Storage,
    pub(crate) conditions: &'a BTreeMap<Key, Raised>,
}

impl Facts<'_> {
    /// The most urgent of all that is the case.
    pub(crate) fn priority(&self) -> Priority {
        let conditions = self.conditions.values().map(|raised| raised.trouble.priority);
        Priority::clamped(conditions.chain(self.renamed.then_some(RENAMED)).max().unwrap_or(0))
    }

    /// One sentence.
    pub(crate) fn message(&self) -> String {
        let count = self.conditions.len();
        let worst = self.conditions.values().max_by_key(|raised| raised.trouble.priority);
        match (worst, count) {
            (None, _) => format!("{} is well", self.hostname),
            (Some(worst), 1) => format!("{}: {}", self.hostname, worst.trouble.message),
            (Some(worst), _) => {
                format!("{}: {}, and {} more", self.hostname, worst.trouble.message, count - 1)
            }
        }
    }

    /// The event's data.
    pub(crate) fn data(&self) -> Value {
        let mut conditions = conditions(self.conditions);
        let mut data = json!({
            "hostname": self.hostname,
            "zpools": self.zpools(),
            "updates": { "status": self.updates() },
            "conditions_count": conditions.len(),
        });
        conditions.truncate(CONDITIONS_MAX);
        data["conditions"] = conditions.into();
        if self.renamed {
            data["hostnamechanged"] = "true".into();
        }
        data
    }

    fn updates(&self) -> &'static str {
        let is_raised = |kind: Kind| self.conditions.keys().any(|key| key.kind == kind.as_str());
        if is_raised(Kind::RebootRequired) {
            "rebootrequired"
        } else if is_raised(Kind::UpdatesPending) {
            "updatesavailable"
        } else {
            "noupdates"
        }
    }

    /// What the classic pages call pools: those of ZFS by their name, and every other file system
    /// on a disk by where it is mounted.
    fn zpools(&self) -> Map<String, Value> {
        let disks = self.storage.disks.values().filter(|disk| disk.kind != "zfs");
        let disks = disks.map(|disk| (disk.mount.clone(), disk_row(disk), "disks"));
        let pools = self.storage.pools.iter();
        let pools = pools.map(|pool| (pool.name.clone(), pool_row(pool), "pools"));
        // Bounded, as every event is.
        let urgent = |(name, mut row, kind): (String, Value, &str)| {
            row["priority"] = self.priority_of(&subject(kind, &name)).to_string().into();
            (name, row)
        };
        disks.chain(pools).take(POOLS_MAX).map(urgent).collect()
    }

    fn priority_of(&self, subject: &str) -> Priority {
        let about = self.conditions.iter().filter(|(key, _)| key.subject == subject);
        Priority::clamped(about.map(|(_, it)| it.trouble.priority).max().unwrap_or(0))
    }
}

/// The conditions, the most urgent first.
pub(crate) fn conditions(raised: &BTreeMap<Key, Raised>) -> Vec<Value> {
    let mut rows: Vec<_> = raised.iter().collect();
    rows.sort_by_key(|(_, raised)| std::cmp::Reverse(raised.trouble.priority));
    rows.into_iter().map(|(key, raised)| condition(key, raised)).collect()
}

/// One condition, for lists and events.
pub(crate) fn condition(key: &Key, raised: &Raised) -> Value {
    json!({
        "condition": key.kind,
        "subject": key.subject,
        "priority": raised.trouble.priority,
        "message": raised.trouble.message,
        "advice": raised.trouble.advice,
        "count": raised.count,
        "since": time(raised.since_ms),
        "seen": time(raised.seen_ms),
    })
}

/// Milliseconds since 1970 as text.
fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn pool_row(pool: &Pool) -> Value {
    let [size, alloc, free, expandsz, frag, dedup, altroot] = &pool.figures;
    json!({
        "alloc": alloc, "altroot": altroot, "capacity": format!("{}%", pool.capacity),
        "dedup": dedup, "expandsz": expandsz, "frag": frag, "free": free,
        "health": pool.health, "size": size,
    })
}

fn disk_row(disk: &Disk) -> Value {
    let used = disk.size / 100 * disk.percent.min(100);
    json!({
        "alloc": short_bytes(used), "altroot": "-", "capacity": format!("{}%", disk.percent),
        "dedup": "1.00x", "expandsz": "-", "frag": "-",
        "free": short_bytes(disk.size.saturating_sub(used)),
        "health": if disk.faults.is_empty() { "ONLINE" } else { "DEGRADED" },
        "size": short_bytes(disk.size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{Conditions, Look, Patience, Trouble};

    fn raised(kind: Kind, subject: &str, priority: u8) -> Conditions {
        let mut conditions = Conditions::default();
        let patience = Patience { raise_after: 0, clear_after: 0, remind_every: 1 };
        let trouble =
            Trouble { priority, message: "it is bad".to_owned(), advice: "mend it".to_owned() };
        let looks = BTreeMap::from([(subject.to_owned(), Look::Bad(trouble))]);
        conditions.look(kind.as_str(), 1_795_299_600_000, patience, looks);
        conditions
    }

    fn storage() -> Storage {
        let disk = Disk {
            source: "/dev/sda1".to_owned(),
            mount: "/srv".to_owned(),
            kind: "ext4".to_owned(),
            read_only: false,
            size: 100 << 30,
            percent: 91,
            faults: Vec::new(),
        };
        let pool = Pool {
            name: "tank".to_owned(),
            figures: ["960M", "118K", "960M", "-", "0%", "1.00x", "-"].map(str::to_owned),
            capacity: 0,
            health: "ONLINE".to_owned(),
        };
        let disks = BTreeMap::from([(disk.mount.clone(), disk)]);
        Storage { disks, pools: vec![pool], arrays: BTreeMap::new() }
    }

    #[test]
    fn the_shape_is_the_classic_one() {
        let conditions = raised(Kind::DiskFull, "/disks/%2Fsrv", 6);
        let storage = storage();
        let facts = Facts {
            hostname: "nas",
            renamed: false,
            storage: &storage,
            conditions: conditions.raised(),
        };
        assert_eq!(facts.priority().to_string(), "6 - Critical");
        assert_eq!(facts.message(), "nas: it is bad");
        let data = facts.data();
        assert_eq!(data["hostname"], "nas");
        assert_eq!(data["updates"], json!({"status": "noupdates"}));
        assert_eq!(data.get("hostnamechanged"), None);
        let classic = [
            "alloc", "altroot", "capacity", "dedup", "expandsz", "frag", "free", "health",
            "priority", "size",
        ];
        for pool in ["/srv", "tank"] {
            let row = data["zpools"][pool].as_object().unwrap();
            assert_eq!(row.keys().collect::<Vec<_>>(), classic);
            assert!(row.values().all(Value::is_string), "{row:?}");
        }
        assert_eq!(data["zpools"]["/srv"]["priority"], "6 - Critical");
        assert_eq!(data["zpools"]["tank"]["priority"], "0 - Information");
        let condition = &data["conditions"][0];
        assert_eq!(condition["since"], "2026-11-21T22:20:00.000Z");
        assert_eq!(condition["count"], 1);
    }

    #[test]
    fn a_new_name_and_a_required_restart_are_told() {
        let conditions = raised(Kind::RebootRequired, "/host", 9);
        let storage = Storage::default();
        let facts = Facts {
            hostname: "nas",
            renamed: true,
            storage: &storage,
            conditions: conditions.raised(),
        };
        assert_eq!(facts.data()["updates"]["status"], "rebootrequired");
        assert_eq!(facts.data()["hostnamechanged"], "true");
        let none = BTreeMap::new();
        let facts = Facts { conditions: &none, ..facts };
        assert_eq!(facts.priority().to_string(), "3 - Warning");
    }
}
