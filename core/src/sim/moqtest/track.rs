//! Tracks of `moq-test-00`: their parameters in the fields of the namespace, and what follows from them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::super::random::Random;
use crate::wire::id::{GroupId, Location, Millis, ObjectId, SubgroupId};
use crate::wire::name::{FullTrackName, InvalidName, TrackName, TrackNamespace};
use crate::wire::object::ObjectStatus;
use crate::wire::property::Value;

/// The first field of every such namespace, which also is what publishers announce.
pub const PROTOCOL: &str = "moq-test-00";

/// The longest object that is made, in bytes. Whoever asks for longer ones is refused.
pub const MAX_OBJECT_LENGTH: u64 = 1 << 20;

/// The largest id, and the largest number of a property, that every draft can write.
const MAX_NUMBER: u64 = (1 << 62) - 1;

/// Fields of a namespace, [`PROTOCOL`] included.
const FIELDS: usize = 16;

/// The longest value of the property with a byte string.
const MAX_VALUE_LENGTH: usize = 20;

/// How objects of a track travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// 0: one subgroup for each group.
    #[default]
    SubgroupPerGroup,
    /// 1: one subgroup for each object, with the object's id.
    SubgroupPerObject,
    /// 2: subgroup 0 for objects of even ids, 1 for the others.
    TwoSubgroups,
    /// 3: datagrams. A FETCH finds them as if it were 1.
    Datagram,
}

/// The namespace is not one of `moq-test-00`, or asks for what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTrack(pub &'static str);

/// A track of `moq-test-00`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TestTrack {
    /// How objects travel.
    pub forwarding: Forwarding,
    /// The first group.
    pub start_group: u64,
    /// The first object of each group.
    pub start_object: u64,
    /// No group is beyond this one.
    pub last_group: u64,
    /// No object of any group is beyond this one.
    pub last_object: u64,
    /// Bounds `last_object`; nothing else follows from it.
    pub objects_per_group: u64,
    /// Bytes of each group's first object.
    pub first_length: u64,
    /// Bytes of every other object.
    pub other_length: u64,
    /// Milliseconds between two objects.
    pub interval: u64,
    /// From one group id to the next.
    pub group_increment: u64,
    /// From one object id to the next.
    pub object_increment: u64,
    /// Whether `last_object` is the marker of its group's end rather than an object.
    pub end_of_group_markers: bool,
    /// `n`: objects have a property `2 * n`, an integer.
    pub integer_extension: Option<u64>,
    /// `n`: objects have a property `2 * n + 1`, a byte string.
    pub variable_extension: Option<u64>,
    /// The delivery timeout that the publisher gives the track; zero: none.
    pub delivery_timeout: Millis,
}

impl Default for TestTrack {
    /// As moxygen's client asks if it is told nothing, but for the last group: three groups.
    fn default() -> Self {
        Self {
            forwarding: Forwarding::SubgroupPerGroup,
            start_group: 0,
            start_object: 0,
            last_group: 2,
            last_object: 10,
            objects_per_group: 10,
            first_length: 1024,
            other_length: 100,
            interval: 50,
            group_increment: 1,
            object_increment: 1,
            end_of_group_markers: false,
            integer_extension: None,
            variable_extension: None,
            delivery_timeout: Millis(0),
        }
    }
}

