//! lib

pub mod cli;
pub mod clock;
pub mod store;
