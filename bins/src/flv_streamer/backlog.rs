//! How far the subscribers of a track are behind what was published, in bytes, objects and time.

use std::collections::VecDeque;
use std::time::Duration;

use oxymoq_core::fanout::OBJECT_OVERHEAD;
use oxymoq_core::time::Time;

use super::limits::Tolerance;

/// What subscribers still have to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    /// How long the oldest object of it has been there.
    time: Duration,
    bytes: u64,
    objects: usize,
}

impl Lag {
    pub(super) fn exceeds(&self, tolerance: &Tolerance) -> bool {
        self.time > tolerance.time
            || self.bytes > tolerance.bytes
            || self.objects > tolerance.objects
    }
}

/// Remembers when what was published that has not been sent yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Of each object, when it was published, and all bytes up to its end.
    objects: VecDeque<(Time, u64)>,
    total: u64,
}

impl Backlog {
    /// An object with a payload of so many bytes was published.
    pub(super) fn published(&mut self, now: Time, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let cost = bytes.saturating_add(u64::from(OBJECT_OVERHEAD));
        self.total = self.total.saturating_add(cost);
        self.objects.push_back((now, self.total));
    }

    /// How far the fastest subscriber is behind, who still has to be sent so many bytes, as a fan-out counts them. Forgets
    /// what it was sent.
    pub(super) fn lag(&mut self, now: Time, bytes: u64) -> Lag {
        let sent = self.total.saturating_sub(bytes);
        while self.objects.front().is_some_and(|(_, end)| *end <= sent) {
            self.objects.pop_front();
        }
        let oldest = self.objects.front();
        Lag {
            time: oldest.map_or(Duration::ZERO, |(published, _)| now.since(*published)),
            bytes,
            objects: self.objects.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_oldest_object_that_was_not_sent_tells_the_time() {
        let mut backlog = Backlog::default();
        let each = 1000 + u64::from(OBJECT_OVERHEAD);
        for second in 0..5 {
            backlog.published(at(second), 1000);
        }
        let lag = |backlog: &mut Backlog, bytes| {
            let lag = backlog.lag(at(10), bytes);
            (lag.time.as_secs(), lag.bytes, lag.objects)
        };
        assert_eq!(lag(&mut backlog, 5 * each), (10, 5 * each, 5));
        assert_eq!(lag(&mut backlog, 4 * each), (9, 4 * each, 4));
        // A byte of the third one has left.
        assert_eq!(lag(&mut backlog, 3 * each - 1), (8, 3 * each - 1, 3));
        assert_eq!(lag(&mut backlog, 0), (0, 0, 0));
        assert!(backlog.objects.is_empty());
        // A subscriber that came later is behind by less than there was.
        backlog.published(at(11), 1000);
        assert_eq!(backlog.lag(at(12), each).time, Duration::from_secs(1));
    }

    #[test]
    fn each_of_the_three_is_limited() {
        let tolerance = Tolerance {
            time: Duration::from_secs(2),
            bytes: 1000,
            objects: 3,
        };
        let lag = |seconds, bytes, objects| Lag {
            time: Duration::from_secs(seconds),
            bytes,
            objects,
        };
        assert!(!lag(2, 1000, 3).exceeds(&tolerance));
        assert!(lag(3, 0, 0).exceeds(&tolerance));
        assert!(lag(0, 1001, 0).exceeds(&tolerance));
        assert!(lag(0, 0, 4).exceeds(&tolerance));
    }
}
