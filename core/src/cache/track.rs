//! What is cached of one track.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::books::Books;
use super::object::Object;
use super::{Limits, TrackId};
use crate::draft::Draft;
use crate::span::{Position, Spans};
use crate::time::Time;
use crate::wire::id::{GroupId, Location, ObjectId};
use crate::wire::name::FullTrackName;
use crate::wire::property::Properties;

/// Objects of one group; at least one.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) objects: BTreeMap<ObjectId, Object>,
    /// What they cost.
    bytes: u64,
    /// Its place among the groups that may go; `None` while it is pinned.
    place: Option<u64>,
    /// When the last object was added.
    inserted: Time,
    /// The objects that expire, by when they arrived; empty if none does.
    arrivals: BTreeSet<(Time, ObjectId)>,
    /// Objects that fills brought which still pin the group: whoever waits for them gets them, however late.
    awaited: Vec<ObjectId>,
    /// When it is to be looked at again, as entered in the books.
    deadline: Option<Time>,
}

/// What is known of a track.
#[derive(Debug)]
pub(super) struct Track {
    id: TrackId,
    pub(super) name: FullTrackName,
    /// How often it was opened and not closed.
    pub(super) opened: usize,
    /// Whether it counts towards the limit of tracks, and so keeps groups that no fill pins.
    pub(super) kept: bool,
    /// Its place among the tracks that may go.
    place: Option<u64>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// The groups that may go, by their last use.
    recent: BTreeMap<u64, GroupId>,
    /// How many fills pin a group.
    pub(super) pins: BTreeMap<GroupId, u32>,
    pub(super) live: Option<GroupId>,
    /// The live group's bytes, as entered in the books.
    weighed: Option<u64>,
    /// Where no objects exist.
    pub(super) absent: Spans,
    /// The part of it that the publisher itself told of.
    pub(super) stated: Spans,
    pub(super) largest: Option<Location>,
    pub(super) max_duration: Option<Duration>,
    pub(super) told: Option<(Properties, Draft)>,
}

impl Track {
    pub(super) fn new(id: TrackId, name: FullTrackName, limits: &Limits) -> Self {
        Self {
            id,
            name,
            opened: 0,
            kept: false,
            place: None,
            groups: BTreeMap::new(),
            recent: BTreeMap::new(),
            pins: BTreeMap::new(),
            live: None,
            weighed: None,
            absent: Spans::new(limits.max_gaps_per_track),
            stated: Spans::new(limits.max_gaps_per_track),
            largest: None,
            max_duration: None,
            told: None,
        }
    }

    pub(super) fn object(&self, at: Location) -> Option<&Object> {
        self.groups.get(&at.group)?.objects.get(&at.object)
    }

    /// Where the first object at or after a position is.
    pub(super) fn object_after(&self, from: Position) -> Option<Position> {
        let Location { group, object } = from.location();
        let within = self
            .groups
            .get(&group)
            .and_then(|held| held.objects.range(object..).next())
            .map(|(object, _)| (group, *object));
        let beyond = || {
            let later = (Bound::Excluded(group), Bound::Unbounded);
            let (id, held) = self.groups.range(later).next()?;
            Some((*id, *held.objects.first_key_value()?.0))
        };
        let (group, object) = within.or_else(beyond)?;
        Some(Position::of(Location { group, object }))
    }

    /// Where the last object before a position is.
    pub(super) fn object_before(&self, to: Position) -> Option<Position> {
        let Location { group, object } = to.previous()?.location();
        let within = self
            .groups
            .get(&group)
            .and_then(|held| held.objects.range(..=object).next_back())
            .map(|(object, _)| (group, *object));
        let below = || {
            let (id, held) = self.groups.range(..group).next_back()?;
            Some((*id, *held.objects.last_key_value()?.0))
        };
        let (group, object) = within.or_else(below)?;
        Some(Position::of(Location { group, object }))
    }

    /// Whether a group is spared: a fill needs it, or it is being published.
    pub(super) fn is_pinned(&self, group: GroupId) -> bool {
        self.pins.contains_key(&group) || self.kept && self.live == Some(group)
    }

    /// Adds an object that is not there yet.
    pub(super) fn store(
        &mut self,
        now: Time,
        at: Location,
        object: Object,
        limits: &Limits,
        books: &mut Books,
    ) {
        let group = self.groups.entry(at.group).or_insert_with(|| Group {
            objects: BTreeMap::new(),
            bytes: 0,
            place: None,
            inserted: now,
            arrivals: BTreeSet::new(),
            awaited: Vec::new(),
            deadline: None,
        });
        let cost = object.cost();
        group.inserted = now;
        group.bytes = group.bytes.saturating_add(cost);
        books.used = books.used.saturating_add(cost);
        let filled = self.pins.contains_key(&at.group);
        if filled {
            books.filled = books.filled.saturating_add(cost);
        }
        if self.max_duration.is_some() {
            if filled {
                group.awaited.push(at.object);
            } else {
                group.arrivals.insert((object.arrived, at.object));
            }
        }
        group.objects.insert(at.object, object);
        self.settle(at.group, books);
        self.touch(at.group, books);
        self.arm(at.group, limits, books);
    }

