//! Sets of ids as few intervals.

/// A set of numbers, kept as disjoint intervals in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The interval at or after which `id` lies: the number of intervals that end before `id`.
    fn position(&self, id: u64) -> usize {
        self.0.partition_point(|(_, last)| *last < id)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.0
            .get(self.position(id))
            .is_some_and(|(first, _)| *first <= id)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Whether all numbers from 0 to `last` are in the set.
    pub(super) fn covers_up_to(&self, last: u64) -> bool {
        self.0
            .first()
            .is_some_and(|(first, end)| *first == 0 && *end >= last)
    }

    /// Adds `id`. If that makes more than `most` intervals, the lowest gap is closed: its numbers count as present.
    pub(super) fn insert(&mut self, id: u64, most: usize) {
        let at = self.position(id);
        if self.contains(id) {
            return;
        }
        let touches_next = self.0.get(at).is_some_and(|(first, _)| *first - 1 == id);
        let before = at.checked_sub(1);
        let touches_before = before
            .and_then(|before| self.0.get(before))
            .is_some_and(|(_, last)| *last + 1 == id);
        match (touches_before, touches_next) {
            (true, true) => {
                let (_, last) = self.0.remove(at);
                self.extend_to(before, last);
            }
            (true, false) => self.extend_to(before, id),
            (false, true) => {
                if let Some(next) = self.0.get_mut(at) {
                    next.0 = id;
                }
            }
            (false, false) => self.0.insert(at, (id, id)),
        }
        while self.0.len() > most.max(1) {
            let (_, last) = self.0.remove(1);
            self.extend_to(Some(0), last);
        }
    }

    fn extend_to(&mut self, index: Option<usize>, last: u64) {
        if let Some(range) = index.and_then(|index| self.0.get_mut(index)) {
            range.1 = last;
        }
    }

    /// Takes `id` out.
    pub(super) fn remove(&mut self, id: u64) {
        let at = self.position(id);
        let Some(&(first, last)) = self.0.get(at).filter(|(first, _)| *first <= id) else {
            return;
        };
        self.0.remove(at);
        if id < last {
            self.0.insert(at, (id + 1, last));
        }
        if first < id {
            self.0.insert(at, (first, id - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..40), 0..200)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (insert, id) in steps {
                if insert {
                    ranges.insert(id, 1000);
                    set.insert(id);
                } else {
                    ranges.remove(id);
                    set.remove(&id);
                }
                for id in 0..42 {
                    prop_assert_eq!(ranges.contains(id), set.contains(&id));
                }
                prop_assert_eq!(ranges.last(), set.last().copied());
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
                prop_assert_eq!(ranges.covers_up_to(5), (0..=5).all(|id| set.contains(&id)));
            }
        }
    }

    #[test]
    fn too_many_gaps_are_closed_from_below() {
        let mut ranges = Ranges::default();
        for id in 0..10 {
            ranges.insert(id * 10, 3);
        }
        assert_eq!(ranges.0, [(0, 70), (80, 80), (90, 90)]);
    }

    #[test]
    fn the_largest_id_is_an_id_like_others() {
        let mut ranges = Ranges::default();
        ranges.insert(u64::MAX, 3);
        ranges.insert(u64::MAX - 1, 3);
        ranges.insert(0, 3);
        assert_eq!(ranges.0, [(0, 0), (u64::MAX - 1, u64::MAX)]);
        ranges.remove(u64::MAX);
        assert_eq!(ranges.last(), Some(u64::MAX - 1));
    }
}
