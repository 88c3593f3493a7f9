//! Locations as one line, and sets of intervals on it.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::id::{GroupId, Location};

/// A point on the line of all locations: the group in the upper 64 bits, the object in the lower ones.
///
/// The end of an interval is the position after its last location, so that the rest of a group ends where the next group
/// begins. The last of all locations has no position after it and lies outside of every interval: it cannot be cached.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u128);

impl Position {
    /// The first location of all.
    pub const START: Self = Self(0);
    /// After every location but the last of all.
    pub const END: Self = Self(u128::MAX);

    /// Where a group begins.
    pub const fn of_group(group: GroupId) -> Self {
        Self::of(Location::new(group.0, 0))
    }

    /// Where the group after this one begins; [`END`](Self::END) if this is the last.
    pub const fn after_group(group: GroupId) -> Self {
        match group.0.checked_add(1) {
            Some(next) => Self::of_group(GroupId(next)),
            None => Self::END,
        }
    }

    /// Where a location is.
    #[expect(clippy::as_conversions, reason = "u128::from is not const")]
    pub const fn of(location: Location) -> Self {
        Self((location.group.0 as u128) << 64 | location.object.0 as u128)
    }

    /// The position after a location, where an interval ends of which it is the last.
    pub const fn after(location: Location) -> Self {
        Self::of(location).next()
    }

    /// The position after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this; none before the first.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The location that is here.
    #[expect(clippy::as_conversions, reason = "the halves of the number are wanted")]
    pub const fn location(self) -> Location {
        Location::new((self.0 >> 64) as u64, self.0 as u64)
    }

    /// The group that this is in.
    pub const fn group(self) -> GroupId {
        self.location().group
    }

    /// Whether a group begins here.
    pub const fn is_group_start(self) -> bool {
        self.location().object.0 == 0
    }

    /// The first position from here on at which a group begins, or [`END`](Self::END).
    #[must_use]
    pub const fn next_group_start(self) -> Self {
        if self.is_group_start() {
            self
        } else {
            Self::after_group(self.group())
        }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self::of(location)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.location(), f)
    }
}

/// The locations from one position up to, but without, another; none if they are the same or the wrong way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first.
    pub from: Position,
    /// The one after the last.
    pub to: Position,
}

impl Span {
    /// All locations but the last of all.
    pub const ALL: Self = Self {
        from: Position::START,
        to: Position::END,
    };

    /// From one position up to, but without, another.
    pub const fn new(from: Position, to: Position) -> Self {
        Self { from, to }
    }

    /// From one location to another, both included.
    pub const fn inclusive(first: Location, last: Location) -> Self {
        Self::new(Position::of(first), Position::after(last))
    }

    /// A group.
    pub const fn group(group: GroupId) -> Self {
        Self::new(Position::of_group(group), Position::after_group(group))
    }

    /// A location and all after it in its group: what an END_OF_GROUP there says does not exist.
    pub const fn rest_of_group(from: Location) -> Self {
        Self::new(Position::of(from), Position::after_group(from.group))
    }

    /// A location and all after it: what an END_OF_TRACK there says does not exist.
    pub const fn rest_of_track(from: Location) -> Self {
        Self::new(Position::of(from), Position::END)
    }

    /// What a PRIOR_OBJECT_ID_GAP of an object says does not exist. `None` if the gap is larger than the object's id.
    pub fn prior_objects(of: Location, gap: u64) -> Option<Self> {
        let first = of.object.0.checked_sub(gap)?;
        let from = Position::of(Location::new(of.group.0, first));
        Some(Self::new(from, Position::of(of)))
    }

    /// What a PRIOR_GROUP_ID_GAP of an object says does not exist. `None` if the gap is larger than the group's id.
    pub fn prior_groups(of: Location, gap: u64) -> Option<Self> {
        let first = GroupId(of.group.0.checked_sub(gap)?);
        Some(Self::new(
            Position::of_group(first),
            Position::of_group(of.group),
        ))
    }

    /// Whether there is no location in it.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether a position is in it.
    pub fn contains(&self, position: Position) -> bool {
        self.from <= position && position < self.to
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: Self) -> Self {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}", self.from, self.to)
    }
}