    /// Puts other properties in the place of an object's.
    pub(super) fn renew(&mut self, at: Location, properties: Properties, books: &mut Books) {
        let Some(group) = self.groups.get_mut(&at.group) else {
            return;
        };
        let Some(object) = group.objects.get_mut(&at.object) else {
            return;
        };
        let before = object.cost();
        object.properties = properties;
        let after = object.cost();
        let change = |total: u64| total.saturating_sub(before).saturating_add(after);
        group.bytes = change(group.bytes);
        books.used = change(books.used);
        if self.pins.contains_key(&at.group) {
            books.filled = change(books.filled);
        }
        self.weigh(books);
    }

    /// Takes an object out, and its group if it was the last. What it cost.
    fn take(&mut self, at: Location, books: &mut Books) -> u64 {
        let Some(group) = self.groups.get_mut(&at.group) else {
            return 0;
        };
        let Some(object) = group.objects.remove(&at.object) else {
            return 0;
        };
        group.arrivals.remove(&(object.arrived, at.object));
        let cost = object.cost();
        group.bytes = group.bytes.saturating_sub(cost);
        books.used = books.used.saturating_sub(cost);
        if self.pins.contains_key(&at.group) {
            books.filled = books.filled.saturating_sub(cost);
        }
        if group.objects.is_empty() {
            self.drop_group(at.group, books);
        } else {
            self.weigh(books);
        }
        cost
    }

    /// Takes the lowest object of the live group out. What it cost.
    pub(super) fn trim_live(&mut self, books: &mut Books) -> u64 {
        let lowest = self.live.and_then(|group| {
            let (object, _) = self.groups.get(&group)?.objects.first_key_value()?;
            Some(Location {
                group,
                object: *object,
            })
        });
        lowest.map_or(0, |at| self.take(at, books))
    }

    /// Drops a group. What its objects cost.
    pub(super) fn drop_group(&mut self, id: GroupId, books: &mut Books) -> u64 {
        let Some(group) = self.groups.remove(&id) else {
            return 0;
        };
        books.used = books.used.saturating_sub(group.bytes);
        if self.pins.contains_key(&id) {
            books.filled = books.filled.saturating_sub(group.bytes);
        }
        if let Some(place) = group.place {
            books.groups.remove(&place);
            self.recent.remove(&place);
        }
        if let Some(deadline) = group.deadline {
            books.deadlines.remove(&(deadline, self.id, id));
        }
        self.weigh(books);
        group.bytes
    }

    /// Drops the groups used least recently that are more than the limit.
    pub(super) fn drop_surplus(&mut self, limits: &Limits, books: &mut Books) {
        while self.groups.len() > limits.max_groups_per_track {
            let Some((_, oldest)) = self.recent.first_key_value() else {
                return;
            };
            self.drop_group(*oldest, books);
        }
    }

    /// A fill needs a group.
    pub(super) fn pin(&mut self, id: GroupId, books: &mut Books) {
        let count = self.pins.entry(id).or_insert(0);
        *count += 1;
        if *count == 1
            && let Some(group) = self.groups.get(&id)
        {
            books.filled = books.filled.saturating_add(group.bytes);
        }
        self.settle(id, books);
    }

    /// A fill does not need a group any more; or none does, if `all`.
    pub(super) fn unpin(&mut self, id: GroupId, all: bool, limits: &Limits, books: &mut Books) {
        let Some(count) = self.pins.get_mut(&id) else {
            return;
        };
        *count -= 1;
        if *count > 0 && !all {
            return;
        }
        self.pins.remove(&id);
        if let Some(group) = self.groups.get_mut(&id) {
            books.filled = books.filled.saturating_sub(group.bytes);
            for object in std::mem::take(&mut group.awaited) {
                if let Some(held) = group.objects.get(&object) {
                    group.arrivals.insert((held.arrived, object));
                }
            }
        }
        self.settle(id, books);
        self.arm(id, limits, books);
    }

    /// Says which group is being published.
    pub(super) fn set_live(&mut self, live: Option<GroupId>, limits: &Limits, books: &mut Books) {
        let before = std::mem::replace(&mut self.live, live);
        for group in [before, live].into_iter().flatten() {
            self.settle(group, books);
            self.arm(group, limits, books);
        }
        self.weigh(books);
    }

