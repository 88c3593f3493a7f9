//! The way through a range of a track in either group order: what is left of it, and what comes next.

use crate::cache::{Cache, Look, LookBack, Object, TrackId};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::{Location, ObjectId};
use crate::wire::param::GroupOrder;

/// The largest object id that every draft can write: stands for the end of a group in a marker.
const LAST_OBJECT: ObjectId = ObjectId((1 << 62) - 1);

/// What is left of a range, in the order of a FETCH: objects ascend within a group in either order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// What comes first, in ascending order. In descending order of groups no more than one group.
    here: Span,
    /// What comes then, in descending order of groups; nothing if the order is ascending.
    below: Span,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// An object.
    Object(Location, Object),
    /// No objects exist in this span, with which the rest begins.
    Absent(Span),
    /// Nothing is known of this span, with which the rest begins.
    Missing(Span),
}

const fn nothing(at: Position) -> Span {
    Span::new(at, at)
}

impl Rest {
    /// All of a span.
    pub(super) const fn new(span: Span, order: GroupOrder) -> Self {
        match order {
            GroupOrder::Ascending => Self {
                here: span,
                below: nothing(span.from),
            },
            GroupOrder::Descending => Self {
                here: nothing(span.to),
                below: span,
            },
        }
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        self.here.contains(position) || self.below.contains(position)
    }

    /// Whether something of a span is left.
    pub(super) fn meets(&self, span: Span) -> bool {
        self.parts()
            .iter()
            .any(|part| !part.intersection(span).is_empty())
    }

    /// What is left, as spans in the order in which they come.
    pub(super) const fn parts(&self) -> [Span; 2] {
        [self.here, self.below]
    }

    /// The position that comes first.
    pub(super) fn first(&self) -> Option<Position> {
        if !self.here.is_empty() {
            return Some(self.here.from);
        }
        Some(self.top()?.from)
    }

    /// Nothing from this position on is wanted.
    pub(super) fn clip(&mut self, to: Position) {
        for part in [&mut self.here, &mut self.below] {
            part.to = part.to.min(to).max(part.from);
        }
    }

    /// The group that comes next, as far as it is in the range.
    fn top(&self) -> Option<Span> {
        let last = self
            .below
            .to
            .previous()
            .filter(|_| !self.below.is_empty())?;
        let group = Span::group(last.group());
        Some(group.intersection(self.below))
    }

    /// Makes the next group the one that is here, if none is.
    pub(super) fn enter_group(&mut self) {
        if self.here.is_empty()
            && let Some(top) = self.top()
        {
            self.enter(top);
        }
    }

    fn enter(&mut self, group: Span) {
        self.here = group;
        self.below.to = group.from;
    }

    /// Whether a span with which the rest begins may reach over several groups, the last of them first.
    pub(super) fn is_between_groups(&self) -> bool {
        self.here.is_empty()
    }

    /// Leaves behind a span with which the rest begins.
    pub(super) fn pass(&mut self, span: Span) {
        if self.here.is_empty() {
            self.below.to = self.below.to.min(span.from).max(self.below.from);
        } else {
            self.here.from = span.to;
        }
    }

    /// What comes next, as far as the cache knows; `None` at the end.
    pub(super) fn step(&mut self, now: Time, cache: &mut Cache, track: TrackId) -> Option<Step> {
        while self.here.is_empty() {
            let Span { from, to } = self.below;
            match cache.look_back(now, track, from, to)? {
                LookBack::Group(_) => self.enter_group(),
                LookBack::Absent(begin) => return Some(Step::Absent(Span::new(begin, to))),
                LookBack::Missing(begin) => return Some(Step::Missing(Span::new(begin, to))),
            }
        }
        let Span { from, to } = self.here;
        Some(match cache.look(now, track, from, to)? {
            Look::Object(location, object) => Step::Object(location, object),
            Look::Absent(end) => Step::Absent(Span::new(from, end)),
            Look::Missing(end) => Step::Missing(Span::new(from, end)),
        })
    }

    /// Goes on to a location, which is then the first of what is left, and tells what lies before it. `None` if it is not
    /// in what is left.
    pub(super) fn go_to(&mut self, at: Position) -> Option<Vec<Span>> {
        if !self.contains(at) {
            return None;
        }
        let mut passed = Vec::new();
        if !self.here.contains(at) {
            passed.push(self.here);
            let group = Span::group(at.group()).intersection(self.below);
            passed.push(Span::new(group.to, self.below.to));
            self.enter(group);
        }
        passed.push(Span::new(self.here.from, at));
        self.here.from = at;
        passed.retain(|span| !span.is_empty());
        Some(passed)
    }

