//! The door by which `tests/fuzz` gets at what reads the outside: the kernel, tools, clients. Nothing
//! else uses it.

use sdk::Value;

pub use crate::parse::host::{Ticks, arrays, assigned, colon, memory, pressure, ticks};
pub use crate::parse::mounts::{disks, table};
pub use crate::parse::pci::names;
pub use crate::parse::process::{owner, short_bytes, stat};
pub use crate::parse::tools::{groups, pools, users};
pub use crate::parse::updates::{apk, apt, dnf, pacman, zypper, zypper_security};
pub use crate::unit::{Loaded, description, services, unit_name};

/// Whether a section of the configuration is legal.
pub fn config(section: &Value) -> bool {
    crate::config::Config::read(section).is_ok()
}

/// The file of a setting of the kernel, below `/proc/sys`.
pub fn setting(name: &str) -> Option<String> {
    crate::classic::sysctl::path_of(name)
}

/// Where a device sends what is for elsewhere.
pub fn gateway(routes: &str, device: &str) -> Option<String> {
    crate::classic::network::gateway(routes, device)
}

/// Whether a text is a name of an account.
pub fn is_name(text: &str) -> bool {
    crate::classic::users::is_name(text)
}
