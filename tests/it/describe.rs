//! What the daemon says of itself, and whether it keeps to it.

mod own;
