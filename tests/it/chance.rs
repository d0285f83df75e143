//! Chance that can be repeated.

use std::time::Duration;

/// Names the seed to repeat.
const SEED: &str = "SYSADMD_TEST_SEED";

/// A stream of numbers that look like chance (`SplitMix64`). A test that fails has printed its seed;
/// with that in `SYSADMD_TEST_SEED` the same choices are made again.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From the environment, else from the system's randomness.
    pub(crate) fn new() -> Self {
        let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| getrandom::u64().expect("the system has randomness"));
        println!("to make the same choices again: {SEED}={seed}");
        Self(seed)
    }

    /// Another stream, for a task of its own.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time below so many milliseconds.
    pub(crate) fn millis(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end * 1_000))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