impl TestTrack {
    /// Reads the parameters from a namespace.
    ///
    /// # Errors
    ///
    /// It does not have 16 fields that begin with [`PROTOCOL`], one of them is not a decimal number in its range, or
    /// together they ask for what cannot be: see [`TestTrack::check`].
    pub fn parse(namespace: &TrackNamespace) -> Result<Self, InvalidTrack> {
        let fields: &[Bytes; FIELDS] = namespace
            .fields()
            .try_into()
            .map_err(|_| InvalidTrack("not 16 fields"))?;
        let [
            protocol,
            forwarding,
            start_group,
            start_object,
            last_group,
            last_object,
            objects_per_group,
            first_length,
            other_length,
            interval,
            group_increment,
            object_increment,
            markers,
            integer_extension,
            variable_extension,
            delivery_timeout,
        ] = fields;
        if protocol != PROTOCOL {
            return Err(InvalidTrack("another protocol"));
        }
        let track = Self {
            forwarding: Forwarding::from_number(number(forwarding)?)?,
            start_group: number(start_group)?,
            start_object: number(start_object)?,
            last_group: number(last_group)?,
            last_object: number(last_object)?,
            objects_per_group: number(objects_per_group)?,
            first_length: number(first_length)?,
            other_length: number(other_length)?,
            interval: number(interval)?,
            group_increment: number(group_increment)?,
            object_increment: number(object_increment)?,
            end_of_group_markers: match number(markers)? {
                0 => false,
                1 => true,
                _ => return Err(InvalidTrack("end of group markers are neither 0 nor 1")),
            },
            integer_extension: number_or_none(integer_extension)?,
            variable_extension: number_or_none(variable_extension)?,
            delivery_timeout: Millis(number(delivery_timeout)?),
        };
        track.check()?;
        Ok(track)
    }

    /// Whether there can be such a track.
    ///
    /// # Errors
    ///
    /// It starts after its end, does not advance, ends beyond what its objects for each group allow, or has ids, lengths or
    /// properties that are too large.
    pub fn check(&self) -> Result<(), InvalidTrack> {
        let objects = self.objects_per_group.saturating_add(self.markers());
        let most = objects.saturating_mul(self.object_increment);
        let extensions = [self.integer_extension, self.variable_extension];
        let rules = [
            (
                self.start_group > self.last_group,
                "starts after its last group",
            ),
            (
                self.start_object > self.last_object,
                "starts after its last object",
            ),
            (self.last_group > MAX_NUMBER, "the last group is too large"),
            (
                self.last_object > MAX_NUMBER,
                "the last object is too large",
            ),
            (self.last_object > most, "the last object exceeds its group"),
            (self.group_increment == 0, "groups do not advance"),
            (self.object_increment == 0, "objects do not advance"),
            (
                self.first_length.max(self.other_length) > MAX_OBJECT_LENGTH,
                "objects are too long",
            ),
            (
                extensions.into_iter().flatten().any(|n| n > MAX_NUMBER / 2),
                "properties are too large",
            ),
            (
                self.delivery_timeout.0 > MAX_NUMBER,
                "the delivery timeout is too large",
            ),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken);
        broken.map_or(Ok(()), |(_, rule)| Err(InvalidTrack(rule)))
    }

    /// The namespace that says all this.
    ///
    /// # Errors
    ///
    /// It is too long, which takes numbers that [`TestTrack::check`] would not let pass.
    pub fn namespace(&self) -> Result<TrackNamespace, InvalidName> {
        let or_none = |n: Option<u64>| n.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let numbers = [
            self.forwarding.number(),
            self.start_group,
            self.start_object,
            self.last_group,
            self.last_object,
            self.objects_per_group,
            self.first_length,
            self.other_length,
            self.interval,
            self.group_increment,
            self.object_increment,
            self.markers(),
        ];
        let mut fields = vec![PROTOCOL.to_owned()];
        fields.extend(numbers.map(|number| number.to_string()));
        fields.push(or_none(self.integer_extension));
        fields.push(or_none(self.variable_extension));
        fields.push(self.delivery_timeout.0.to_string());
        TrackNamespace::new(fields)
    }

    /// The full name. Any track name is served; this is the usual one.
    ///
    /// # Errors
    ///
    /// As [`TestTrack::namespace`].
    pub fn full_name(&self) -> Result<FullTrackName, InvalidName> {
        FullTrackName::new(self.namespace()?, TrackName::new("test")?)
    }

    /// The time between two objects. Zero is taken as a millisecond: in virtual time nothing else would let any pass.
    pub fn pace(&self) -> Duration {
        Duration::from_millis(self.interval.max(1))
    }

