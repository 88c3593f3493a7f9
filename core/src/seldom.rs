//! Lines of the log that peers can cause again and again: one in ten seconds, which tells how many there would have been.

use std::fmt;
use std::time::Duration;

use crate::time::Time;

/// Between two lines about the same thing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts what was not told.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    told: Option<Time>,
    untold: u64,
}

impl Seldom {
    /// Warns, if that was not done for a while.
    pub(crate) fn warn(&mut self, now: Time, target: &str, words: fmt::Arguments<'_>) {
        match self.tell(now) {
            Some(0) => log::warn!(target: target, "{words}"),
            Some(untold) => {
                log::warn!(target: target, "{words} ({untold} more such lines were left out before)");
            }
            None => log::debug!(target: target, "{words}"),
        }
    }

    /// If it is time to tell, how often it was not since it was told last.
    fn tell(&mut self, now: Time) -> Option<u64> {
        if self.told.is_some_and(|told| now.since(told) < INTERVAL) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_tells_of_those_before() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.tell(Time::ZERO), Some(0));
        for millis in 1..1000 {
            assert_eq!(
                seldom.tell(Time::ZERO + Duration::from_millis(millis)),
                None
            );
        }
        assert_eq!(seldom.tell(Time::ZERO + INTERVAL), Some(999));
        assert_eq!(seldom.tell(Time::ZERO + INTERVAL), None);
        assert_eq!(seldom.tell(Time::ZERO + INTERVAL * 2), Some(1));
    }
}
