//! The machine as a whole: `/proc/meminfo`, `/proc/stat`, `/proc/pressure`, `/proc/cpuinfo`,
//! `/etc/os-release`, `/proc/mdstat`.

/// `/proc/meminfo`, in kB as the kernel counts it there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that the kernel manages.
    pub total: u64,
    /// Not used for anything.
    pub free: u64,
    /// What new programs can have without swapping.
    pub available: u64,
    /// Used lately.
    pub active: u64,
    /// Not used for a while.
    pub inactive: u64,
    /// Block buffers and what of the kernel's own caches can be given back.
    pub cache: u64,
}

impl Memory {
    /// What is none of the others: the kernel's own, page tables, locked pages. The five of the
    /// classic answer so add up to the total, as they do where they come from.
    pub fn wired(&self) -> u64 {
        let others = [self.free, self.active, self.inactive, self.cache];
        others.into_iter().fold(self.total, u64::saturating_sub)
    }
}

/// Reads `/proc/meminfo`.
pub fn memory(text: &str) -> Memory {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0_u64)
    };
    Memory {
        total: of("MemTotal"),
        free: of("MemFree"),
        available: of("MemAvailable"),
        active: of("Active"),
        inactive: of("Inactive"),
        cache: of("Buffers").saturating_add(of("SReclaimable")),
    }
}

/// Ticks of one processor since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Doing something.
    pub busy: u64,
    /// All of them.
    pub total: u64,
}

impl Ticks {
    /// The share of busy ticks since `before`, 0 to 100.
    pub fn percent_since(self, before: Self) -> u64 {
        let total = self.total.saturating_sub(before.total);
        let busy = self.busy.saturating_sub(before.busy).min(total);
        busy.saturating_mul(100).checked_div(total).unwrap_or(0)
    }
}

/// Reads `/proc/stat`: all processors together, then each.
pub fn ticks(text: &str) -> Vec<Ticks> {
    let processors = text.lines().take_while(|line| line.starts_with("cpu"));
    processors
        .map(|line| {
            // user nice system idle iowait irq softirq steal; guests are in user already.
            let ticks: Vec<u64> =
                line.split_whitespace().skip(1).take(8).map(|n| n.parse().unwrap_or(0)).collect();
            let total = ticks.iter().copied().fold(0, u64::saturating_add);
            let idle = ticks.iter().skip(3).take(2).copied().fold(0, u64::saturating_add);
            Ticks { busy: total.saturating_sub(idle), total }
        })
        .collect()
}

/// The share of the last 60 seconds, in hundredths of a percent, in which some task waited.
pub fn pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = some.split_whitespace().find_map(|word| word.strip_prefix("avg60="))?;
    let (whole, rest) = share.split_once('.')?;
    let hundredths = rest.get(..2)?.parse::<u64>().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

/// The value of a line `NAME : VALUE`, as in `/proc/cpuinfo`.
pub fn colon<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim())
    })
}

/// The value of a line `NAME=VALUE` or `NAME="VALUE"`, as in `/etc/os-release`.
pub fn assigned<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?.trim();
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value))
}

/// A software RAID of `/proc/mdstat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Its name, such as `md0`.
    pub name: String,
    /// Members that it should have.
    pub wanted: u64,
    /// Members that work.
    pub working: u64,
}

/// Reads `/proc/mdstat`; arrays that have no members to lose are left out.
pub fn arrays(text: &str) -> Vec<Array> {
    let mut found = Vec::new();
    let mut name = None;
    for line in text.lines() {
        if let Some((first, _)) = line.split_once(" : ") {
            name = Some(first.trim()).filter(|name| name.starts_with("md"));
        } else if let (Some(array), Some((wanted, working))) = (name, members(line)) {
            found.push(Array { name: array.to_owned(), wanted, working });
            name = None;
        }
    }
    found
}

/// The two numbers of `[2/1]`.
fn members(line: &str) -> Option<(u64, u64)> {
    line.split_whitespace().find_map(|word| {
        let (wanted, working) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
        Some((wanted.parse().ok()?, working.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_adds_up_to_the_total() {
        let text = "MemTotal:       24580000 kB\nMemFree:  500 kB\nMemAvailable: 9 kB\n\
                    Buffers: 100 kB\nActive:  2000 kB\nInactive: 3000 kB\nActive(anon): 7 kB\n\
                    SReclaimable: 50 kB\n";
        let memory = memory(text);
        assert_eq!((memory.active, memory.inactive, memory.cache), (2000, 3000, 150));
        let sum = memory.free + memory.active + memory.inactive + memory.cache + memory.wired();
        assert_eq!(sum, memory.total);
    }

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting() {
        let before = ticks("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1 1 1\nintr 5\n");
        assert_eq!(before.len(), 2);
        let after = ticks("cpu  40 0 30 100 20 0 10 0 0 0\n");
        assert_eq!(after[0].percent_since(before[0]), 60);
        assert_eq!(before[0].percent_since(after[0]), 0, "a counter that went back");
    }

    #[test]
    fn pressure_is_read_in_hundredths() {
        let text = "some avg10=0.00 avg60=12.05 avg300=0.31 total=2306604\nfull avg60=1.00\n";
        assert_eq!(pressure(text), Some(1205));
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn a_degraded_array_is_seen() {
        let text = "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0](F)\n      \
                    1048512 blocks super 1.2 [2/1] [_U]\n\nmd1 : active raid0 sdc1[0]\n      \
                    5 blocks\nunused devices: <none>\n";
        let array = Array { name: "md0".to_owned(), wanted: 2, working: 1 };
        assert_eq!(arrays(text), [array]);
    }

    #[test]
    fn a_value_is_found_with_and_without_quotes() {
        assert_eq!(assigned("NAME=x\nPRETTY_NAME=\"A B\"\n", "PRETTY_NAME"), Some("A B"));
        assert_eq!(assigned("NAME=x\n", "NAME"), Some("x"));
        assert_eq!(colon("model name\t: A CPU\n", "model name"), Some("A CPU"));
    }

    proptest! {
        #[test]
        fn any_numbers_of_memory_never_make_more_than_the_total(
            numbers in proptest::collection::vec(any::<u64>(), 6),
        ) {
            let names = ["MemTotal", "MemFree", "Active", "Inactive", "Buffers", "SReclaimable"];
            let lines = names.iter().zip(&numbers).map(|(name, n)| format!("{name}: {n} kB\n"));
            let memory = memory(&lines.collect::<String>());
            prop_assert!(memory.wired() <= memory.total);
        }

        #[test]
        fn a_share_is_never_above_a_hundred(a in any::<(u64, u64)>(), b in any::<(u64, u64)>()) {
            let ticks = |(busy, total)| Ticks { busy, total };
            prop_assert!(ticks(a).percent_since(ticks(b)) <= 100);
        }
    }
}