/// A set of locations as disjoint intervals, of which there are no more than a limit.
///
/// Intervals that touch are one. Beyond the limit those are forgotten that were not added to for longest, an eighth at
/// once, though never one that reaches [`Position::END`]: forgetting the end of a track would cost most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// By their beginnings.
    runs: BTreeMap<Position, Run>,
    max: usize,
    additions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    to: Position,
    /// Which addition touched it last.
    touched: u64,
}

impl Spans {
    /// An empty set of at most `max` intervals; of one at least.
    pub const fn new(max: usize) -> Self {
        Self {
            runs: BTreeMap::new(),
            max: if max == 0 { 1 } else { max },
            additions: 0,
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many intervals it consists of.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// The intervals in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Span> + '_ {
        self.runs.iter().map(|(from, run)| Span::new(*from, run.to))
    }

    /// The interval that a position is in.
    pub fn around(&self, position: Position) -> Option<Span> {
        self.before(position.next())
            .filter(|span| span.contains(position))
    }

    /// Whether a position is in it.
    pub fn contains(&self, position: Position) -> bool {
        self.around(position).is_some()
    }

    /// Whether all of a span is in it.
    pub fn covers(&self, span: Span) -> bool {
        span.is_empty() || self.around(span.from).is_some_and(|run| span.to <= run.to)
    }

    /// The first interval that begins at or after a position.
    pub fn after(&self, position: Position) -> Option<Span> {
        let (from, run) = self.runs.range(position..).next()?;
        Some(Span::new(*from, run.to))
    }

    /// The last interval that begins before a position; it may reach beyond it.
    pub fn before(&self, position: Position) -> Option<Span> {
        let (from, run) = self.runs.range(..position).next_back()?;
        Some(Span::new(*from, run.to))
    }

    /// The parts of a span that are not in it, in ascending order.
    pub fn missing(&self, span: Span) -> impl Iterator<Item = Span> + '_ {
        let mut at = span.from;
        std::iter::from_fn(move || {
            if let Some(run) = self.around(at) {
                at = run.to;
            }
            if at >= span.to {
                return None;
            }
            let next = self.after(at).map_or(span.to, |run| run.from);
            let hole = Span::new(at, next.min(span.to));
            at = hole.to;
            Some(hole)
        })
    }

    /// Adds a span.
    pub fn insert(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        self.additions += 1;
        let mut whole = span;
        // What begins at or before the end of the span and does not end before its beginning becomes a part of it.
        while let Some((from, run)) = self.runs.range(..=span.to).next_back() {
            if run.to < span.from {
                break;
            }
            let from = *from;
            whole = Span::new(whole.from.min(from), whole.to.max(run.to));
            self.runs.remove(&from);
        }
        let run = Run {
            to: whole.to,
            touched: self.additions,
        };
        self.runs.insert(whole.from, run);
        if self.runs.len() > self.max {
            self.shed();
        }
    }

    /// Takes a span out.
    pub fn remove(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        while let Some((from, run)) = self.runs.range(..span.to).next_back() {
            let (from, run) = (*from, *run);
            if run.to <= span.from {
                break;
            }
            self.runs.remove(&from);
            if run.to > span.to {
                self.runs.insert(span.to, run);
            }
            if from < span.from {
                let to = span.from;
                self.runs.insert(from, Run { to, ..run });
            }
        }
        if self.runs.len() > self.max {
            self.shed();
        }
    }

