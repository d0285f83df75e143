//! One target under libFuzzer: the one that `FUZZ_TARGET` names. `tests/fuzz/run` builds and starts it.

#![no_main]
#![allow(clippy::panic, reason = "nobody else is told")]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        *found.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
    });
    (target.run)(data);
});