    /// Everything that is published, markers included, in order.
    pub fn locations(&self) -> impl Iterator<Item = Location> + '_ {
        let first = self.at_or_after(Location::default());
        std::iter::successors(first, |location| self.after(*location))
    }

    /// What is published after this location.
    pub fn after(&self, location: Location) -> Option<Location> {
        self.at_or_after(Location::new(
            location.group.0,
            location.object.0.saturating_add(1),
        ))
    }

    /// The first that is published at this location or later.
    pub fn at_or_after(&self, location: Location) -> Option<Location> {
        let group = align(location.group.0, self.start_group, self.group_increment)?;
        let object = if group == location.group.0 {
            align(location.object.0, self.start_object, self.object_increment)
                .filter(|object| *object <= self.last_object)
        } else {
            Some(self.start_object)
        };
        let (group, object) = match object {
            Some(object) => (group, object),
            None => (group.checked_add(self.group_increment)?, self.start_object),
        };
        (group <= self.last_group).then(|| Location::new(group, object))
    }

    /// The last group that is not beyond this one.
    pub fn group_at_or_before(&self, group: GroupId) -> Option<GroupId> {
        let group = group.0.min(self.last_group);
        (group >= self.start_group)
            .then(|| GroupId(floor(group, self.start_group, self.group_increment)))
    }

    /// The group before this one.
    pub fn group_before(&self, group: GroupId) -> Option<GroupId> {
        self.group_at_or_before(GroupId(group.0.checked_sub(1)?))
    }

    /// What is published last of all.
    pub const fn last(&self) -> Location {
        Location {
            group: GroupId(floor(
                self.last_group,
                self.start_group,
                self.group_increment,
            )),
            object: self.last_of_group(),
        }
    }

    /// What is published last of each group.
    pub const fn last_of_group(&self) -> ObjectId {
        ObjectId(floor(
            self.last_object,
            self.start_object,
            self.object_increment,
        ))
    }

    /// Whether something is published there.
    pub fn has(&self, location: Location) -> bool {
        self.at_or_after(location) == Some(location)
    }

    /// Whether an object is there, or the marker of its group's end.
    pub const fn status(&self, location: Location) -> ObjectStatus {
        if self.end_of_group_markers && location.object.0 == self.last_object {
            ObjectStatus::EndOfGroup
        } else {
            ObjectStatus::Normal
        }
    }

    /// The subgroup of what is published there; in a FETCH also of what else comes in datagrams.
    pub const fn subgroup(&self, location: Location) -> SubgroupId {
        SubgroupId(match self.forwarding {
            Forwarding::SubgroupPerGroup => 0,
            Forwarding::SubgroupPerObject | Forwarding::Datagram => location.object.0,
            Forwarding::TwoSubgroups => location.object.0 % 2,
        })
    }

    /// What follows in the same subgroup.
    pub fn next_of_subgroup(&self, location: Location) -> Option<Location> {
        let subgroup = self.subgroup(location);
        let rest = std::iter::successors(self.after(location), |location| self.after(*location));
        // Of two subgroups, the next or the one after is of the same; otherwise the next or none.
        rest.take(2)
            .take_while(|next| next.group == location.group)
            .find(|next| self.subgroup(*next) == subgroup)
    }

    /// The first of a subgroup, if there is such a subgroup.
    pub fn first_of_subgroup(&self, group: GroupId, subgroup: SubgroupId) -> Option<Location> {
        let first = match self.forwarding {
            Forwarding::SubgroupPerGroup | Forwarding::TwoSubgroups => self.start_object,
            Forwarding::SubgroupPerObject | Forwarding::Datagram => subgroup.0,
        };
        let first = Location::new(group.0, first);
        let second = self.after(first);
        [Some(first), second]
            .into_iter()
            .flatten()
            .filter(|location| location.group == group && self.has(*location))
            .find(|location| self.subgroup(*location) == subgroup)
    }

    /// How many bytes the payload there has.
    pub const fn length(&self, location: Location) -> u64 {
        match self.status(location) {
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => 0,
            ObjectStatus::Normal if location.object.0 == self.start_object => self.first_length,
            ObjectStatus::Normal => self.other_length,
        }
    }

    /// The payload there.
    pub fn payload(&self, location: Location) -> Bytes {
        let length = usize::try_from(self.length(location)).unwrap_or(usize::MAX);
        Bytes::from(vec![b't'; length])
    }

    /// Whether objects have properties.
    pub const fn has_extensions(&self) -> bool {
        self.integer_extension.is_some() || self.variable_extension.is_some()
    }

    /// The properties of what is there. Their values are drawn from the location, so that both sides know them.
    pub fn extensions(&self, location: Location) -> Vec<(u64, Value)> {
        if self.status(location) != ObjectStatus::Normal {
            return Vec::new();
        }
        let mut random = Random::new(location.group.0 << 20 ^ location.object.0);
        let integer = random.below(1 << 31);
        let length = random.length(MAX_VALUE_LENGTH);
        let bytes: Bytes = random
            .number()
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(length)
            .collect();
        let mut list = Vec::new();
        if let Some(n) = self.integer_extension {
            list.push((2 * n, Value::Integer(integer)));
        }
        if let Some(n) = self.variable_extension {
            list.push((2 * n + 1, Value::Bytes(bytes)));
        }
        list.sort_by_key(|(number, _)| *number);
        list
    }

    const fn markers(&self) -> u64 {
        if self.end_of_group_markers { 1 } else { 0 }
    }
}

