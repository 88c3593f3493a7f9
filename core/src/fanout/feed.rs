//! What a fan-out tells of what passes through it, for a cache: complete objects, and where there are none.

use std::collections::VecDeque;

use super::ingest::{Current, Fresh, Ingest};
use super::subgroup::Subgroup;
use super::track::{Group, Key};
use super::{Fanout, SourceId, TrackId};
use crate::draft::Draft;
use crate::ledger::{Payload, Pieces};
use crate::time::Time;
use crate::wire::id::{GroupId, Location, ObjectId, SubgroupId};
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus};
use crate::wire::property::Properties;

/// Something of a track that became known for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The track.
    pub track: TrackId,
    /// Who brought it.
    pub source: SourceId,
    /// What it is.
    pub fact: Fact,
}

/// What is known of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An object was received, all of it.
    Object {
        /// Where it is.
        location: Location,
        /// Its subgroup; `None`: it came in a datagram.
        subgroup: Option<SubgroupId>,
        /// The publisher's priority, lower first.
        priority: u8,
        /// Its properties, in memory of their own.
        properties: Properties,
        /// Its payload, shared with the subscribers' streams.
        payload: Pieces,
        /// When it, or its payload, began to arrive.
        arrived: Time,
    },
    /// No object exists from the first location up to the second, which is not meant.
    Absent {
        /// The first location without an object.
        from: Location,
        /// The first one after the gap.
        to: Location,
    },
    /// No object of the group exists here or later.
    GroupEnd(Location),
    /// No object of the track exists here or later.
    TrackEnd(Location),
    /// A stream of the track broke off: what was [arriving](Fanout::arriving) may not any more.
    Broken,
}

/// What was not told yet.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// `None`: nobody wants to know.
    facts: Option<VecDeque<Complete>>,
}

/// An object that came too late for subscribers, and is for the cache only.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) properties: Properties,
    pub(super) payload: Payload,
    arrived: Time,
    _charge: crate::ledger::Charge,
}

impl Feed {
    pub(super) const fn is_on(&self) -> bool {
        self.facts.is_some()
    }

    fn push(&mut self, most: usize, fact: Complete) {
        let Some(facts) = &mut self.facts else {
            return;
        };
        if facts.len() >= most {
            facts.pop_front();
        }
        facts.push_back(fact);
    }
}

impl Fanout {
    /// Begins to tell of complete objects and of gaps: from now on the owner calls [`Fanout::poll_complete`] after
    /// everything that brings objects.
    pub fn tell_complete(&mut self) {
        self.feed.facts.get_or_insert_default();
    }

    /// The next thing that became known, if [`Fanout::tell_complete`] was called. What comes too late for subscribers, from
    /// a slower source, is told of as well.
    pub fn poll_complete(&mut self) -> Option<Complete> {
        self.feed.facts.as_mut()?.pop_front()
    }

    /// Whether [`poll_notice`](Self::poll_notice) or [`poll_complete`](Self::poll_complete) has something to tell.
    pub(crate) fn has_news(&self) -> bool {
        let facts = self.feed.facts.as_ref();
        !self.notices.is_empty() || facts.is_some_and(|facts| !facts.is_empty())
    }

    /// The first object at or after `from`, and before `to`, of which a part was received and the rest is on its way.
    pub fn arriving(&self, track: TrackId, from: Location, to: Location) -> Option<Location> {
        let groups = &self.tracks.get(&track)?.groups;
        for (id, group) in groups.range(from.group..=to.group) {
            let first = if *id == from.group { from.object.0 } else { 0 };
            let arriving = self.arriving_in(group, first);
            if let Some(object) = arriving {
                let at = Location { group: *id, object };
                return (at < to).then_some(at);
            }
        }
        None
    }

    fn arriving_in(&self, group: &Group, first: u64) -> Option<ObjectId> {
        let feeds = group
            .subgroups
            .values()
            .flat_map(|subgroup| subgroup.feeds.iter().map(move |feed| (subgroup, feed)));
        feeds
            .filter_map(|(subgroup, feed)| {
                let current = self.ingests.get(feed)?.current.as_ref()?;
                is_arriving(subgroup, current).then_some(current.id)
            })
            .filter(|object| object.0 >= first)
            .min()
    }

    /// Where a track ends: no object exists here or later. `None`: not known yet.
    pub fn end(&self, track: TrackId) -> Option<Location> {
        let (end, _) = self.tracks.get(&track)?.end?;
        Some(end)
    }

    /// The draft by which a track's properties are to be understood.
    pub fn draft(&self, track: TrackId) -> Option<Draft> {
        self.tracks.get(&track).map(|track| track.profile.draft)
    }

    pub(super) fn tell(&mut self, track: TrackId, source: SourceId, fact: Fact) {
        let told = Complete {
            track,
            source,
            fact,
        };
        self.feed.push(self.limits.max_facts, told);
    }

    /// What the status and the properties of something that was taken say of other objects.
    pub(super) fn tell_gaps(
        &mut self,
        track: TrackId,
        source: SourceId,
        at: Location,
        status: ObjectStatus,
        properties: &Properties,
    ) {
        if !self.feed.is_on() {
            return;
        }
        match status {
            ObjectStatus::Normal => {}
            ObjectStatus::EndOfGroup => self.tell(track, source, Fact::GroupEnd(at)),
            ObjectStatus::EndOfTrack => self.tell(track, source, Fact::TrackEnd(at)),
        }
        for (from, to) in gaps(at, properties).into_iter().flatten() {
            self.tell(track, source, Fact::Absent { from, to });
        }
    }

