//! What is held over all tracks, and in which order it would go.

use std::collections::{BTreeMap, BTreeSet};

use super::TrackId;
use super::track::Track;
use crate::time::Time;
use crate::wire::id::GroupId;

/// The accounts of a cache. Whoever changes a track enters it here.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Bytes of all objects.
    pub(super) used: u64,
    /// Of these, the bytes in groups that fills pin.
    pub(super) filled: u64,
    /// Counts uses, so that any two are in an order.
    uses: u64,
    /// Groups that may go, by their last use.
    pub(super) groups: BTreeMap<u64, (TrackId, GroupId)>,
    /// Tracks that may go, by their last use.
    pub(super) idle: BTreeMap<u64, TrackId>,
    /// Tracks whose live group may lose objects, by its bytes.
    pub(super) live: BTreeSet<(u64, TrackId)>,
    /// When to look at a group again: at its deadline, or before.
    pub(super) deadlines: BTreeSet<(Time, TrackId, GroupId)>,
    /// Tracks that count towards the limit.
    pub(super) kept: usize,
}

impl Books {
    /// The place in an order of what is used now.
    pub(super) const fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Drops the groups of a track, but those that fills pin only if `all`.
    pub(super) fn drop_groups(&mut self, track: &mut Track, all: bool) {
        let groups: Vec<GroupId> = track.groups.keys().copied().collect();
        for group in groups {
            if all || !track.pins.contains_key(&group) {
                track.drop_group(group, self);
            }
        }
    }
}
