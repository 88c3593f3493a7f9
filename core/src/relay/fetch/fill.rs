//! A FETCH of ours: a range of a track that the cache does not know, asked for at one publisher for all who wait for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::routes::Origin;
use super::order::Rest;
use crate::cache;
use crate::ledger::{Ledger, Payload};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::{GroupId, Location, SubgroupId};
use crate::wire::name::FullTrackName;
use crate::wire::param::GroupOrder;
use crate::wire::property::Properties;

/// A fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FillId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Fill {
    pub(super) name: FullTrackName,
    pub(super) track: cache::TrackId,
    /// What was asked for.
    pub(super) span: Span,
    pub(super) order: GroupOrder,
    /// What the publisher has not told of yet.
    pub(super) rest: Rest,
    /// Our FETCH at the publisher.
    pub(super) at: Origin,
    /// Everything was received; kept until somebody has read it.
    pub(super) done: bool,
    /// Where the range ends, by FETCH_OK.
    pub(super) end: Option<Position>,
    /// The stream ended, before FETCH_OK.
    pub(super) ended: bool,
    /// When the publisher should have answered.
    pub(super) deadline: Option<Time>,
    /// When something arrived last.
    pub(super) heard: Time,
    /// Spans without objects, if the answer says that the range reaches over them.
    pub(super) presumed: Vec<Span>,
    pub(super) partial: Option<Partial>,
    pub(super) ahead: Ahead,
    pub(super) waiters: BTreeSet<Origin>,
    pub(super) paused: bool,
}

/// The object that is being received.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) location: Location,
    pub(super) subgroup: Option<SubgroupId>,
    pub(super) priority: u8,
    pub(super) properties: Properties,
    pub(super) length: u64,
    pub(super) payload: Payload,
    pub(super) arrived: Time,
}

/// What a fill brought that none of its waiters has read: kept in the cache by pins on the groups.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    objects: VecDeque<(Location, u64)>,
    pub(super) bytes: u64,
    /// How many of the objects are in each pinned group.
    pins: BTreeMap<GroupId, usize>,
    /// The group of the last object.
    current: Option<GroupId>,
}

impl Fill {
    /// Whether it will tell of a position.
    pub(super) fn covers(&self, position: Position) -> bool {
        !self.done && self.rest.contains(position)
    }

    /// Whether nobody waits for it now: it is held back by its readers.
    pub(super) const fn is_idle(&self) -> bool {
        self.paused || self.done
    }
}

impl Partial {
    /// Takes a piece of the payload; false if there is no memory for it. To be called again with the rest then:
    /// `taken` tells how many bytes were taken so far.
    pub(super) fn append(&mut self, ledger: &Ledger, bytes: &[u8], taken: &mut usize) -> bool {
        let before = self.payload.length();
        let left = self.length.saturating_sub(before);
        let rest = bytes.get(*taken..).unwrap_or_default();
        let appended = self.payload.append(ledger, left, rest);
        let grown = self.payload.length() - before;
        *taken = taken.saturating_add(usize::try_from(grown).unwrap_or(usize::MAX));
        appended
    }

    /// The object, once all of it was received.
    pub(super) fn complete(&mut self) -> Option<cache::Object> {
        let payload = self.payload.pieces(self.length)?;
        Some(cache::Object {
            subgroup: self.subgroup,
            priority: self.priority,
            properties: self.properties.clone(),
            payload,
            arrived: self.arrived,
        })
    }
}

impl Ahead {
    /// An object of this group begins. The groups to unpin; true if this one is to be pinned.
    pub(super) fn begin(&mut self, group: GroupId) -> (Option<GroupId>, bool) {
        let before = self
            .current
            .replace(group)
            .filter(|before| *before != group);
        let left = before.filter(|before| self.pins.get(before) == Some(&0));
        if let Some(left) = left {
            self.pins.remove(&left);
        }
        let is_new = !self.pins.contains_key(&group);
        self.pins.entry(group).or_insert(0);
        (left, is_new)
    }

    /// An object of the current group is in the cache.
    pub(super) fn push(&mut self, location: Location, cost: u64) {
        self.bytes = self.bytes.saturating_add(cost);
        self.objects.push_back((location, cost));
        *self.pins.entry(location.group).or_insert(0) += 1;
    }

    /// The first object that was not read.
    pub(super) fn front(&self) -> Option<Location> {
        self.objects.front().map(|(location, _)| *location)
    }

    /// The first object was read. The group to unpin, if it was the last of it.
    pub(super) fn pop(&mut self) -> Option<GroupId> {
        let (location, cost) = self.objects.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost);
        let left = self.pins.get_mut(&location.group)?;
        *left = left.saturating_sub(1);
        if *left > 0 || self.current == Some(location.group) {
            return None;
        }
        self.pins.remove(&location.group);
        Some(location.group)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The groups that are pinned.
    pub(super) fn pinned(&self) -> Vec<GroupId> {
        self.pins.keys().copied().collect()
    }
}
