//! What holds of FETCHes and fills between any two calls, for tests.

use std::collections::BTreeSet;

use super::{Due, Fetching};

impl Fetching {
    /// The tables agree with one another, and nobody waits for nothing.
    #[track_caller]
    pub(in crate::relay) fn assert_consistent(&self) {
        let mut due = BTreeSet::new();
        for (origin, fetch) in &self.fetches {
            let past = &self.tracks[&fetch.name];
            assert!(past.fetches.contains(origin));
            for id in &fetch.fills {
                assert!(self.fills[id].waiters.contains(origin));
            }
            if fetch.hungry || !fetch.is_serving() {
                assert!(fetch.starved.is_some(), "{origin:?} is stuck: {fetch:?}");
                let awaits = !fetch.fills.is_empty()
                    || past.arrivals.contains(origin)
                    || self.crowded.contains(origin);
                assert!(awaits, "{origin:?} waits for nothing: {fetch:?}");
            }
            let deadline = fetch.starved.map(|starved| starved.deadline);
            assert_eq!(fetch.armed, deadline, "{fetch:?}");
            due.extend(deadline.map(|deadline| (deadline, Due::Fetch(*origin))));
        }
        for (id, fill) in &self.fills {
            assert!(self.tracks[&fill.name].fills.contains(id));
            assert_eq!(self.asked.get(&fill.at) == Some(id), !fill.done);
            assert!(!fill.waiters.is_empty(), "nobody waits for {fill:?}");
            for origin in &fill.waiters {
                assert!(self.fetches[origin].fills.contains(id));
            }
            due.extend(fill.deadline.map(|deadline| (deadline, Due::Fill(*id))));
        }
        for past in self.tracks.values() {
            assert!(
                past.live.is_some() || !past.fetches.is_empty() || !past.fills.is_empty(),
                "{past:?}"
            );
            assert!(past.fetches.iter().all(|id| self.fetches.contains_key(id)));
            assert!(past.fills.iter().all(|id| self.fills.contains_key(id)));
            assert!(past.arrivals.is_subset(&past.fetches));
        }
        assert!(self.asked.values().all(|id| self.fills.contains_key(id)));
        let crowded = self.crowded.iter();
        assert!(crowded.clone().all(|id| self.fetches.contains_key(id)));
        assert_eq!(self.deadlines, due);
        assert!(self.ready.is_empty() && self.touched.is_empty());
    }

    /// The cache loses what no fill needs.
    pub(in crate::relay) fn relieve_all(&mut self) {
        self.cache.relieve(u64::MAX);
    }

    /// Nothing is left but what is cached, and that goes when it is asked to.
    #[track_caller]
    pub(in crate::relay) fn assert_empty(&mut self) {
        self.assert_consistent();
        assert!(self.fetches.is_empty(), "{:?}", self.fetches);
        assert!(self.fills.is_empty(), "{:?}", self.fills);
        assert!(self.tracks.is_empty(), "{:?}", self.tracks);
        self.relieve_all();
        assert_eq!(self.cache.used(), 0);
        assert!(self.cache.is_empty(), "{:?}", self.cache);
        assert!(self.bringers.len() <= self.cache.limits().max_tracks);
    }
}