    /// Goes on to behind a location, or to the end of what is left if it ends before, and tells what lies before that.
    /// `None` if the location is before what is left.
    pub(super) fn go_behind(&mut self, last: Location) -> Option<Vec<Span>> {
        let end = if last.object >= LAST_OBJECT {
            Position::after_group(last.group)
        } else {
            Position::after(last)
        };
        let last = Position::of(last);
        if self.here.contains(last) {
            let whole = Span::new(self.here.from, end.min(self.here.to));
            self.here.from = whole.to;
            return Some(vec![whole]);
        }
        let is_beyond_here = !self.here.is_empty() && last >= self.here.to;
        if is_beyond_here && (self.below.is_empty() || self.here.from.group() == last.group()) {
            // All that is here: to the end of the range, or of the group.
            let whole = self.here;
            self.here.from = self.here.to;
            return Some(vec![whole]);
        }
        if self.below.contains(last) {
            let mut passed = self.go_to(last)?;
            self.here.from = end.min(self.here.to);
            passed.push(Span::new(last, self.here.from));
            return Some(passed);
        }
        // A descending range ends within a group, and the location is after that end: all of the group that is asked for.
        let top = self.top().filter(|_| self.here.is_empty())?;
        let same_group = top.from.group() == last.group() && last >= top.to;
        if same_group {
            self.below.to = top.from;
            return Some(vec![top]);
        }
        None
    }

    /// All that is left, and nothing is any more.
    pub(super) fn finish(&mut self) -> Vec<Span> {
        let parts = self.parts();
        self.here.from = self.here.to;
        self.below.to = self.below.from;
        let left = parts.into_iter().filter(|span| !span.is_empty());
        left.collect()
    }
}

/// The location that stands for the end of a span in a marker (§ End of Range): its last one in this order.
pub(super) fn last_of(span: Span, order: GroupOrder) -> Location {
    let last = span.to.previous().unwrap_or_default().location();
    let first = span.from.location();
    let is_several = first.group != last.group;
    let mut at = match order {
        GroupOrder::Descending if is_several => Location {
            group: first.group,
            object: ObjectId(u64::MAX),
        },
        GroupOrder::Ascending | GroupOrder::Descending => last,
    };
    let begins_beyond = at.group == first.group && first.object > LAST_OBJECT;
    if at.object.0 == u64::MAX && !begins_beyond {
        at.object = LAST_OBJECT;
    }
    at
}

/// The end of a range as a FETCH has it: the last object plus one; object 0 stands for all of the group.
pub(super) fn end_of_range(end: Location) -> Position {
    if end.object.0 == 0 {
        Position::after_group(end.group)
    } else {
        Position::of(end)
    }
}

