//! The mount table as the calling thread sees it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::error::{Error, Result};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Directory of the file system that is mounted (`/` for all of it, `/@home` for a subvolume).
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type, such as `btrfs`.
    pub kind: String,
}

/// Reads the mount table. `thread-self` and not `self`, because a thread may live in its own mount
/// namespace and then sees other mounts than its process.
pub(super) fn read() -> Result<Vec<Mount>> {
    let table = std::fs::read("/proc/thread-self/mountinfo")
        .map_err(|cause| Error::io("read the mount table", cause))?;
    Ok(parse(&table))
}

/// Fields 4 and 5 are root and mount point with octal escapes; the type follows a lone `-` after a
/// variable number of optional fields (proc(5)). The last mount on a point is the visible one.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in table.split(|b| *b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let Some(dash) = fields.iter().position(|field| *field == b"-") else { continue };
        let (Some(root), Some(point), Some(kind)) =
            (fields.get(3), fields.get(4), fields.get(dash + 1))
        else {
            continue;
        };
        let mount = Mount {
            root: unescape(root),
            point: unescape(point),
            kind: String::from_utf8_lossy(kind).into_owned(),
        };
        mounts.retain(|other| other.point != mount.point);
        mounts.push(mount);
    }
    mounts
}

/// Undoes the kernel's escaping of space, TAB, newline and backslash (`\040` and so on).
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        if let (b'\\', Some(digits)) = (first, octal) {
            let value = digits.iter().fold(0_u32, |sum, d| sum * 8 + u32::from(d - b'0'));
            out.push(u8::try_from(value).unwrap_or(b'?'));
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_roots_escapes_and_overmounts() {
        let table = b"36 35 98:0 /@home /mnt/a\\040b rw,noatime master:1 - btrfs /dev/x rw\n\
            37 35 98:0 / /data rw - ext4 /dev/y rw\n\
            38 37 0:5 / /data rw shared:3 propagate_from:2 - xfs /dev/z rw\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].root, PathBuf::from("/@home"));
        assert_eq!(mounts[0].point, PathBuf::from("/mnt/a b"));
        assert_eq!(mounts[0].kind, "btrfs");
        assert_eq!(mounts[1].kind, "xfs");
    }
}
