//! Deadlines of many connections: one entry each, moved only when it gets earlier.

use std::collections::BTreeSet;
use std::time::Instant;

/// Deadlines by key, soonest first.
///
/// A connection's deadline changes with almost every packet, nearly always to later. So an entry stays where it is when
/// the deadline moves away, fires early once, and is then set again: far fewer moves than changes.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    entries: BTreeSet<(Instant, K)>,
}

/// Where a key's entry is; kept by its owner and handed to every call.
#[derive(Debug, Default)]
pub(crate) struct Entry(Option<Instant>);

impl<K: Copy + Ord> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: BTreeSet::new(),
        }
    }

    /// Fire at `deadline` or earlier.
    pub(crate) fn arm(&mut self, key: K, entry: &mut Entry, deadline: Instant) {
        if entry.0.is_some_and(|at| at <= deadline) {
            return;
        }
        self.disarm(key, entry);
        self.entries.insert((deadline, key));
        entry.0 = Some(deadline);
    }

    /// Forget the key.
    pub(crate) fn disarm(&mut self, key: K, entry: &mut Entry) {
        if let Some(at) = entry.0.take() {
            self.entries.remove(&(at, key));
        }
    }

    /// When the next entry fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// The next key whose entry is due. Its owner must call [`Entry::fired`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, key)| key)
    }
}

impl Entry {
    /// The entry was popped.
    pub(crate) const fn fired(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn later_deadline_keeps_the_entry_and_earlier_one_moves_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut entry) = (Timers::new(), Entry::default());
        timers.arm('a', &mut entry, at(10));
        timers.arm('a', &mut entry, at(20));
        assert_eq!(timers.next(), Some(at(10)));
        timers.arm('a', &mut entry, at(5));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.entries.len(), 1);
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(5)), Some('a'));
        entry.fired();
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn keys_fire_in_order_of_time() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let mut entries = [Entry::default(), Entry::default(), Entry::default()];
        for (key, (entry, ms)) in entries.iter_mut().zip([30, 10, 20]).enumerate() {
            timers.arm(key, entry, start + Duration::from_millis(ms));
        }
        timers.disarm(2, &mut entries[2]);
        let late = start + Duration::from_secs(1);
        assert_eq!(timers.pop_due(late), Some(1));
        assert_eq!(timers.pop_due(late), Some(0));
        assert_eq!(timers.pop_due(late), None);
    }
}
