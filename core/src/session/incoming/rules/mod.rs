//! Contradictions within what one publisher sends of one track (§ Malformed Tracks).
//!
//! The draft leaves open how much a receiver remembers to notice them. Here it is a few groups per track, the latest ones,
//! with what arrived of each as spans of ids; what was forgotten is not checked. Payloads are not compared here, and
//! neither is whether an object came as a datagram before: both need the objects themselves.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::draft::Profile;
use crate::session::settings::Limits;
use crate::wire::Error;
use crate::wire::id::{Location, SubgroupId};
use crate::wire::object::{FetchEntry, ObjectStatus, SubgroupHeader};
use crate::wire::param::GroupOrder;
use crate::wire::property::{PRIOR_GROUP_ID_GAP, PRIOR_OBJECT_ID_GAP, Properties, Value};

/// Spans of one kind that are remembered per group.
const MAX_SPANS: usize = 16;

/// What is wrong with something received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The session closes.
    Session(Error),
    /// The track is malformed.
    Track(&'static str),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

/// What the properties of one object say of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// That many groups before its group do not exist.
    pub(super) groups: Option<u64>,
    /// That many objects before it do not exist.
    pub(super) objects: Option<u64>,
}

/// Checks the properties of an object by themselves.
pub(super) fn check_properties(
    profile: &Profile,
    properties: &Properties,
    at: Location,
) -> Result<Gaps, Fault> {
    if properties.is_empty() {
        return Ok(Gaps::default());
    }
    properties.validate()?;
    properties
        .check_immutable()
        .map_err(|error| Fault::Track(error.rule))?;
    if properties.mandatory(profile).is_some() {
        return Err(Fault::Track("V51: mandatory track property on an object"));
    }
    let immutable = properties.immutable();
    let mut gaps = Gaps::default();
    for (number, value) in properties
        .iter()
        .chain(immutable.iter().flat_map(Properties::iter))
        .flatten()
    {
        let (gap, id) = match number {
            PRIOR_GROUP_ID_GAP => (&mut gaps.groups, at.group.0),
            PRIOR_OBJECT_ID_GAP => (&mut gaps.objects, at.object.0),
            _ => continue,
        };
        let Value::Integer(value) = value else {
            continue;
        };
        if gap.replace(value).is_some() {
            return Err(Fault::Track("V89: a gap told twice by one object"));
        }
        if value > id {
            return Err(Fault::Track("V89: a gap larger than the object's own id"));
        }
    }
    Ok(gaps)
}

/// What is remembered of a track.
#[derive(Debug)]
pub(super) struct TrackRecord {
    max_groups: usize,
    max_subgroups: usize,
    default_priority: u8,
    groups: BTreeMap<u64, GroupRecord>,
    /// Groups that do not exist.
    missing_groups: Spans,
    /// No object exists here or later.
    end: Option<Location>,
    largest: Option<Location>,
}

#[derive(Debug, Default)]
struct GroupRecord {
    /// No object with this or a larger id exists.
    end: Option<u64>,
    received: Spans,
    missing: Spans,
    /// The number of groups before it that do not exist.
    gap: Option<u64>,
    subgroups: BTreeMap<SubgroupId, SubgroupRecord>,
}

#[derive(Debug)]
struct SubgroupRecord {
    priority: u8,
    /// The last object, once a stream of it ended.
    last: Option<u64>,
}

impl TrackRecord {
    pub(super) const fn new(limits: &Limits, default_priority: u8) -> Self {
        Self {
            max_groups: limits.max_checked_groups,
            max_subgroups: limits.max_checked_subgroups,
            default_priority,
            groups: BTreeMap::new(),
            missing_groups: Spans::new(),
            end: None,
            largest: None,
        }
    }

