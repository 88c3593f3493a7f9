//! What each subscription should get, and what it got.

use oxymoq_core::wire::id::Location;

use crate::clock::Moment;
use crate::latency::Latencies;
use crate::schedule::{self, Timetable, Window};
use crate::seen::{Mark, Seen};
use crate::stamp::Stamp;

/// An object that arrived, whole.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What it says of itself; `None`: it is none of ours.
    pub stamp: Option<Stamp>,
    /// Where it stood in its track.
    pub location: Location,
    /// Length of the payload.
    pub bytes: u64,
    /// When the last byte was here.
    pub at: Moment,
}

/// What subscriptions got together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From when objects of the window should have left to when all of each was here.
    pub latency: Latencies,
    /// Objects of the window, each counted once.
    pub delivered: u64,
    /// Their payloads.
    pub bytes: u64,
    /// Objects of the window that came again.
    pub duplicated: u64,
    /// Objects of the window that came after one that left later.
    pub reordered: u64,
    /// Objects that are not what was published there.
    pub damaged: u64,
    /// Objects that were here before they left: the clocks of publisher and subscriber differ.
    pub early: u64,
    /// From SUBSCRIBE to the first object.
    pub first_object: Latencies,
    /// From SUBSCRIBE to the last object of the first group that came whole.
    pub first_group: Latencies,
}

impl Tally {
    /// Forgets all but the joins, as another window begins.
    pub fn restart(&mut self) {
        self.latency.clear();
        self.delivered = 0;
        self.bytes = 0;
        self.duplicated = 0;
        self.reordered = 0;
        self.damaged = 0;
        self.early = 0;
    }
}

/// What is counted, and what an object should look like.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The objects that count; `None`: none do yet.
    pub window: Option<Window>,
    /// Objects in a group.
    pub per_group: u64,
    /// Bytes of the first object of a group, and of every other.
    pub sizes: [u64; 2],
}

impl Terms {
    /// Whether an object is what was published at its place.
    fn holds(&self, arrival: &Arrival, stamp: &Stamp) -> bool {
        let [key, other] = self.sizes;
        let size = match arrival.location.object.0 {
            0 => key,
            _ => other,
        };
        schedule::location(stamp.sequence, self.per_group) == arrival.location
            && arrival.bytes == size
    }
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Account {
    seen: Seen,
    asked: Moment,
    awaits: Awaits,
    timetable: Option<Timetable>,
    highest: Option<u64>,
    /// Objects of the window that came.
    delivered: u64,
    /// First and last of them.
    range: Option<(u64, u64)>,
}

/// What a new subscription has not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Object,
    Group,
    Nothing,
}

impl Account {
    /// Of a subscription that was asked for then.
    pub fn new(asked: Moment) -> Self {
        Self {
            seen: Seen::default(),
            asked,
            awaits: Awaits::Object,
            timetable: None,
            highest: None,
            delivered: 0,
            range: None,
        }
    }

    /// Whether anything came.
    pub fn is_empty(&self) -> bool {
        self.awaits == Awaits::Object
    }

    /// Another window begins.
    pub const fn restart(&mut self) {
        self.delivered = 0;
        self.range = None;
    }

    /// Objects of the window that came.
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Objects of the window that should have come, if the timetable is known: objects of ours tell it.
    pub fn expected(&self, window: Window) -> Option<u64> {
        let timetable = self.timetable.filter(Timetable::is_paced)?;
        Some(timetable.count(window))
    }

    /// How many objects lie from the first to the last of the window that came: what should have come at least.
    pub fn spanned(&self) -> u64 {
        self.range.map_or(0, |(first, last)| last - first + 1)
    }

    /// Counts an object. Allocates only while the set of those seen grows.
    pub fn arrived(&mut self, arrival: &Arrival, terms: &Terms, tally: &mut Tally) {
        let Some(stamp) = arrival.stamp.filter(|stamp| terms.holds(arrival, stamp)) else {
            tally.damaged += 1;
            return;
        };
        let sequence = stamp.sequence;
        if self.highest.is_none() {
            // Streams may overtake one another at the beginning, but hardly by two groups.
            let before = terms.per_group.saturating_mul(2).max(64);
            self.seen
                .restart(sequence.saturating_sub(before), 4 * before);
        }
        self.timetable = Some(stamp.timetable);
        let counts = terms
            .window
            .is_some_and(|window| window.contains(stamp.scheduled));
        match self.seen.mark(sequence) {
            Mark::New => {}
            Mark::Again => {
                tally.duplicated += u64::from(counts);
                return;
            }
            Mark::Outside => {
                tally.damaged += 1;
                return;
            }
        }
        let is_behind = self.highest.is_some_and(|highest| sequence < highest);
        self.highest = self.highest.max(Some(sequence));
        self.join(sequence, arrival.at, terms, tally);
        if counts {
            tally.delivered += 1;
            tally.bytes += arrival.bytes;
            tally.reordered += u64::from(is_behind);
            tally.early += u64::from(arrival.at < stamp.scheduled);
            tally
                .latency
                .record(arrival.at.micros_since(stamp.scheduled));
            self.delivered += 1;
            let (first, last) = self.range.unwrap_or((sequence, sequence));
            self.range = Some((first.min(sequence), last.max(sequence)));
        }
    }

