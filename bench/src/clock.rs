//! The machine's monotonic clock: the same for all its processes, and never set.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time: microseconds on the machine's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// So many microseconds on the clock.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds on the clock.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Microseconds since `earlier`; zero if that lies ahead.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// What the clock shows.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(
        seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_run_backwards_and_spans_do_not_overflow() {
        let earlier = now();
        let later = now();
        assert!(earlier <= later && earlier > Moment::default());
        assert_eq!(earlier.micros_since(later + Duration::from_secs(1)), 0);
        assert_eq!(Moment(5) + Duration::from_micros(7), Moment(12));
        assert_eq!(Moment(1) + Duration::MAX, Moment(u64::MAX));
        assert_eq!(Moment(12).since(Moment(5)), Duration::from_micros(7));
    }
}
