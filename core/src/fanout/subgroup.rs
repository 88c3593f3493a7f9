//! A subgroup in memory: its objects in the order of arrival, and who still reads them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{IngestId, SourceId};
use crate::code::ResetCode;
use crate::draft::{Draft, ObjectAge};
use crate::ledger::{Charge, Payload};
use crate::time::Time;
use crate::wire::id::ObjectId;
use crate::wire::object::{ObjectHeader, ObjectStatus, SubgroupHeader};
use crate::wire::property::Properties;

/// What an object costs besides its payload and properties, in bytes, in the ledger and in a subscriber's lag.
pub const OBJECT_OVERHEAD: u32 = 256;

/// Bytes as a draft has them on the wire.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) bytes: Bytes,
    /// Whether the payload is in it.
    pub(super) whole: bool,
}

/// A wire image per draft, made when first needed.
#[derive(Debug, Default)]
pub(super) struct Images(Vec<(Draft, Image)>);

impl Images {
    pub(super) fn find(&self, draft: Draft) -> Option<Image> {
        self.0
            .iter()
            .find(|(of, _)| *of == draft)
            .map(|(_, image)| image.clone())
    }

    /// Adds those that are charged.
    #[cfg(feature = "sim")]
    pub(super) fn recount(&self, held: &mut crate::recount::Recount) {
        let charged = |(_, image): &&(Draft, Image)| image.bytes.len() > super::MAX_UNCHARGED;
        for (_, image) in self.0.iter().filter(charged) {
            held.piece(&image.bytes);
        }
    }

    pub(super) fn keep(&mut self, draft: Draft, image: &Image) {
        self.0.push((draft, image.clone()));
    }
}

/// An object, complete or growing.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: ObjectId,
    /// Whose header came first.
    pub(super) source: SourceId,
    /// Its number among all objects of the track, in the order in which they began.
    pub(super) sequence: u64,
    /// What the subgroup's objects before this one cost.
    pub(super) before: u64,
    /// The object that arrived before it.
    pub(super) previous: Option<ObjectId>,
    /// Whether it is known to be the next object of the subgroup after `previous`.
    pub(super) follows: bool,
    /// Whether it is known to be the first object of the subgroup.
    pub(super) first: bool,
    pub(super) status: ObjectStatus,
    pub(super) properties: Properties,
    pub(super) length: u64,
    pub(super) payload: Payload,
    /// When its header arrived.
    pub(super) began: Time,
    /// When its header, or the first byte of its payload, arrived.
    pub(super) arrived: Time,
    /// The rest of the payload will not come.
    pub(super) abandoned: bool,
    /// How many lanes have it at their cursor.
    pub(super) waiters: u32,
    /// Stream header and object header, for a stream that begins with this object.
    pub(super) openings: Images,
    /// Object header, for a stream on which the object before it was sent.
    pub(super) continuations: Images,
    /// For itself and its properties.
    pub(super) _charge: Charge,
}

impl Object {
    /// When the time began to count that may pass until it is delivered.
    pub(super) const fn born(&self, age: ObjectAge) -> Time {
        match age {
            ObjectAge::Header => self.began,
            ObjectAge::Payload => self.arrived,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.payload.length() == self.length
    }

    /// What it costs in a subscriber's lag.
    pub(super) fn cost(&self) -> u64 {
        self.payload
            .length()
            .saturating_add(u64::from(OBJECT_OVERHEAD))
    }

    /// As the wire's encoders want it, with properties for another kind of integer perhaps.
    pub(super) fn header(&self, properties: Properties) -> ObjectHeader {
        ObjectHeader {
            id: self.id,
            properties,
            status: self.status,
            payload_length: self.length,
        }
    }
}

/// How a subgroup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every object was received.
    Fin,
    /// No more will come, though there may be more objects.
    Reset(ResetCode),
}

/// A subgroup of a live group.
///
/// Its objects have indexes, in the order of arrival from 0; those before `base` are not in memory any more. A lane is
/// at an index, and counted there: at an object, or at the end.
#[derive(Debug)]
pub(super) struct Subgroup {
    pub(super) header: SubgroupHeader,
    /// Tells it from one with the same id that was forgotten.
    pub(super) birth: u64,
    /// Whose header came first.
    pub(super) source: SourceId,
    pub(super) objects: VecDeque<Object>,
    base: u64,
    /// The object that arrived last, in memory or not.
    pub(super) last: Option<ObjectId>,
    /// Streams that bring it.
    pub(super) feeds: Vec<IngestId>,
    /// Set when no stream brings it any more.
    pub(super) end: Option<End>,
    /// When the end became known.
    pub(super) ended: Time,
    /// The final object as told by a FIN, and by whom.
    pub(super) finale: Option<(ObjectId, SourceId)>,
    /// What all its objects cost, those not in memory included.
    pub(super) total: u64,
    /// How many lanes are at the end.
    at_end: u32,
    /// Its place in the track's journal.
    pub(super) changed: u64,
}

