//! Whether what a source brings fits what is known of the track (§ Malformed Tracks).

use super::ingest::Ingest;
use super::subgroup::{End, Images, Object, Subgroup};
use super::track::{Group, Key, Track};
use super::{Fault, IngestId, Limits, SourceId};
use crate::code::ResetCode;
use crate::ledger::{Charge, Payload};
use crate::time::Time;
use crate::wire::id::{Location, ObjectId};
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use crate::wire::property::Properties;

/// What an object that just began brings along.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) now: Time,
    pub(super) stream: IngestId,
    pub(super) key: Key,
    pub(super) source: SourceId,
    /// The object before it on the same stream.
    pub(super) before: Option<ObjectId>,
    pub(super) first: bool,
}

/// Whether an object that begins is in the track already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    New,
    /// Received, or being received: further payload may still complete it.
    Received,
    /// Never received, but the subgroup is past it.
    Late,
}

impl Track {
    /// Two sources, or one source twice, say different things.
    pub(super) fn judge(&self, one: SourceId, other: SourceId, rule: &'static str) -> Fault {
        if one == other {
            return Fault::Malformed(rule);
        }
        Fault::Contradiction {
            older: self.older(one, other),
            rule,
        }
    }

    /// As [`Track::judge`], if it is not remembered who said the other thing.
    pub(super) fn judge_alone(&self, source: SourceId, rule: &'static str) -> Fault {
        let other = self.sources.iter().find(|known| **known != source);
        let other = other.copied().or(self.gone);
        self.judge(other.unwrap_or(source), source, rule)
    }

    /// Lets a stream bring a subgroup.
    pub(super) fn attach(
        &mut self,
        source: SourceId,
        header: SubgroupHeader,
        stream: IngestId,
        limits: &Limits,
    ) -> Result<(), Fault> {
        let default = self.defaults.priority;
        let straggler = self.had_several && self.floor >= Some(header.group);
        if straggler && !self.groups.contains_key(&header.group) {
            return Err(Fault::Stop(ResetCode::Cancelled));
        }
        let began = self.sequence;
        let birth = self.births;
        let group = self.groups.entry(header.group).or_insert_with(|| Group {
            began,
            ..Group::default()
        });
        let full = group.subgroups.len() >= limits.max_subgroups_per_group;
        if group.given_up || full && !group.subgroups.contains_key(&header.subgroup) {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        }
        let finale = group.finales.get(&header.subgroup).copied();
        let subgroup = group.subgroups.entry(header.subgroup).or_insert_with(|| {
            let mut subgroup = Subgroup::new(header, source, birth);
            subgroup.finale = finale;
            // It was complete before it was forgotten: whatever comes now comes late.
            subgroup.last = finale.map(|(last, _)| last);
            subgroup
        });
        let priority = |header: &SubgroupHeader| header.priority.unwrap_or(default);
        if priority(&subgroup.header) != priority(&header) {
            let other = subgroup.source;
            return Err(self.judge(other, source, "a subgroup with two priorities"));
        }
        if subgroup.feeds.len() >= limits.max_streams_per_subgroup {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        }
        self.births += u64::from(subgroup.birth == birth);
        subgroup.feeds.push(stream);
        if matches!(subgroup.end, Some(End::Reset(_))) {
            subgroup.end = None;
        }
        Ok(())
    }