impl Forwarding {
    const fn from_number(number: u64) -> Result<Self, InvalidTrack> {
        Ok(match number {
            0 => Self::SubgroupPerGroup,
            1 => Self::SubgroupPerObject,
            2 => Self::TwoSubgroups,
            3 => Self::Datagram,
            _ => return Err(InvalidTrack("unknown forwarding preference")),
        })
    }

    const fn number(self) -> u64 {
        match self {
            Self::SubgroupPerGroup => 0,
            Self::SubgroupPerObject => 1,
            Self::TwoSubgroups => 2,
            Self::Datagram => 3,
        }
    }
}

impl fmt::Display for InvalidTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The least `start + n * step` that is not below `at`.
const fn align(at: u64, start: u64, step: u64) -> Option<u64> {
    if at <= start {
        return Some(start);
    }
    let step = if step == 0 { 1 } else { step };
    match (at - start).div_ceil(step).checked_mul(step) {
        Some(distance) => start.checked_add(distance),
        None => None,
    }
}

/// The largest `start + n * step` that is not above `at`; `start` if there is none.
const fn floor(at: u64, start: u64, step: u64) -> u64 {
    let step = if step == 0 { 1 } else { step };
    start + at.saturating_sub(start) / step * step
}

/// A decimal number without sign.
fn number(field: &Bytes) -> Result<u64, InvalidTrack> {
    let text = std::str::from_utf8(field).unwrap_or_default();
    if !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(InvalidTrack("a field is not a number"));
    }
    text.parse()
        .map_err(|_| InvalidTrack("a field is not a number"))
}