    /// Forgets the intervals that were not added to for longest.
    fn shed(&mut self) {
        let surplus = self.runs.len() - (self.max - self.max / 8);
        let mut ages: Vec<(u64, Position)> = self
            .runs
            .iter()
            .filter(|(_, run)| run.to != Position::END)
            .map(|(from, run)| (run.touched, *from))
            .collect();
        ages.sort_unstable();
        for (_, from) in ages.iter().take(surplus) {
            self.runs.remove(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(group: u64, object: u64) -> Position {
        Position::of(Location::new(group, object))
    }

    fn span(from: u64, to: u64) -> Span {
        Span::new(at(0, from), at(0, to))
    }

    #[test]
    fn positions_are_ordered_as_locations_are() {
        let locations = [(0, 0), (0, 1), (0, u64::MAX), (1, 0), (u64::MAX, 0)];
        let positions = locations.map(|(group, object)| at(group, object));
        assert!(positions.is_sorted());
        for (position, (group, object)) in positions.into_iter().zip(locations) {
            assert_eq!(position.location(), Location::new(group, object));
        }
        assert_eq!(at(0, u64::MAX).next(), at(1, 0));
        assert_eq!(at(1, 0).previous(), Some(at(0, u64::MAX)));
        assert_eq!(Position::START.previous(), None);
    }

    #[test]
    fn a_group_ends_where_the_next_begins() {
        assert_eq!(Span::group(GroupId(7)), Span::new(at(7, 0), at(8, 0)));
        let last = Span::group(GroupId(u64::MAX));
        assert_eq!(last.to, Position::END);
        assert!(last.contains(at(u64::MAX, u64::MAX - 1)));
        assert!(!last.contains(at(u64::MAX, u64::MAX)));
        let rest = Span::rest_of_group(Location::new(7, 3));
        assert_eq!(rest, Span::new(at(7, 3), at(8, 0)));
        assert_eq!(at(7, 1).next_group_start(), at(8, 0));
        assert_eq!(at(7, 0).next_group_start(), at(7, 0));
        assert_eq!(at(u64::MAX, 1).next_group_start(), Position::END);
    }

    #[test]
    fn gap_properties_tell_what_is_before_an_object() {
        let object = Location::new(10, 4);
        let objects = Span::prior_objects(object, 3).unwrap();
        assert_eq!(objects, Span::new(at(10, 1), at(10, 4)));
        let groups = Span::prior_groups(object, 2).unwrap();
        assert_eq!(groups, Span::new(at(8, 0), at(10, 0)));
        assert!(Span::prior_objects(object, 0).unwrap().is_empty());
        assert_eq!(Span::prior_objects(object, 5), None);
        assert_eq!(Span::prior_groups(object, 11), None);
    }

    #[test]
    fn intervals_that_touch_are_one() {
        let mut spans = Spans::new(10);
        spans.insert(span(0, 5));
        spans.insert(span(7, 9));
        assert_eq!(spans.len(), 2);
        spans.insert(span(5, 7));
        assert_eq!(spans.iter().collect::<Vec<_>>(), [span(0, 9)]);
        assert!(spans.covers(span(0, 9)) && !spans.covers(span(8, 10)));
    }

    #[test]
    fn beyond_the_limit_what_was_not_added_to_for_longest_is_forgotten() {
        let mut spans = Spans::new(8);
        for n in 0..8 {
            spans.insert(span(n * 10, n * 10 + 5));
        }
        spans.insert(span(3, 6)); // The first is touched again.
        assert_eq!(spans.len(), 8);
        spans.insert(span(100, 105));
        assert_eq!(spans.len(), 7);
        assert!(spans.contains(at(0, 0)) && spans.contains(at(0, 100)));
        assert!(!spans.contains(at(0, 10)) && !spans.contains(at(0, 20)));
    }

    #[test]
    fn the_interval_that_reaches_the_end_is_never_forgotten() {
        let mut spans = Spans::new(4);
        spans.insert(Span::rest_of_track(Location::new(9, 1)));
        for n in 0..100 {
            spans.insert(span(n * 10, n * 10 + 5));
        }
        assert!(spans.len() <= 4);
        assert!(spans.contains(at(9, 1)));
        let mut split = Spans::new(4);
        split.insert(Span::ALL);
        for n in 0..100 {
            split.remove(span(n * 2, n * 2 + 1));
            assert!(split.len() <= 4);
        }
        assert!(split.contains(at(9, 1)));
    }

    proptest! {
        #[test]
        fn spans_are_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..10), 0..60)) {
            let mut spans = Spans::new(1000);
            let mut naive = [false; 60];
            for (insert, from, length) in steps {
                let piece = span(from, from + length);
                if insert {
                    spans.insert(piece);
                } else {
                    spans.remove(piece);
                }
                for (id, known) in (0..).zip(naive.iter_mut()) {
                    if piece.contains(at(0, id)) {
                        *known = insert;
                    }
                    prop_assert_eq!(spans.contains(at(0, id)), *known);
                }
                let runs: Vec<Span> = spans.iter().collect();
                prop_assert!(runs.iter().all(|run| !run.is_empty()));
                prop_assert!(runs.windows(2).all(|pair| pair[0].to < pair[1].from));
                let holes: Vec<Span> = spans.missing(span(3, 55)).collect();
                for (id, known) in (0..).zip(naive.iter()) {
                    let hole = holes.iter().any(|hole| hole.contains(at(0, id)));
                    prop_assert_eq!(hole, (3..55).contains(&id) && !known);
                }
            }
        }
    }
}