    /// A subgroup's stream began.
    pub(super) fn opened(&mut self, header: &SubgroupHeader) -> Result<(), &'static str> {
        let priority = header.priority.unwrap_or(self.default_priority);
        let max = self.max_subgroups;
        let Some(group) = self.group(header.group.0) else {
            return Ok(());
        };
        match group.subgroups.get(&header.subgroup) {
            Some(known) if known.priority != priority => Err("V89: priority of a subgroup changed"),
            Some(_) => Ok(()),
            None => {
                if group.subgroups.len() < max {
                    let record = SubgroupRecord {
                        priority,
                        last: None,
                    };
                    group.subgroups.insert(header.subgroup, record);
                }
                Ok(())
            }
        }
    }

    /// An object or marker arrived; `subgroup` is `None` for a datagram, `last` tells that its group ends with it.
    pub(super) fn object(
        &mut self,
        at: Location,
        subgroup: Option<SubgroupId>,
        status: ObjectStatus,
        last: bool,
        gaps: Gaps,
    ) -> Result<(), &'static str> {
        if self
            .end
            .is_some_and(|end| at >= end && status == ObjectStatus::Normal)
        {
            return Err("V89: object beyond the end of the track");
        }
        if self.missing_groups.contains(at.group.0) {
            return Err("V89: object in a group that was said not to exist");
        }
        if status == ObjectStatus::EndOfTrack {
            if self.largest.is_some_and(|largest| largest >= at) {
                return Err("V89: end of the track before an object of it");
            }
            self.end = Some(self.end.map_or(at, |end| end.min(at)));
        }
        if status == ObjectStatus::Normal {
            self.largest = self.largest.max(Some(at));
        }
        if let Some(gap) = gaps.groups {
            self.group_gap(at.group.0, gap)?;
        }
        let Some(group) = self.group(at.group.0) else {
            return Ok(());
        };
        group.object(at.object.0, subgroup, status, gaps.objects)?;
        if last {
            group.ends_before(at.object.0.checked_add(1))?;
        }
        Ok(())
    }

    /// A subgroup's stream ended properly with this object.
    pub(super) fn finished(
        &mut self,
        header: &SubgroupHeader,
        last: u64,
    ) -> Result<(), &'static str> {
        let Some(group) = self.groups.get_mut(&header.group.0) else {
            return Ok(());
        };
        if let Some(subgroup) = group.subgroups.get_mut(&header.subgroup)
            && subgroup
                .last
                .replace(last)
                .is_some_and(|known| known != last)
        {
            return Err("V89: subgroup ended twice with different last objects");
        }
        if header.end_of_group {
            group.ends_before(last.checked_add(1))?;
        }
        Ok(())
    }

    fn group_gap(&mut self, group: u64, gap: u64) -> Result<(), &'static str> {
        if let Some(record) = self.group(group)
            && record.gap.replace(gap).is_some_and(|known| known != gap)
        {
            return Err("V89: different gaps before one group");
        }
        let Some(last) = group.checked_sub(1).filter(|_| gap > 0) else {
            return Ok(());
        };
        let first = group - gap;
        let arrived = |record: &GroupRecord| !record.received.is_empty();
        if self
            .groups
            .range(first..=last)
            .any(|(_, record)| arrived(record))
        {
            return Err("V89: gap over a group with objects");
        }
        self.missing_groups.insert(first, last);
        Ok(())
    }

    /// The record of a group, if it is among the latest ones.
    fn group(&mut self, id: u64) -> Option<&mut GroupRecord> {
        if !self.groups.contains_key(&id) && self.groups.len() >= self.max_groups {
            let oldest = *self.groups.first_key_value()?.0;
            if id < oldest {
                return None;
            }
            self.groups.remove(&oldest);
        }
        Some(self.groups.entry(id).or_default())
    }
}