/// A range's end as FETCH and FETCH_OK have it, where the range starts at `start`.
pub(super) fn wire_end(start: Position, end: Position) -> Location {
    let before = end
        .previous()
        .filter(|_| end.is_group_start() && end > start);
    match before {
        Some(last) => Location {
            group: last.group(),
            object: ObjectId(0),
        },
        None => end.location(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: GroupOrder = GroupOrder::Ascending;
    const DOWN: GroupOrder = GroupOrder::Descending;

    const fn at(group: u64, object: u64) -> Location {
        Location::new(group, object)
    }

    fn span(from: (u64, u64), to: (u64, u64)) -> Span {
        let position = |(group, object)| Position::of(at(group, object));
        Span::new(position(from), position(to))
    }

    /// The locations of spans, those far into a group left out.
    fn places(spans: &[Span]) -> Vec<(u64, u64)> {
        let all = (0..6).flat_map(|group| (0..6).map(move |object| (group, object)));
        let is_in = |place: &(u64, u64)| {
            let position = Position::of(at(place.0, place.1));
            spans.iter().filter(|span| span.contains(position)).count() == 1
        };
        all.filter(is_in).collect()
    }

    #[test]
    fn ends_are_written_as_the_last_object_plus_one_or_as_all_of_a_group() {
        let start = Position::of(at(3, 0));
        for end in [at(3, 1), at(3, 0), at(5, 0), at(5, 7), at(u64::MAX - 1, 0)] {
            assert_eq!(wire_end(start, end_of_range(end)), end);
        }
        // The largest object of all in its group: all of the group.
        let after = Position::after(at(3, u64::MAX));
        assert_eq!(wire_end(start, after), at(3, 0));
        // A range of nothing at the beginning of a group cannot end in the one before.
        assert_eq!(wire_end(start, start), at(3, 0));
        // The end of all numbers.
        let end = end_of_range(at(u64::MAX, 0));
        assert_eq!(end, Position::END);
        assert_eq!(end_of_range(at(u64::MAX, u64::MAX)), Position::END);
        assert_eq!(wire_end(start, end), at(u64::MAX, u64::MAX));
    }

    #[test]
    fn the_end_of_a_span_is_its_last_location_in_the_order() {
        let last = LAST_OBJECT.0;
        assert_eq!(last_of(span((1, 2), (1, 5)), UP), at(1, 4));
        assert_eq!(last_of(span((1, 2), (1, 5)), DOWN), at(1, 4));
        assert_eq!(last_of(span((1, 2), (3, 5)), UP), at(3, 4));
        assert_eq!(last_of(span((1, 2), (3, 0)), UP), at(2, last));
        assert_eq!(last_of(span((1, 2), (3, 5)), DOWN), at(1, last));
        // An object that draft 16 has no number for.
        let beyond = span((1, 1 << 63), (2, 0));
        assert_eq!(last_of(beyond, UP), at(1, u64::MAX));
    }

    #[test]
    fn a_marker_beyond_the_end_ends_the_range_and_one_before_the_beginning_is_an_error() {
        for order in [UP, DOWN] {
            let mut rest = Rest::new(span((1, 2), (1, 5)), order);
            assert_eq!(rest.go_to(Position::of(at(1, 5))), None);
            assert_eq!(
                rest.go_behind(at(1, 9)),
                Some(vec![span((1, 2), (1, 5))]),
                "{order:?}"
            );
            assert_eq!(rest.first(), None);
            let mut rest = Rest::new(span((1, 2), (1, 5)), order);
            rest.go_behind(at(1, 3)).unwrap();
            assert_eq!(rest.go_behind(at(1, 2)), None);
            assert_eq!(rest.first(), Some(Position::of(at(1, 4))));
        }
        let mut rest = Rest::new(span((1, 2), (3, 0)), DOWN);
        let whole = rest.go_behind(at(2, LAST_OBJECT.0)).unwrap();
        assert_eq!(places(&whole), places(&[span((2, 0), (3, 0))]));
        assert_eq!(rest.first(), Some(Position::of(at(1, 2))));
    }

    proptest! {
        /// What was passed and what is left make up the range, each location once.
        #[test]
        fn nothing_of_a_range_is_lost_or_told_twice(
            from in (0_u64..5, 0_u64..5),
            length in 1_u64..40,
            is_down in any::<bool>(),
            steps in prop::collection::vec((0_u64..6, 0_u64..6, 0_usize..4), 0..12),
        ) {
            let to = (from.0 + length / 6, from.1 + length % 6);
            let all = span(from, to);
            let order = if is_down { DOWN } else { UP };
            let mut rest = Rest::new(all, order);
            let mut told: Vec<Span> = Vec::new();
            let mut end = all.to;
            for (group, object, kind) in steps {
                let here = at(group, object);
                let before = rest.clone();
                let passed = match kind {
                    0 => rest.go_to(Position::of(here)),
                    1 => rest.go_behind(here),
                    2 if told.is_empty() => {
                        rest.clip(Position::of(here).max(all.from));
                        end = end.min(Position::of(here).max(all.from));
                        Some(Vec::new())
                    }
                    _ => {
                        rest.enter_group();
                        Some(Vec::new())
                    }
                };
                match passed {
                    Some(passed) => told.extend(passed),
                    None => prop_assert_eq!(&rest, &before),
                }
                let mut parts = told.clone();
                parts.extend(rest.parts());
                let wanted = places(&[Span::new(all.from, end)]);
                prop_assert_eq!(places(&parts), wanted, "{:?}", rest);
            }
            told.extend(rest.finish());
            prop_assert_eq!(rest.first(), None);
            prop_assert_eq!(places(&told), places(&[Span::new(all.from, end)]));
        }
    }
}
