//! How full a file system is.

use std::collections::BTreeMap;
use std::path::Path;

use super::types::{Kind, Pool};

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) size: u64,
    pub(super) free: u64,
    /// Free to somebody who is not root.
    pub(super) available: u64,
}

/// The space of the file system `path` is on; nothing when that cannot be asked.
pub(super) fn of(path: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Space {
        size: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
    })
}

/// A file system reached by `path` as a pool. One that can be asked is as healthy as its users can
/// tell.
pub(super) fn pool(kind: Kind, path: &Path) -> Option<Pool> {
    let space = of(path)?;
    Some(Pool {
        name: path.to_string_lossy().into_owned(),
        kind,
        size: space.size,
        allocated: space.size.saturating_sub(space.free),
        free: space.free,
        health: "ONLINE".to_owned(),
        columns: BTreeMap::new(),
    })
}