impl GroupRecord {
    fn object(
        &mut self,
        id: u64,
        subgroup: Option<SubgroupId>,
        status: ObjectStatus,
        gap: Option<u64>,
    ) -> Result<(), &'static str> {
        if status == ObjectStatus::EndOfGroup || status == ObjectStatus::EndOfTrack {
            return self.ends_before(Some(id));
        }
        if self.end.is_some_and(|end| id >= end) {
            return Err("V89: object beyond the end of its group");
        }
        let subgroup = subgroup.and_then(|subgroup| self.subgroups.get(&subgroup));
        if subgroup.is_some_and(|record| record.last.is_some_and(|last| id > last)) {
            return Err("V89: object beyond the end of its subgroup");
        }
        if self.missing.contains(id) {
            return Err("V89: object that was said not to exist");
        }
        if let Some(gap) = gap
            && let Some(last) = id.checked_sub(1).filter(|_| gap > 0)
        {
            if self.received.meets(id - gap, last) {
                return Err("V89: gap over an object that was received");
            }
            self.missing.insert(id - gap, last);
        }
        self.received.insert(id, id);
        Ok(())
    }

    /// No object with this or a larger id exists; `None`: nothing can be said.
    fn ends_before(&mut self, end: Option<u64>) -> Result<(), &'static str> {
        let Some(end) = end else {
            return Ok(());
        };
        if self.received.meets(end, u64::MAX) {
            return Err("V89: end of a group before an object of it");
        }
        self.end = Some(self.end.map_or(end, |known| known.min(end)));
        Ok(())
    }
}

/// What is remembered of the answer to a FETCH.
#[derive(Debug)]
pub(super) struct FetchRecord {
    order: GroupOrder,
    /// Where the last entry was.
    before: Option<Location>,
    /// The last object's.
    subgroup: Option<(u64, SubgroupId, u8)>,
}

impl FetchRecord {
    pub(super) const fn new(order: GroupOrder) -> Self {
        Self {
            order,
            before: None,
            subgroup: None,
        }
    }

    /// An object or marker arrived.
    pub(super) fn entry(&mut self, profile: &Profile, entry: &FetchEntry) -> Result<(), Fault> {
        let at = match entry {
            FetchEntry::Object(object) => object.location,
            FetchEntry::NonExistent(at) | FetchEntry::Unknown(at) => *at,
        };
        if let Some(before) = self.before.replace(at) {
            let in_order = match self.order {
                GroupOrder::Ascending => before.group < at.group,
                GroupOrder::Descending => before.group > at.group,
            };
            if before.group != at.group && !in_order {
                return Err(Fault::Track("V89: group out of order in a FETCH"));
            }
            if before.group == at.group && at.object <= before.object {
                return Err(Fault::Track("V89: object out of order in a FETCH"));
            }
        }
        if let FetchEntry::Object(object) = entry {
            check_properties(profile, &object.properties, at)?;
            let subgroup = object
                .subgroup
                .map(|subgroup| (at.group.0, subgroup, object.priority));
            if let (Some(known), Some(now)) = (self.subgroup, subgroup)
                && (known.0, known.1) == (now.0, now.1)
                && known.2 != now.2
            {
                return Err(Fault::Track("V89: priority of a subgroup changed"));
            }
            self.subgroup = subgroup;
        }
        Ok(())
    }
}

/// Sets of ids, as spans; with too many of them, the one with the smallest ids is forgotten.
#[derive(Debug, Default)]
struct Spans {
    /// First and last of each, ascending, with room between them.
    spans: Vec<(u64, u64)>,
}

impl Spans {
    const fn new() -> Self {
        Self { spans: Vec::new() }
    }

    const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn contains(&self, id: u64) -> bool {
        self.meets(id, id)
    }

    fn meets(&self, first: u64, last: u64) -> bool {
        self.spans
            .iter()
            .any(|span| span.0 <= last && first <= span.1)
    }

    fn insert(&mut self, first: u64, last: u64) {
        let mut joined = (first, last);
        self.spans.retain(|span| {
            let apart = last.saturating_add(1) < span.0 || span.1.saturating_add(1) < first;
            if !apart {
                joined = (joined.0.min(span.0), joined.1.max(span.1));
            }
            apart
        });
        let (first, last) = joined;
        let at = self.spans.partition_point(|span| span.0 < first);
        self.spans.insert(at, (first, last));
        if self.spans.len() > MAX_SPANS {
            self.spans.remove(0);
        }
    }
}