    /// Whether an object may be at this location; a marker is remembered as the end that it is.
    pub(super) fn check_ends(
        &mut self,
        at: Location,
        status: ObjectStatus,
        source: SourceId,
    ) -> Result<(), Fault> {
        match status {
            ObjectStatus::Normal => {
                if let Some((end, other)) = self.end
                    && at >= end
                {
                    return Err(self.judge(other, source, "an object beyond the end of the track"));
                }
                let end = self.groups.get(&at.group).and_then(|group| group.end);
                if let Some((end, other)) = end
                    && at.object >= end
                {
                    return Err(self.judge(other, source, "an object beyond the end of its group"));
                }
                Ok(())
            }
            ObjectStatus::EndOfGroup => self.end_group(at, source),
            ObjectStatus::EndOfTrack => {
                let beyond = self.groups.iter().rev().any(|(id, group)| {
                    group.received.last().is_some_and(|last| {
                        let last = Location {
                            group: *id,
                            object: ObjectId(last),
                        };
                        last >= at
                    })
                });
                if beyond {
                    return Err(self.judge_alone(source, "an end of track before its objects"));
                }
                if self.end.is_none_or(|(end, _)| at < end) {
                    self.end = Some((at, source));
                }
                Ok(())
            }
        }
    }

    /// From `at` on there are no objects in the group.
    pub(super) fn end_group(&mut self, at: Location, source: SourceId) -> Result<(), Fault> {
        let began = self.sequence;
        let group = self.groups.entry(at.group).or_insert_with(|| Group {
            began,
            ..Group::default()
        });
        if group
            .received
            .last()
            .is_some_and(|last| last >= at.object.0)
        {
            return Err(self.judge_alone(source, "an end of group before its objects"));
        }
        if group.end.is_none_or(|(end, _)| at.object < end) {
            group.end = Some((at.object, source));
        }
        Ok(())
    }

    /// Whether an object's properties are such as an object may have (§ Mandatory Track Properties, § Immutable
    /// Properties).
    pub(super) fn check_properties(&self, properties: &Properties) -> Result<(), Fault> {
        if properties.is_empty() {
            return Ok(());
        }
        if properties.mandatory(self.profile).is_some() {
            return Err(Fault::Malformed(
                "an object with a mandatory track property",
            ));
        }
        if properties.check_immutable().is_err() {
            return Err(Fault::Malformed("malformed immutable properties"));
        }
        Ok(())
    }