impl Subgroup {
    pub(super) fn new(header: SubgroupHeader, source: SourceId, birth: u64) -> Self {
        Self {
            header,
            birth,
            source,
            objects: VecDeque::new(),
            base: 0,
            last: None,
            feeds: Vec::new(),
            end: None,
            ended: Time::ZERO,
            finale: None,
            total: 0,
            at_end: 0,
            changed: 0,
        }
    }

    /// Whether what arrived last is the final object: after any other, a stream must not end with a FIN, which would tell
    /// that nothing comes after it (§ Malformed Tracks). It is not if the rest came before and was forgotten.
    pub(super) fn is_at_finale(&self) -> bool {
        self.finale.is_none_or(|(last, _)| self.last == Some(last))
    }

    /// The index of the next object to arrive.
    pub(super) fn end_index(&self) -> u64 {
        self.base
            .saturating_add(u64::try_from(self.objects.len()).unwrap_or(u64::MAX))
    }

    /// The index of the first object in memory.
    pub(super) const fn first_index(&self) -> u64 {
        self.base
    }

    fn slot(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base)?).ok()
    }

    pub(super) fn object(&self, index: u64) -> Option<&Object> {
        self.objects.get(self.slot(index)?)
    }

    pub(super) fn object_mut(&mut self, index: u64) -> Option<&mut Object> {
        let slot = self.slot(index)?;
        self.objects.get_mut(slot)
    }

    /// The object with this id, if it is in memory.
    pub(super) fn find(&self, id: ObjectId) -> Option<&Object> {
        let slot = self
            .objects
            .binary_search_by_key(&id, |object| object.id)
            .ok()?;
        self.objects.get(slot)
    }

    /// The same, to change it.
    pub(super) fn find_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        let slot = self
            .objects
            .binary_search_by_key(&id, |object| object.id)
            .ok()?;
        self.objects.get_mut(slot)
    }

    /// The index of the first object that began after the `sequence`th of the track and is not before `start`.
    pub(super) fn first_after(&self, sequence: u64, start: ObjectId) -> u64 {
        let old = self
            .objects
            .partition_point(|object| object.sequence <= sequence || object.id < start);
        self.base
            .saturating_add(u64::try_from(old).unwrap_or(u64::MAX))
    }

    /// What the objects before this index cost.
    pub(super) fn cost_before(&self, index: u64) -> u64 {
        self.object(index)
            .map_or(self.total, |object| object.before)
    }

    /// Compares how many lanes are said to be at each index with how many are.
    #[cfg(feature = "sim")]
    pub(super) fn recount(
        &self,
        lanes: &std::collections::BTreeMap<u64, u32>,
    ) -> Result<(), String> {
        use super::recount::compare;
        let mut lanes = lanes.clone();
        for (index, object) in (self.base..).zip(&self.objects) {
            let counted = lanes.remove(&index).unwrap_or_default();
            compare("lanes at an object", object.waiters, counted)?;
        }
        let counted = lanes.remove(&self.end_index()).unwrap_or_default();
        compare("lanes at the end", self.at_end, counted)?;
        compare("lanes elsewhere", 0, lanes.len())
    }

    /// Adds an object that just began. The lanes at the end are now at this object.
    pub(super) fn push(&mut self, mut object: Object) {
        object.waiters = self.at_end;
        object.previous = self.last;
        object.before = self.total;
        self.at_end = 0;
        self.total = self.total.saturating_add(object.cost());
        self.last = Some(object.id);
        self.objects.push_back(object);
    }

    /// Counts a lane at an index.
    pub(super) fn arrive(&mut self, index: u64) {
        match self.object_mut(index) {
            Some(object) => object.waiters = object.waiters.saturating_add(1),
            None => self.at_end = self.at_end.saturating_add(1),
        }
    }

    /// A lane leaves an index. True if something may be forgotten now.
    pub(super) fn leave(&mut self, index: u64) -> bool {
        match self.object_mut(index) {
            Some(object) => {
                object.waiters = object.waiters.saturating_sub(1);
                object.waiters == 0 && index == self.base
            }
            None => {
                self.at_end = self.at_end.saturating_sub(1);
                self.at_end == 0 && self.end.is_some()
            }
        }
    }

    /// Forgets the objects at the front that no lane needs, telling the id of each that never became complete. To be
    /// called only while every subscription has seen the latest change.
    pub(super) fn trim(&mut self, mut incomplete: impl FnMut(ObjectId)) {
        while let Some(front) = self.objects.front() {
            if front.waiters > 0 || !(front.is_complete() || front.abandoned) {
                return;
            }
            if !front.is_complete() {
                incomplete(front.id);
            }
            self.objects.pop_front();
            self.base = self.base.saturating_add(1);
        }
    }

    /// Whether nothing of it is needed any more.
    pub(super) fn is_spent(&self) -> bool {
        self.end.is_some() && self.feeds.is_empty() && self.objects.is_empty() && self.at_end == 0
    }

    /// Nothing more will come: whatever is not complete never will be.
    pub(super) fn finish(&mut self, now: Time, end: End) {
        if self.end.is_none() {
            self.ended = now;
        }
        self.end = Some(end);
        for object in &mut self.objects {
            object.abandoned |= !object.is_complete();
        }
    }
}