    /// An object of a subgroup may be complete.
    pub(super) fn tell_object(&mut self, track: TrackId, key: Key, id: ObjectId) {
        if !self.feed.is_on() {
            return;
        }
        let Some(state) = self.tracks.get_mut(&track) else {
            return;
        };
        let default = state.defaults.priority;
        let Some(subgroup) = state.subgroup_mut(key) else {
            return;
        };
        let priority = subgroup.header.priority.unwrap_or(default);
        let Some(object) = subgroup.find_mut(id) else {
            return;
        };
        if object.status != ObjectStatus::Normal {
            return;
        }
        let Some(payload) = object.payload.pieces(object.length) else {
            return;
        };
        let source = object.source;
        let fact = Fact::Object {
            location: Location {
                group: key.0,
                object: id,
            },
            subgroup: Some(key.1),
            priority,
            properties: object.properties.clone(),
            payload,
            arrived: object.arrived,
        };
        self.tell(track, source, fact);
    }

    /// An object in a datagram was taken; its payload and properties are in memory of their own.
    pub(super) fn tell_datagram(
        &mut self,
        (now, track, source): (Time, TrackId, SourceId),
        default_priority: u8,
        object: &DatagramObject,
    ) {
        if !self.feed.is_on() {
            return;
        }
        let at = object.location;
        self.tell_gaps(track, source, at, object.status, &object.properties);
        if object.status == ObjectStatus::Normal {
            let fact = Fact::Object {
                location: at,
                subgroup: None,
                priority: object.priority.unwrap_or(default_priority),
                properties: object.properties.clone(),
                payload: Pieces::from(object.payload.clone()),
                arrived: now,
            };
            self.tell(track, source, fact);
        }
        if object.end_of_group {
            self.tell_group_end(track, source, at);
        }
    }

    /// A group ends with this object.
    pub(super) fn tell_group_end(&mut self, track: TrackId, source: SourceId, last: Location) {
        if let Some(object) = last.object.0.checked_add(1) {
            let end = Location {
                group: last.group,
                object: ObjectId(object),
            };
            self.tell(track, source, Fact::GroupEnd(end));
        }
    }

    /// Room for an object that subscribers are past, if a cache may want it.
    pub(super) fn stray(&self, now: Time, header: &ObjectHeader) -> Option<Box<Stray>> {
        if !self.feed.is_on() || header.status != ObjectStatus::Normal {
            return None;
        }
        let (properties, charge) =
            super::ingest::keep_properties(&self.ledger, &header.properties)?;
        Some(Box::new(Stray {
            properties,
            payload: Payload::default(),
            arrived: now,
            _charge: charge,
        }))
    }

    /// Further payload of an object that subscribers are past; without memory for it, it is let go.
    pub(super) fn append_stray(&mut self, stream: super::IngestId, offset: u64, fresh: Fresh<'_>) {
        let Some(ingest) = self.ingests.get_mut(&stream) else {
            return;
        };
        let Some(current) = ingest.current.as_mut() else {
            return;
        };
        let left = current.length.saturating_sub(offset);
        let Some(stray) = current.stray.as_mut() else {
            return;
        };
        if !fresh.append_to(&mut stray.payload, &self.ledger, left) {
            current.stray = None;
            return;
        }
        self.tell_stray(stream);
    }

    /// An object that subscribers are past may be complete.
    pub(super) fn tell_stray(&mut self, stream: super::IngestId) {
        let Some(ingest) = self.ingests.get_mut(&stream) else {
            return;
        };
        let (track, source, key) = (ingest.track, ingest.source, ingest.key);
        let Some(current) = ingest.current.as_mut() else {
            return;
        };
        let (id, length) = (current.id, current.length);
        let complete = |stray: &mut Box<Stray>| stray.payload.pieces(length);
        let Some(payload) = current.stray.as_mut().and_then(complete) else {
            return;
        };
        let Some(stray) = current.stray.take() else {
            return;
        };
        let Some(state) = self.tracks.get(&track) else {
            return;
        };
        let default = state.defaults.priority;
        let header = state.subgroup(key).map(|subgroup| subgroup.header);
        let fact = Fact::Object {
            location: Location {
                group: key.0,
                object: id,
            },
            subgroup: Some(key.1),
            priority: header.and_then(|header| header.priority).unwrap_or(default),
            properties: stray.properties,
            payload,
            arrived: stray.arrived,
        };
        self.tell(track, source, fact);
    }

    /// A stream of a track ended before its time.
    pub(super) fn tell_broken(&mut self, stream: &Ingest) {
        self.tell(stream.track, stream.source, Fact::Broken);
    }
}

/// Whether the rest of the object that a stream brings is worth waiting for.
fn is_arriving(subgroup: &Subgroup, current: &Current) -> bool {
    if current.is_complete() {
        return false;
    }
    current.stray.is_some()
        || !current.ignored
            && subgroup
                .find(current.id)
                .is_some_and(|object| !object.is_complete() && !object.abandoned)
}

/// The gaps that an object's properties tell of (§ Prior Group ID Gap, § Prior Object ID Gap), each without its end.
fn gaps(at: Location, properties: &Properties) -> [Option<(Location, Location)>; 2] {
    if properties.is_empty() {
        return [None, None];
    }
    let start_of = |group| Location {
        group: GroupId(group),
        object: ObjectId(0),
    };
    let groups = properties
        .prior_group_id_gap()
        .filter(|gap| *gap > 0)
        .and_then(|gap| at.group.0.checked_sub(gap))
        .map(|first| (start_of(first), start_of(at.group.0)));
    let objects = properties
        .prior_object_id_gap()
        .filter(|gap| *gap > 0)
        .and_then(|gap| at.object.0.checked_sub(gap))
        .map(|first| {
            let from = Location {
                group: at.group,
                object: ObjectId(first),
            };
            (from, at)
        });
    [groups, objects]
}