    /// Whether an object may be in a subgroup of which a FIN told the final object.
    pub(super) fn check_finale(
        &self,
        key: Key,
        id: ObjectId,
        source: SourceId,
    ) -> Result<(), Fault> {
        match self.subgroup(key).and_then(|subgroup| subgroup.finale) {
            Some((last, other)) if id > last => Err(self.judge(
                other,
                source,
                "an object beyond the final one of its subgroup",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether an object that begins is known, and if so, whether it is the same.
    pub(super) fn known(
        &mut self,
        key: Key,
        header: &ObjectHeader,
        source: SourceId,
    ) -> Result<Known, Fault> {
        let Some(group) = self.groups.get_mut(&key.0) else {
            return Ok(Known::Late);
        };
        if group.datagrams.contains(header.id.0) {
            return Err(self.judge_alone(source, "an object in a stream and in a datagram"));
        }
        let seen = match header.status {
            ObjectStatus::Normal => &group.received,
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => &group.markers,
        };
        if !seen.contains(header.id.0) {
            let last = group.subgroups.get(&key.1).and_then(|known| known.last);
            return Ok(if last.is_some_and(|last| last >= header.id) {
                Known::Late
            } else {
                Known::New
            });
        }
        if let Some(object) = group
            .subgroups
            .get_mut(&key.1)
            .and_then(|subgroup| subgroup.find_mut(header.id))
        {
            let same = object.length == header.payload_length
                && object.status == header.status
                && object.properties.agree_on_immutable(&header.properties);
            if same {
                object.abandoned = false;
                return Ok(Known::Received);
            }
            let other = object.source;
            return Err(self.judge(other, source, "an object received twice differently"));
        }
        let elsewhere = group
            .subgroups
            .values_mut()
            .find_map(|subgroup| subgroup.find_mut(header.id))
            .map(|object| object.source);
        match elsewhere {
            Some(other) => Err(self.judge(other, source, "an object in two subgroups")),
            None => Ok(Known::Received),
        }
    }

    /// Takes an object in.
    pub(super) fn enter(
        &mut self,
        arrival: Arrival,
        header: ObjectHeader,
        properties: Properties,
        charge: Charge,
        limits: &Limits,
    ) {
        self.sequence += 1;
        let sequence = self.sequence;
        let id = header.id;
        let Some(group) = self.groups.get_mut(&arrival.key.0) else {
            return;
        };
        let Some(subgroup) = group.subgroups.get_mut(&arrival.key.1) else {
            return;
        };
        // "Next" as § Closing Subgroup Streams has it: adjacent, or adjacent on the stream that brought both, or the
        // publisher said that what lies between does not exist.
        let gap = properties.prior_object_id_gap().unwrap_or(0);
        let follows = subgroup.last.is_some_and(|last| {
            last.0.saturating_add(1).saturating_add(gap) >= id.0 || arrival.before == Some(last)
        });
        let normal = header.status == ObjectStatus::Normal;
        let seen = if normal {
            &mut group.received
        } else {
            &mut group.markers
        };
        seen.insert(id.0, limits.max_ranges_per_group);
        subgroup.push(Object {
            id,
            source: arrival.source,
            sequence,
            before: 0,
            previous: None,
            follows,
            first: arrival.first,
            status: header.status,
            properties,
            length: header.payload_length,
            payload: Payload::default(),
            began: arrival.now,
            arrived: arrival.now,
            abandoned: false,
            waiters: 0,
            openings: Images::default(),
            continuations: Images::default(),
            _charge: charge,
        });
        if normal {
            self.reach(Location {
                group: arrival.key.0,
                object: id,
            });
        }
    }

    /// A stream brought everything up to its end.
    pub(super) fn conclude(&mut self, now: Time, ingest: &Ingest) -> Result<(), Fault> {
        let (key, source) = (ingest.key, ingest.source);
        let Some(subgroup) = self.subgroup_mut(key) else {
            return Ok(());
        };
        subgroup.finish(now, End::Fin);
        let Some(last) = ingest.last else {
            return Ok(());
        };
        let finale = *subgroup.finale.get_or_insert((last, source));
        let beyond = subgroup.last.is_some_and(|known| known > last);
        if finale.0 != last {
            return Err(self.judge(finale.1, source, "a subgroup with two final objects"));
        }
        if beyond {
            return Err(self.judge_alone(source, "a subgroup's end before its objects"));
        }
        match last.0.checked_add(1) {
            Some(end) if ingest.end_of_group => {
                let at = Location {
                    group: key.0,
                    object: ObjectId(end),
                };
                self.end_group(at, source)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether an object in a datagram is new; it is remembered then.
    pub(super) fn admit_datagram(
        &mut self,
        object: &DatagramObject,
        source: SourceId,
        limits: &Limits,
    ) -> Result<bool, Fault> {
        let at = object.location;
        if self.had_several && self.floor >= Some(at.group) && !self.groups.contains_key(&at.group)
        {
            return Ok(false);
        }
        let began = self.sequence;
        let group = self.groups.entry(at.group).or_insert_with(|| Group {
            began,
            ..Group::default()
        });
        let normal = object.status == ObjectStatus::Normal;
        let in_datagram = group.datagrams.contains(at.object.0);
        let seen = if normal {
            &mut group.received
        } else {
            &mut group.markers
        };
        let received = seen.contains(at.object.0);
        if normal && received && !in_datagram {
            return Err(self.judge_alone(source, "an object in a datagram and in a stream"));
        }
        if received {
            return Ok(false);
        }
        seen.insert(at.object.0, limits.max_ranges_per_group);
        if normal {
            group
                .datagrams
                .insert(at.object.0, limits.max_ranges_per_group);
            self.reach(at);
        }
        let end = at.object.0.checked_add(1).filter(|_| object.end_of_group);
        if let Some(end) = end {
            let after = Location {
                group: at.group,
                object: ObjectId(end),
            };
            self.end_group(after, source)?;
        }
        self.forget_groups(limits.remembered_groups);
        Ok(true)
    }
}
