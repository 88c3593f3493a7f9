//! When each object leaves, and where it stands: known in advance, and the same for everybody who knows the timetable.

use std::time::Duration;

use oxymoq_core::wire::id::Location;

use crate::clock::Moment;
use crate::number;

/// When the objects of a track leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// When the first one leaves.
    pub epoch: Moment,
    /// From one to the next, in nanoseconds; 0: each as soon as there is room for it.
    pub interval_nanos: u64,
}

impl Timetable {
    /// Whether objects leave at times that are known in advance.
    pub const fn is_paced(&self) -> bool {
        self.interval_nanos != 0
    }

    /// When object `sequence` leaves.
    pub fn due(&self, sequence: u64) -> Moment {
        let nanos = u128::from(sequence) * u128::from(self.interval_nanos);
        let micros = u64::try_from(nanos / 1000).unwrap_or(u64::MAX);
        self.epoch + Duration::from_micros(micros)
    }

    /// The first object that leaves at `moment` or after it. Only for a track that is paced: else 0.
    pub fn first_from(&self, moment: Moment) -> u64 {
        if !self.is_paced() {
            return 0;
        }
        let nanos = u128::from(moment.micros_since(self.epoch)) * 1000;
        let sequence = u64::try_from(nanos / u128::from(self.interval_nanos)).unwrap_or(u64::MAX);
        // Microseconds are rounded down, so the estimate is at most one too low.
        if self.due(sequence) < moment {
            sequence.saturating_add(1)
        } else {
            sequence
        }
    }

    /// How many objects leave within a window.
    pub fn count(&self, window: Window) -> u64 {
        let [first, end] = [window.from, window.until].map(|moment| self.first_from(moment));
        end.saturating_sub(first)
    }
}

/// Objects that should have left from one moment on and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first that counts.
    pub from: Moment,
    /// The first that counts no more.
    pub until: Moment,
}

impl Window {
    /// Whether an object that should have left then counts.
    pub fn contains(&self, moment: Moment) -> bool {
        self.from <= moment && moment < self.until
    }

    /// Its length in seconds.
    pub const fn seconds(&self) -> f64 {
        number::float(self.until.micros_since(self.from)) / 1e6
    }
}

/// Where object `sequence` of a track stands, if groups have so many objects.
pub fn location(sequence: u64, per_group: u64) -> Location {
    let per_group = per_group.max(1);
    Location::new(sequence / per_group, sequence % per_group)
}

/// Nanoseconds from one object to the next at so many a second.
pub fn interval_nanos(rate: f64) -> u64 {
    if rate > 0.0 {
        number::whole((1e9 / rate).round()).max(1)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRTY: Timetable = Timetable {
        epoch: Moment::from_micros(1_000),
        interval_nanos: 33_333_333,
    };

    #[test]
    fn objects_are_due_at_even_distances_without_drift() {
        assert_eq!(THIRTY.due(0).as_micros(), 1_000);
        assert_eq!(THIRTY.due(1).as_micros(), 34_333);
        assert_eq!(THIRTY.due(3).as_micros(), 1_000 + 99_999);
        // An hour later it is off by no more than the rounding of the interval.
        assert_eq!(THIRTY.due(108_000).as_micros(), 1_000 + 3_599_999_964);
    }

    #[test]
    fn the_first_from_a_moment_on_is_due_then_and_the_one_before_is_not() {
        for micros in [
            0, 999, 1_000, 1_001, 34_332, 34_333, 34_334, 100_999, 7_654_321,
        ] {
            let moment = Moment::from_micros(micros);
            let first = THIRTY.first_from(moment);
            assert!(THIRTY.due(first) >= moment, "{micros}");
            assert!(first == 0 || THIRTY.due(first - 1) < moment, "{micros}");
        }
    }

    #[test]
    fn windows_side_by_side_share_no_object_and_miss_none() {
        let moments = [1_000, 34_333, 500_000, 3_001_000].map(Moment::from_micros);
        let windows = moments.windows(2).map(|pair| Window {
            from: pair[0],
            until: pair[1],
        });
        let parts: u64 = windows.map(|window| THIRTY.count(window)).sum();
        let whole = Window {
            from: moments[0],
            until: moments[3],
        };
        assert_eq!(parts, THIRTY.count(whole));
        assert_eq!(THIRTY.count(whole), 91);
        assert!(whole.contains(moments[0]) && !whole.contains(moments[3]));
    }

    #[test]
    fn rates_become_intervals_and_none_means_flat_out() {
        assert_eq!(interval_nanos(30.0), 33_333_333);
        assert_eq!(interval_nanos(0.0), 0);
        assert_eq!(interval_nanos(1e12), 1);
        let flat_out = Timetable {
            interval_nanos: 0,
            ..THIRTY
        };
        assert!(!flat_out.is_paced());
        assert_eq!(flat_out.first_from(Moment::from_micros(5_000)), 0);
    }

    #[test]
    fn groups_are_filled_one_after_the_other() {
        assert_eq!(location(0, 30), Location::new(0, 0));
        assert_eq!(location(61, 30), Location::new(2, 1));
        assert_eq!(location(61, 1), Location::new(61, 0));
        assert_eq!(location(3, 0), Location::new(3, 0));
    }
}
