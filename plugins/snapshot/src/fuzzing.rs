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

/// Whether a section of the configuration is legal.
pub fn config(section: &Value) -> bool {
    crate::plugin::config::read(section).is_ok()
}
