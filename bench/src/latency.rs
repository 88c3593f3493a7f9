//! How long things took: histograms, and what is told of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::number;

/// Longest latency that is told apart from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// A histogram of microseconds with three significant digits, from 1 us to an hour; what is longer counts as an hour.
#[derive(Clone, Debug)]
pub struct Latencies(Option<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        // These bounds are fine, so there always is one.
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).ok())
    }
}

impl Latencies {
    /// Counts one. Allocates nothing.
    pub fn record(&mut self, micros: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if let Some(histogram) = &mut self.0 {
            histogram.reset();
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The value below or at which this share (0 to 1) lies; zero if nothing was counted.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |histogram| histogram.value_at_quantile(share))
    }

    /// What is told of it.
    pub fn quantiles(&self) -> Quantiles {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return Quantiles::default();
        };
        Quantiles {
            count: histogram.len(),
            min: histogram.min(),
            mean: number::whole(histogram.mean()),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }

    /// Every value that was counted, and how often: enough to make the histogram again, or to merge several.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        self.0.as_ref().map_or_else(Vec::new, |histogram| {
            histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect()
        })
    }

    /// The histogram of which these are the buckets.
    pub fn from_buckets(buckets: &[(u64, u64)]) -> Self {
        let mut latencies = Self::default();
        if let Some(histogram) = &mut latencies.0 {
            for (value, count) in buckets {
                histogram.saturating_record_n(*value, *count);
            }
        }
        latencies
    }
}

/// What is told of a histogram, in microseconds; all zero if nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were counted.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: u64,
    /// Half of them were no longer.
    pub p50: u64,
    /// 90 % were no longer.
    pub p90: u64,
    /// 99 % were no longer.
    pub p99: u64,
    /// 99.9 % were no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.record(micros);
        }
        let told = latencies.quantiles();
        assert_eq!((told.count, told.min, told.max), (1000, 1, 1000));
        assert_eq!((told.p50, told.p90, told.p99), (500, 900, 990));
        assert_eq!((told.p999, told.mean), (999, 500));
    }

    #[test]
    fn three_digits_are_kept_and_nothing_is_lost_at_the_ends() {
        let mut latencies = Latencies::default();
        latencies.record(0);
        latencies.record(123_456_789);
        latencies.record(u64::MAX);
        assert_eq!(latencies.count(), 3);
        let middle = latencies.quantile(0.5);
        assert!(middle.abs_diff(123_456_789) < 123_456, "{middle}");
        assert!(latencies.quantile(1.0) >= LONGEST);
    }

    #[test]
    fn nothing_counted_is_told_as_such() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles(), Quantiles::default());
        latencies.record(5);
        latencies.clear();
        assert_eq!(latencies.quantiles(), Quantiles::default());
        assert!(latencies.buckets().is_empty());
    }

    #[test]
    fn buckets_make_the_same_histogram_again() {
        let mut latencies = Latencies::default();
        for micros in [3, 3, 777, 45_678, 9_876_543] {
            latencies.record(micros);
        }
        let buckets = latencies.buckets();
        assert_eq!(buckets.first(), Some(&(3, 2)));
        let again = Latencies::from_buckets(&buckets);
        assert_eq!(again.buckets(), buckets);
        assert_eq!(again.quantiles().p50, latencies.quantiles().p50);
    }
}
