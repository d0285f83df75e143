//! What tools print: `getent`, `zpool list`.

/// A line of the user database, passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number.
    pub uid: String,
    /// The number of the first group.
    pub gid: String,
    /// Usually the full name.
    pub comment: String,
    /// The home directory.
    pub home: String,
    /// The program that a login starts.
    pub shell: String,
}

/// Reads the lines of passwd(5).
pub fn users(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let words: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, comment, home, shell] = words[..] else { return None };
        let own = str::to_owned;
        let number = |word: &str| word.parse::<u32>().is_ok();
        (!name.is_empty() && number(uid) && number(gid)).then(|| User {
            name: own(name),
            uid: own(uid),
            gid: own(gid),
            comment: own(comment),
            home: own(home),
            shell: own(shell),
        })
    };
    text.lines().filter_map(user).collect()
}

/// A line of group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number.
    pub gid: String,
    /// Users that are in it besides those whose first group it is.
    pub members: Vec<String>,
}

/// Reads the lines of group(5).
pub fn groups(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let words: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = words[..] else { return None };
        let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        (!name.is_empty() && gid.parse::<u32>().is_ok()).then(|| Group {
            name: name.to_owned(),
            gid: gid.to_owned(),
            members: members.collect(),
        })
    };
    text.lines().filter_map(group).collect()
}

/// The columns that are asked of `zpool list`, in the order in which [`pools`] reads them.
pub(crate) const POOL_COLUMNS: &str =
    "name,size,allocated,free,expandsize,fragmentation,capacity,dedupratio,health,altroot";
/// The same of a ZFS that knows neither growth nor fragmentation, such as zfs-fuse.
pub(crate) const OLD_POOL_COLUMNS: &str =
    "name,size,allocated,free,capacity,dedupratio,health,altroot";

/// A ZFS pool. All but `capacity` as the tool prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `size`, `alloc`, `free`, `expandsz`, `frag`, `dedup` and `altroot`, in this order.
    pub figures: [String; 7],
    /// Percent in use.
    pub capacity: u64,
    /// `ONLINE`, `DEGRADED` and so on.
    pub health: String,
}

/// Reads `zpool list -H -o` with either of both.
pub fn pools(text: &str) -> Vec<Pool> {
    let pool = |line: &str| {
        let mut words: Vec<&str> = line.split('\t').collect();
        if words.len() == 8 {
            words.splice(4..4, ["-", "-"]);
        }
        let [name, size, alloc, free, expand, frag, capacity, dedup, health, altroot] = words[..]
        else {
            return None;
        };
        Some(Pool {
            name: name.to_owned(),
            figures: [size, alloc, free, expand, frag, dedup, altroot].map(str::to_owned),
            capacity: capacity.trim_end_matches('%').parse().ok()?,
            health: health.to_owned(),
        })
    };
    text.lines().filter_map(pool).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn databases_are_read_and_broken_lines_passed_over() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken\nx:x:y:0::/:/bin/sh\n+::::::\n";
        let users = users(text);
        assert_eq!(users.len(), 1);
        assert_eq!((&*users[0].name, &*users[0].shell), ("root", "/bin/bash"));
        let groups = groups("wheel:x:10:a,b\nempty:x:11:\nbad:x\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].members, ["a", "b"]);
        assert!(groups[1].members.is_empty());
    }

    #[test]
    fn pools_are_read_by_column() {
        let text = "tank\t960M\t118K\t960M\t-\t0%\t0%\t1.00x\tONLINE\t-\nhalf a line\n";
        let pools = pools(text);
        assert_eq!(pools.len(), 1);
        assert_eq!((pools[0].capacity, &*pools[0].health), (0, "ONLINE"));
        assert_eq!(POOL_COLUMNS.split(',').count(), 10);
        let old = super::pools("pair\t95.5M\t130K\t95.4M\t7%\t1.00x\tDEGRADED\t-\n");
        assert_eq!((old[0].capacity, &*old[0].health), (7, "DEGRADED"));
        assert_eq!(old[0].figures, ["95.5M", "130K", "95.4M", "-", "-", "1.00x", "-"]);
        assert_eq!(OLD_POOL_COLUMNS.split(',').count(), 8);
    }

    proptest! {
        #[test]
        fn every_legal_user_is_read_back(
            name in "[a-z_][a-z0-9_-]{0,30}", uid in any::<u32>(), comment in "[^:\r\n]{0,30}",
        ) {
            let read = users(&format!("{name}:x:{uid}:7:{comment}:/h:/bin/sh\n"));
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!((&read[0].name, &read[0].comment), (&name, &comment));
            prop_assert_eq!(&read[0].uid, &uid.to_string());
        }
    }
}
