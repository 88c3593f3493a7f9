//! What was published of a track: the truth that everything delivered is compared with.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::draft::IntegerKind;
use crate::time::Time;
use crate::wire::id::{GroupId, Location, ObjectId};
use crate::wire::name::FullTrackName;
use crate::wire::object::ObjectStatus;
use crate::wire::property::{
    DYNAMIC_GROUPS, IMMUTABLE_PROPERTIES, OBJECT_DELIVERY_TIMEOUT, Properties, Value,
};

use super::super::node;
use super::plan::ShowPlan;

/// What was published of a track.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) track: FullTrackName,
    pub(super) show: ShowPlan,
    /// How often the track began again before.
    pub(super) era: u64,
    pub(super) objects: BTreeMap<Location, Entry>,
    /// By group and id.
    pub(super) subgroups: BTreeMap<(u64, u64), Line>,
    /// The group that is being published.
    pub(super) group: u64,
    /// Nothing more can be added to it.
    pub(super) group_is_over: bool,
    pub(super) ended: Option<Time>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `None`: it went in a datagram.
    pub(super) subgroup: Option<u64>,
    pub(super) priority: u8,
    pub(super) status: ObjectStatus,
    pub(super) length: usize,
    pub(super) has_properties: bool,
    pub(super) at: Time,
}

/// A subgroup.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) objects: Vec<u64>,
    pub(super) priority: u8,
    pub(super) ending: Option<(Time, Ending)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finished,
    Reset,
}

impl Book {
    pub(super) const fn new(track: FullTrackName, show: ShowPlan, era: u64) -> Self {
        Self {
            track,
            show,
            era,
            objects: BTreeMap::new(),
            subgroups: BTreeMap::new(),
            group: 0,
            group_is_over: false,
            ended: None,
        }
    }

    pub(super) fn largest(&self) -> Option<Location> {
        self.objects.keys().next_back().copied()
    }

    /// Whether a group was over by then: another one has begun, or its end was published.
    pub(super) fn is_beyond(&self, group: GroupId, by: Time) -> bool {
        let its_end = |(at, entry): (&Location, &Entry)| {
            at.group == group && entry.status == ObjectStatus::EndOfGroup && entry.at <= by
        };
        self.group > group.0 || self.objects.iter().any(its_end)
    }

    /// The id after the largest of the current group.
    pub(super) fn next_id(&self) -> u64 {
        let first = Location::new(self.group, 0);
        let last = Location::new(self.group, u64::MAX);
        let largest = self.objects.range(first..=last).next_back();
        largest.map_or(0, |(at, _)| at.object.0 + 1)
    }

    /// Whether a subgroup of the current group may get another object.
    pub(super) fn takes(&self, subgroup: u64) -> bool {
        let line = self.subgroups.get(&(self.group, subgroup));
        !self.group_is_over && line.is_none_or(|line| line.ending.is_none())
    }

    pub(super) fn add(&mut self, location: Location, entry: Entry) {
        if let Some(subgroup) = entry.subgroup {
            let line = self
                .subgroups
                .entry((location.group.0, subgroup))
                .or_insert_with(|| Line {
                    objects: Vec::new(),
                    priority: entry.priority,
                    ending: None,
                });
            line.objects.push(location.object.0);
        }
        self.objects.insert(location, entry);
    }

    /// Ends a subgroup, if it is open.
    pub(super) fn end(&mut self, key: (u64, u64), now: Time, ending: Ending) -> bool {
        match self.subgroups.get_mut(&key) {
            Some(line) if line.ending.is_none() => {
                line.ending = Some((now, ending));
                true
            }
            _ => false,
        }
    }

    /// The subgroups that are open.
    pub(super) fn open_lines(&self) -> Vec<(u64, u64)> {
        let lines = self.subgroups.iter();
        let open = lines.filter(|(_, line)| line.ending.is_none());
        open.map(|(key, _)| *key).collect()
    }

    pub(super) fn payload(&self, location: Location) -> Bytes {
        let length = self.objects.get(&location).map_or(0, |entry| entry.length);
        let mut seed = location;
        seed.group.0 += self.era << 20;
        node::payload(&self.track, seed, length)
    }

    /// What the track's own properties are.
    pub(super) fn track_properties(&self, integers: IntegerKind) -> Properties {
        Properties::from_list(integers, self.track_list()).unwrap_or_default()
    }

    pub(super) fn track_list(&self) -> Vec<(u64, Value)> {
        let timeout = u64::from(self.show.timeout);
        let timeout = (timeout > 0).then_some((OBJECT_DELIVERY_TIMEOUT, Value::Integer(timeout)));
        let dynamic = self
            .show
            .dynamic
            .then_some((DYNAMIC_GROUPS, Value::Integer(1)));
        timeout.into_iter().chain(dynamic).collect()
    }

    pub(super) fn properties(&self, location: Location, integers: IntegerKind) -> Properties {
        if !self
            .objects
            .get(&location)
            .is_some_and(|entry| entry.has_properties)
        {
            return Properties::default();
        }
        Properties::from_list(integers, list(self.era, location)).unwrap_or_default()
    }

    /// What is wrong with an object that somebody got.
    pub(super) fn compare(
        &self,
        location: Location,
        status: ObjectStatus,
        properties: &Properties,
        payload: &[u8],
    ) -> Result<&Entry, String> {
        let entry = self
            .objects
            .get(&location)
            .ok_or_else(|| format!("{location} was never published"))?;
        if entry.status != status {
            return Err(format!("{location} has the status {status:?}"));
        }
        if self.payload(location) != payload {
            let length = payload.len();
            return Err(format!("{location} has another payload, of {length} bytes"));
        }
        let got: Result<Vec<(u64, Value)>, _> = properties.iter().collect();
        let expected = if entry.has_properties {
            list(self.era, location)
        } else {
            Vec::new()
        };
        match got {
            Ok(got) if got == expected => Ok(entry),
            got => Err(format!("{location} has the properties {got:?}")),
        }
    }
}

/// The properties of an object that has any: two that no draft knows, around an immutable one.
fn list(era: u64, location: Location) -> Vec<(u64, Value)> {
    let Location {
        group: GroupId(group),
        object: ObjectId(object),
    } = location;
    // One immutable property, number 0x32, whose value fits in a byte of every kind of integer.
    let immutable = Bytes::copy_from_slice(&[0x32, u8::try_from(object % 60).unwrap_or(0)]);
    vec![
        (IMMUTABLE_PROPERTIES, Value::Bytes(immutable)),
        (0x3a7e, Value::Integer((era << 30) + group * 1000 + object)),
        (0x3a7f, Value::Bytes(Bytes::from(format!("{location}")))),
    ]
}
