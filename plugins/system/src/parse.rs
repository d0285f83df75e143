//! What the kernel and the tools print, read. Pure: text in, words out; nothing here fails on a line
//! that it does not know, it passes over it.

pub(crate) mod host;
pub(crate) mod mounts;
pub(crate) mod pci;
pub(crate) mod process;
pub(crate) mod tools;
pub(crate) mod updates;
