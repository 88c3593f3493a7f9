//! The system's clocks in the core's terms.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use oxymoq_core::time::{Time, WallTime};

/// Time as an endpoint counts it: from its start on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// An instant in the core's terms; what was before the start is the start.
    pub fn time(self, at: Instant) -> Time {
        Time::ZERO + at.saturating_duration_since(self.epoch)
    }

    /// The instant that the core means; `None` is so far away that the system's clock ends before.
    pub fn instant(self, at: Time) -> Option<Instant> {
        self.epoch.checked_add(at.since(Time::ZERO))
    }

    /// The time of day; before 1970 it stands still.
    pub fn wall() -> WallTime {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instants_and_times_are_the_same_points() {
        let clock = Clock::start();
        let later = clock.epoch + Duration::from_micros(1234);
        assert_eq!(clock.time(later), Time::from_micros(1234));
        assert_eq!(clock.instant(Time::from_micros(1234)), Some(later));
        assert_eq!(clock.time(clock.epoch - Duration::from_secs(1)), Time::ZERO);
    }
}
