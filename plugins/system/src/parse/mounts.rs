//! `/proc/self/mounts`: which file systems on disks are mounted where.

/// File systems that keep things on a disk of this machine.
const ON_DISK: [&str; 14] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "bcachefs", "vfat", "exfat",
    "ntfs", "ntfs3", "zfs",
];

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted: a device, or the name of a ZFS dataset.
    pub source: String,
    /// Where.
    pub target: String,
    /// Of which kind.
    pub kind: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// Every mount of the table, in its order.
pub fn table(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// Those that are file systems on disks, each once: what is mounted in several places stands where
/// its shortest path is. The root is always one of them, whatever it is on.
pub fn disks(table: Vec<Mount>) -> Vec<Mount> {
    let is_disk = |mount: &Mount| mount.target == "/" || ON_DISK.contains(&mount.kind.as_str());
    let mut disks: Vec<Mount> = Vec::new();
    // What is mounted over something hides it, so a later mount on the same place wins.
    for mount in table.into_iter().filter(is_disk) {
        disks.retain(|known| known.target != mount.target);
        match disks.iter_mut().find(|known| known.source == mount.source) {
            Some(known) if mount.target.len() < known.target.len() => *known = mount,
            Some(_) => {}
            None => disks.push(mount),
        }
    }
    disks
}

fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let mut next = || words.next().map(unescaped);
    let (source, target, kind, options) = (next()?, next()?, next()?, next()?);
    let read_only = options.split(',').any(|option| option == "ro");
    Some(Mount { source, target, kind, read_only })
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescaped(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn disks_are_those_on_disks_and_each_stands_there_once() {
        let text = "proc /proc proc rw 0 0\noverlay / overlay rw 0 0\n/dev/sda1 /var/lib ext4 rw 0 0\n\
                    /dev/sda1 /srv ext4 ro,relatime 0 0\n/dev/sdb /mnt/a\\040b xfs rw 0 0\n\
                    tmpfs /mnt/t tmpfs rw 0 0\n/dev/sdc /mnt/x ext4 rw 0 0\n/dev/sdd /mnt/x ext4 rw 0 0\n";
        let disks = disks(table(text));
        let shown: Vec<_> =
            disks.iter().map(|disk| (&*disk.source, &*disk.target, disk.read_only)).collect();
        let expected = [
            ("overlay", "/", false),
            ("/dev/sda1", "/srv", true),
            ("/dev/sdb", "/mnt/a b", false),
            ("/dev/sdd", "/mnt/x", false),
        ];
        assert_eq!(shown, expected);
    }

    proptest! {
        #[test]
        fn what_the_kernel_escapes_is_read_back(name in "/[a-z \t\\\\\n]{0,20}") {
            let escaped: String = name
                .chars()
                .map(|c| match c {
                    ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
                    other => other.to_string(),
                })
                .collect();
            let table = table(&format!("/dev/x {escaped} ext4 rw 0 0\n"));
            prop_assert_eq!(&table[0].target, &name);
        }
    }
}
