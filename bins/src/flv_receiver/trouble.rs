//! How long to go on trying after something was lost, and when to try next.

use std::time::Duration;

use oxymoq_core::time::Time;

use super::limits::Limits;

/// Attempts to get on, with longer and longer pauses, until they have taken too long.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// When it began.
    since: Option<Time>,
    /// The next attempt.
    next: Time,
    /// Between that and the one after it.
    pause: Duration,
    first_pause: Duration,
    longest_pause: Duration,
    patience: Duration,
}

impl Trouble {
    /// None yet; when there is, it may take as long as `patience`.
    pub(super) const fn new(limits: &Limits, patience: Duration) -> Self {
        Self {
            since: None,
            next: Time::ZERO,
            pause: limits.first_pause,
            first_pause: limits.first_pause,
            longest_pause: limits.longest_pause,
            patience,
        }
    }

    /// When to try again, all that is lost at once; `None` if it has taken too long.
    pub(super) fn next(&mut self, now: Time) -> Option<Time> {
        let since = *self.since.get_or_insert(now);
        if self.next > now {
            return Some(self.next);
        }
        let next = now + self.pause;
        if next > since + self.patience {
            return None;
        }
        self.pause = (self.pause * 2).min(self.longest_pause);
        self.next = next;
        Some(next)
    }

    /// All is well.
    pub(super) const fn over(&mut self) {
        self.since = None;
        self.next = Time::ZERO;
        self.pause = self.first_pause;
    }

    /// Whether something was lost that has not come back.
    pub(super) const fn is_on(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_less_often_until_there_are_no_more() {
        let mut trouble = Trouble::new(&Limits::default(), Duration::from_secs(10));
        let mut now = Time::ZERO;
        let mut attempts = Vec::new();
        while let Some(next) = trouble.next(now) {
            attempts.push(next.as_micros() / 1000);
            now = next;
        }
        assert_eq!(attempts, [250, 750, 1750, 3750, 7750]);
        assert!(trouble.is_on());
        trouble.over();
        assert_eq!(trouble.next(now), Some(now + Duration::from_millis(250)));
        let same = trouble.next(now + Duration::from_millis(249));
        assert_eq!(same, Some(now + Duration::from_millis(250)));
        let mut none = Trouble::new(&Limits::default(), Duration::ZERO);
        assert_eq!(none.next(now), None);
    }
}
