//! The door by which `tests/fuzz` gets at what reads the outside: tools, the kernel, files, clients.
//! Nothing else uses it.

use sdk::Value;

pub use crate::backend::mounts::{Mount, parse as mounts};
pub use crate::backend::name::settle;
pub use crate::backend::tree::escape::{decode as unescape, word as escape};
pub use crate::backend::tree::registry::path_in;
pub use crate::backend::zfs::parse::{
    Property, bytes as figure, complaint, options, properties, rows,
};
pub use crate::backend::zfs::{dataset, snapshot, take};

/// The pieces of a snapshot of a directory on its way: each one's hash, the size that it is said to
/// have, and its bytes. Nothing of a stream that is cut, or followed by more.
pub fn tree_stream(mut data: &[u8]) -> Option<Vec<(blake3::Hash, u64, Vec<u8>)>> {
    let mut found = Vec::new();
    crate::backend::tree::transfer::pieces(&mut data, |_, hash, size, body| {
        let mut bytes = Vec::new();
        // Reading from memory does not fail.
        let _read = body.read_to_end(&mut bytes);
        found.push((*hash, size, bytes));
        Ok(())
    })
    .ok()
    .map(|_| found)
}

/// Whether a section of the configuration is legal.
pub fn config(section: &Value) -> bool {
    crate::plugin::config::read(section).is_ok()
}