    fn join(&mut self, sequence: u64, at: Moment, terms: &Terms, tally: &mut Tally) {
        if self.awaits == Awaits::Nothing {
            return;
        }
        let since = at.micros_since(self.asked);
        if self.awaits == Awaits::Object {
            tally.first_object.record(since);
            self.awaits = Awaits::Group;
        }
        let per_group = terms.per_group.max(1);
        let first = sequence - sequence % per_group;
        if self.seen.has_all(first, first.saturating_add(per_group)) {
            tally.first_group.record(since);
            self.awaits = Awaits::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMETABLE: Timetable = Timetable {
        epoch: Moment::from_micros(1_000_000),
        interval_nanos: 10_000_000,
    };
    const PER_GROUP: u64 = 5;

    fn terms(from: u64, until: u64) -> Terms {
        let window = Window {
            from: TIMETABLE.due(from),
            until: TIMETABLE.due(until),
        };
        Terms {
            window: Some(window),
            per_group: PER_GROUP,
            sizes: [300, 200],
        }
    }

    /// Object `sequence`, so many microseconds after it should have left.
    fn object(sequence: u64, late: u64) -> Arrival {
        let scheduled = TIMETABLE.due(sequence);
        let location = schedule::location(sequence, PER_GROUP);
        Arrival {
            stamp: Some(Stamp {
                sequence,
                scheduled,
                timetable: TIMETABLE,
            }),
            location,
            bytes: if location.object.0 == 0 { 300 } else { 200 },
            at: Moment::from_micros(scheduled.as_micros() + late),
        }
    }

    fn take(objects: impl IntoIterator<Item = Arrival>, terms: &Terms) -> (Account, Tally) {
        let mut account = Account::new(TIMETABLE.epoch);
        let mut tally = Tally::default();
        for arrival in objects {
            account.arrived(&arrival, terms, &mut tally);
        }
        (account, tally)
    }

    #[test]
    fn objects_of_the_window_are_counted_once_and_others_not() {
        let terms = terms(10, 20);
        let (account, tally) = take((3..25).map(|n| object(n, 700)), &terms);
        assert_eq!((account.delivered(), tally.delivered), (10, 10));
        assert_eq!(account.expected(terms.window.unwrap()), Some(10));
        assert_eq!(account.spanned(), 10);
        assert_eq!(tally.bytes, 2 * 300 + 8 * 200);
        assert_eq!(tally.latency.count(), 10);
        assert_eq!(tally.latency.quantiles().p50, 700);
        assert_eq!(
            (tally.duplicated, tally.reordered, tally.damaged),
            (0, 0, 0)
        );
    }

    #[test]
    fn what_does_not_come_is_missing_wherever_it_is() {
        let terms = terms(10, 20);
        let came = [10, 11, 13, 14, 17].map(|n| object(n, 1));
        let (account, _) = take(came, &terms);
        let expected = account.expected(terms.window.unwrap()).unwrap();
        assert_eq!(expected - account.delivered(), 5, "12, 15, 16, 18 and 19");
        assert_eq!(account.spanned() - account.delivered(), 3, "12, 15 and 16");
    }

    #[test]
    fn what_comes_again_or_late_is_told_apart() {
        let terms = terms(0, 20);
        let came = [0, 2, 2, 1, 3, 0].map(|n| object(n, 1));
        let (account, tally) = take(came, &terms);
        assert_eq!(account.delivered(), 4);
        assert_eq!((tally.duplicated, tally.reordered), (2, 1));
    }

    #[test]
    fn an_object_that_is_not_what_was_published_is_damaged() {
        let terms = terms(0, 20);
        let foreign = Arrival {
            stamp: None,
            ..object(0, 1)
        };
        let short = Arrival {
            bytes: 199,
            ..object(1, 1)
        };
        let elsewhere = Arrival {
            location: Location::new(7, 2),
            ..object(2, 1)
        };
        let (account, tally) = take([foreign, short, elsewhere, object(3, 1)], &terms);
        assert_eq!((account.delivered(), tally.damaged), (1, 3));
    }

    #[test]
    fn an_object_from_the_future_shows_that_clocks_differ() {
        let arrival = Arrival {
            at: Moment::from_micros(1),
            ..object(4, 0)
        };
        let (_, tally) = take([arrival], &terms(0, 20));
        assert_eq!((tally.early, tally.latency.quantiles().max), (1, 0));
    }

    #[test]
    fn a_join_lasts_until_the_first_object_and_the_first_whole_group() {
        let (_, tally) = take((3..12).map(|n| object(n, 0)), &terms(0, 20));
        assert_eq!(tally.first_object.quantiles().max, 30_015);
        assert_eq!(tally.first_group.count(), 1);
        let group = tally.first_group.quantiles().max;
        assert!(
            group.abs_diff(90_000) < 100,
            "object 9 ends group 1: {group}"
        );
    }

    #[test]
    fn a_group_may_be_completed_out_of_order() {
        let came = [6, 5, 8, 9, 7].map(|n| object(n, 0));
        let (account, tally) = take(came, &terms(0, 20));
        assert_eq!(tally.first_group.count(), 1);
        assert_eq!(account.delivered(), 5);
    }

    #[test]
    fn another_window_starts_from_nothing_but_knows_what_came() {
        let first = terms(0, 5);
        let mut account = Account::new(TIMETABLE.epoch);
        let mut tally = Tally::default();
        assert!(account.is_empty());
        account.arrived(&object(4, 1), &first, &mut tally);
        account.restart();
        tally.restart();
        let second = terms(4, 8);
        account.arrived(&object(4, 9), &second, &mut tally);
        account.arrived(&object(5, 9), &second, &mut tally);
        assert_eq!((account.delivered(), tally.duplicated), (1, 1));
        assert_eq!(tally.first_object.count(), 1);
        assert!(!account.is_empty());
    }
}
