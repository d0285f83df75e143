//! Figures: medians, percentiles and the few lossy conversions, in one place.
//!
//! Knows numbers only; nothing about servers or clients.

use std::time::Duration;

/// `n` as a float. Counts here stay far below 2⁵², so nothing is lost.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}

/// A length as a count that [`float`] takes.
pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Whole nanoseconds of `d`, saturating at 4.29 s: a latency sample above that is a stall, not a figure.
pub(crate) fn nanos(d: Duration) -> u32 {
    u32::try_from(d.as_nanos()).unwrap_or(u32::MAX)
}

/// The middle value; the mean of the two middle ones for an even count; `None` without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => values.get(middle).copied(),
        _ => Some(f64::midpoint(*values.get(middle - 1)?, *values.get(middle)?)),
    }
}

/// Latency samples in nanoseconds, bounded so that a long run cannot eat the client's memory.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<u32>);

impl Samples {
    /// 4 million samples are 16 MB and far more than a percentile needs.
    const MOST: usize = 4_000_000;

    /// Adds one sample; silently full after [`Self::MOST`].
    pub(crate) fn add(&mut self, d: Duration) {
        if self.0.len() < Self::MOST {
            self.0.push(nanos(d));
        }
    }

    /// The `per_mille`-th smallest sample in microseconds (500 = median, 990 = p99); `None` without samples.
    pub(crate) fn micros(&mut self, per_mille: usize) -> Option<f64> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        let at = (self.0.len() * per_mille / 1000).min(last);
        self.0.get(at).map(|ns| f64::from(*ns) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn percentiles_are_taken_from_the_sorted_samples() {
        let mut samples = Samples::default();
        for micros in (1..=100).rev() {
            samples.add(Duration::from_micros(micros));
        }
        assert_eq!(samples.micros(500), Some(51.0));
        assert_eq!(samples.micros(990), Some(100.0));
    }
}