/// A decimal number, or -1.
fn number_or_none(field: &Bytes) -> Result<Option<u64>, InvalidTrack> {
    if field == "-1" {
        return Ok(None);
    }
    number(field).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(track: &TestTrack) -> Vec<(u64, u64)> {
        let locations = track.locations();
        locations
            .map(|location| (location.group.0, location.object.0))
            .collect()
    }

    #[test]
    fn namespace_says_everything_in_16_fields() {
        let track = TestTrack {
            forwarding: Forwarding::TwoSubgroups,
            start_group: 10,
            start_object: 2,
            last_group: 14,
            last_object: 18,
            objects_per_group: 8,
            first_length: 2048,
            other_length: 512,
            interval: 50,
            group_increment: 2,
            object_increment: 2,
            end_of_group_markers: true,
            integer_extension: Some(1),
            variable_extension: None,
            delivery_timeout: Millis(500),
        };
        let namespace = track.namespace().unwrap();
        let words = "moq-test-00 2 10 2 14 18 8 2048 512 50 2 2 1 1 -1 500";
        assert_eq!(namespace, TrackNamespace::new(words.split(' ')).unwrap());
        assert_eq!(TestTrack::parse(&namespace), Ok(track));
    }

    #[test]
    fn what_cannot_be_is_invalid() {
        let valid = "moq-test-00 0 0 0 4611686018427387903 10 10 1024 100 50 1 1 0 -1 -1 0";
        let with = |field: usize, value: &str| {
            let mut fields: Vec<&str> = valid.split(' ').collect();
            fields[field] = value;
            TestTrack::parse(
                &TrackNamespace::new(fields.iter().map(|field| field.as_bytes().to_vec())).unwrap(),
            )
        };
        with(0, "moq-test-00").unwrap();
        for (field, value) in [
            (0, "moq-test-01"),
            (1, "4"),
            (1, "-1"),
            (2, "4611686018427387904"),
            (3, "11"),
            (4, "4611686018427387904"),
            (5, "11"),
            (6, "9"),
            (7, "1048577"),
            (8, "99999999999999999999"),
            (9, "soon"),
            (10, "0"),
            (11, "0"),
            (12, "2"),
            (13, "-2"),
            (13, "2305843009213693952"),
            (14, "+1"),
            (15, "-1"),
        ] {
            with(field, value).expect_err(value);
        }
        // A group's end may be one beyond its objects.
        with(12, "1").unwrap();
        let short = TrackNamespace::new(["moq-test-00", "0"]).unwrap();
        assert_eq!(TestTrack::parse(&short), Err(InvalidTrack("not 16 fields")));
        // Nothing overflows.
        let huge = TestTrack {
            objects_per_group: u64::MAX,
            object_increment: u64::MAX,
            end_of_group_markers: true,
            ..TestTrack::default()
        };
        assert_eq!(huge.check(), Ok(()));
    }

    #[test]
    fn locations_advance_by_the_increments_and_end_with_the_last() {
        let track = TestTrack {
            start_group: 1,
            last_group: 6,
            group_increment: 4,
            start_object: 3,
            last_object: 8,
            object_increment: 2,
            ..TestTrack::default()
        };
        assert_eq!(
            locations(&track),
            [(1, 3), (1, 5), (1, 7), (5, 3), (5, 5), (5, 7)]
        );
        assert_eq!(track.last(), Location::new(5, 7));
        assert_eq!(
            track.at_or_after(Location::new(1, 8)),
            Some(Location::new(5, 3))
        );
        assert_eq!(
            track.at_or_after(Location::new(2, 9)),
            Some(Location::new(5, 3))
        );
        assert_eq!(track.after(Location::new(5, 7)), None);
        assert_eq!(track.after(Location::new(u64::MAX, u64::MAX)), None);
        assert!(!track.has(Location::new(1, 4)));
    }

    #[test]
    fn two_subgroups_hold_even_and_odd_ids() {
        let track = TestTrack {
            forwarding: Forwarding::TwoSubgroups,
            start_object: 1,
            last_object: 4,
            ..TestTrack::default()
        };
        let first = |subgroup| track.first_of_subgroup(GroupId(2), SubgroupId(subgroup));
        assert_eq!(first(0), Some(Location::new(2, 2)));
        assert_eq!(first(1), Some(Location::new(2, 1)));
        assert_eq!(first(2), None);
        assert_eq!(
            track.next_of_subgroup(Location::new(2, 1)),
            Some(Location::new(2, 3))
        );
        assert_eq!(track.next_of_subgroup(Location::new(1, 3)), None);
        let even = TestTrack {
            start_object: 0,
            object_increment: 2,
            ..track
        };
        let first = |subgroup| even.first_of_subgroup(GroupId(0), SubgroupId(subgroup));
        assert_eq!(first(0), Some(Location::new(0, 0)));
        assert_eq!(first(1), None);
    }

    #[test]
    fn marker_is_the_last_object_and_empty() {
        let track = TestTrack {
            end_of_group_markers: true,
            integer_extension: Some(1),
            ..TestTrack::default()
        };
        let last = Location::new(0, 10);
        assert_eq!(track.status(last), ObjectStatus::EndOfGroup);
        assert_eq!(track.length(last), 0);
        assert!(track.extensions(last).is_empty());
        assert_eq!(track.status(Location::new(0, 9)), ObjectStatus::Normal);
        assert_eq!(track.extensions(Location::new(0, 9)).len(), 1);
    }
}
