//! Everything that a session waits for, in one table.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::id::RequestId;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The peer must complete the set-up.
    Setup,
    /// The peer must have left after our GOAWAY.
    GoAway,
    /// The peer must have moved this request after our GOAWAY on its stream.
    RequestGoAway(RequestId),
    /// A skipped request id must arrive on another stream.
    RequestGap,
    /// The peer must end its direction of a request stream that is over.
    Drain(StreamId),
}

impl Timer {
    /// A few words for traces.
    const fn reason(self) -> &'static str {
        match self {
            Self::Setup => "the peer's set-up",
            Self::GoAway => "the peer leaving after GOAWAY",
            Self::RequestGoAway(_) => "a request moving after GOAWAY",
            Self::RequestGap => "a skipped request id",
            Self::Drain(_) => "the end of a request stream",
        }
    }
}

/// The deadlines that are set: at most one for each [`Timer`], so bounded by requests and streams.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Time>,
    order: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.stop(timer);
        self.at.insert(timer, at);
        self.order.insert((at, timer));
    }

    /// Forgets a deadline, if it was set.
    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// The next deadline and what it is for.
    pub(super) fn next(&self) -> Option<(Time, &'static str)> {
        let (at, timer) = self.order.first()?;
        Some((*at, timer.reason()))
    }

    /// Takes the next timer whose deadline has passed.
    pub(super) fn expired(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }

    pub(super) fn clear(&mut self) {
        self.at.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Timer, Timers};
    use crate::time::Time;
    use crate::wire::id::RequestId;

    #[test]
    fn expire_in_order_of_time_and_only_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Setup, Time::from_micros(30));
        timers.set(Timer::RequestGoAway(RequestId(1)), Time::from_micros(10));
        timers.set(Timer::Setup, Time::from_micros(20));
        assert_eq!(timers.next().map(|(at, _)| at), Some(Time::from_micros(10)));
        assert_eq!(timers.expired(Time::from_micros(9)), None);
        assert_eq!(
            timers.expired(Time::from_micros(25)),
            Some(Timer::RequestGoAway(RequestId(1)))
        );
        assert_eq!(timers.expired(Time::from_micros(25)), Some(Timer::Setup));
        assert_eq!(timers.expired(Time::from_micros(25)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn stopped_timer_does_not_expire() {
        let mut timers = Timers::default();
        timers.set(Timer::RequestGap, Time::from_micros(1));
        timers.stop(Timer::RequestGap);
        assert!(!timers.is_set(Timer::RequestGap));
        assert_eq!(timers.expired(Time::MAX), None);
    }
}