    /// Puts a group where it belongs after something changed that may pin it.
    pub(super) fn settle(&mut self, id: GroupId, books: &mut Books) {
        let pinned = self.is_pinned(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        match group.place {
            _ if !pinned && !self.kept => {
                self.drop_group(id, books);
            }
            Some(place) if pinned => {
                group.place = None;
                books.groups.remove(&place);
                self.recent.remove(&place);
            }
            None if !pinned => {
                let place = books.next_use();
                group.place = Some(place);
                books.groups.insert(place, (self.id, id));
                self.recent.insert(place, id);
            }
            Some(_) | None => {}
        }
        self.weigh(books);
    }

    /// A group is used.
    pub(super) fn touch(&mut self, id: GroupId, books: &mut Books) {
        if let Some(group) = self.groups.get_mut(&id)
            && let Some(place) = group.place
            && books
                .groups
                .last_key_value()
                .is_some_and(|(last, _)| *last != place)
        {
            books.groups.remove(&place);
            self.recent.remove(&place);
            let place = books.next_use();
            group.place = Some(place);
            books.groups.insert(place, (self.id, id));
            self.recent.insert(place, id);
        }
        if let Some(place) = self.place
            && books
                .idle
                .last_key_value()
                .is_some_and(|(last, _)| *last != place)
        {
            self.place = None;
            books.idle.remove(&place);
        }
        self.rest(books);
    }

    /// Enters whether the track may go.
    pub(super) fn rest(&mut self, books: &mut Books) {
        let idle = self.kept && self.live.is_none() && self.pins.is_empty();
        match self.place {
            None if idle => {
                let place = books.next_use();
                self.place = Some(place);
                books.idle.insert(place, self.id);
            }
            Some(place) if !idle => {
                self.place = None;
                books.idle.remove(&place);
            }
            Some(_) | None => {}
        }
    }

    /// Enters what the live group weighs, unless a fill needs it too.
    fn weigh(&mut self, books: &mut Books) {
        let weight = self
            .live
            .filter(|live| self.kept && !self.pins.contains_key(live))
            .and_then(|live| self.groups.get(&live))
            .map(|group| group.bytes);
        if weight == self.weighed {
            return;
        }
        if let Some(before) = self.weighed {
            books.live.remove(&(before, self.id));
        }
        if let Some(weight) = weight {
            books.live.insert((weight, self.id));
        }
        self.weighed = weight;
    }

    /// Sees to it that a group is looked at when something of it expires. If that is later than what is entered, the
    /// entry stays: insertions move the age's deadline all the time.
    fn arm(&mut self, id: GroupId, limits: &Limits, books: &mut Books) {
        let pinned = self.is_pinned(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let age = (!pinned).then(|| group.inserted + limits.max_age);
        let oldest = group.arrivals.first();
        let duration = oldest
            .zip(self.max_duration)
            .map(|((arrived, _), duration)| *arrived + duration + Duration::from_micros(1));
        let due = age.into_iter().chain(duration).min();
        let Some(due) = due.filter(|due| *due < Time::MAX) else {
            return;
        };
        if group.deadline.is_some_and(|armed| armed <= due) {
            return;
        }
        if let Some(armed) = group.deadline.replace(due) {
            books.deadlines.remove(&(armed, self.id, id));
        }
        books.deadlines.insert((due, self.id, id));
    }

    /// A group's deadline has come, which was taken from the books: drops what expired.
    pub(super) fn expire(&mut self, now: Time, id: GroupId, limits: &Limits, books: &mut Books) {
        let pinned = self.is_pinned(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.deadline = None;
        if !pinned && group.inserted + limits.max_age <= now {
            self.drop_group(id, books);
            return;
        }
        while let Some(duration) = self.max_duration
            && let Some((arrived, object)) = self
                .groups
                .get(&id)
                .and_then(|group| group.arrivals.first().copied())
            && now.since(arrived) > duration
        {
            self.take(Location { group: id, object }, books);
        }
        self.arm(id, limits, books);
    }

    /// Sets how long objects may be served.
    pub(super) fn set_max_duration(
        &mut self,
        duration: Option<Duration>,
        limits: &Limits,
        books: &mut Books,
    ) {
        if duration == self.max_duration {
            return;
        }
        let ordered = self.max_duration.is_some();
        self.max_duration = duration;
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            if duration.is_none() {
                group.arrivals.clear();
                group.awaited.clear();
            } else if !ordered && self.pins.contains_key(&id) {
                group.awaited = group.objects.keys().copied().collect();
            } else if !ordered {
                let arrivals = group.objects.iter();
                group.arrivals = arrivals.map(|(id, held)| (held.arrived, *id)).collect();
            }
            self.arm(id, limits, books);
        }
    }
}
