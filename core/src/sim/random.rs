//! The simulator's source of chance: a small generator whose whole state is its seed.

use std::time::Duration;

/// Numbers that look random and are the same for the same seed on every machine (SplitMix64).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of `u64`.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.number()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }

    /// An index or length of at least 1 and at most `max`; 1 if `max` is 0.
    pub fn length(&mut self, max: usize) -> usize {
        let drawn = self.below(u64::try_from(max).unwrap_or(u64::MAX));
        usize::try_from(drawn).unwrap_or(0) + 1
    }

    /// Whether something happens that happens this many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A span from zero to `max`, both included, in whole microseconds.
    pub fn span(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.below(micros.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_others_do_not() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The published first value of SplitMix64 for seed 0.
        assert_eq!(Random::new(0).number(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        for _ in 0..200 {
            let n = usize::try_from(random.below(5)).unwrap();
            seen[n] = true;
            assert!((1..=3).contains(&random.length(3)));
            assert!(random.span(Duration::from_micros(9)) <= Duration::from_micros(9));
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
        assert!(!random.chance(0));
        assert!(random.chance(1000));
    }
}
