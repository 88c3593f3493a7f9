//! Properties of tracks and objects (§ Properties): key-value pairs kept exactly as received.

use bytes::Bytes;

use super::cursor::{Reader, Writer};
use super::id::Millis;
use super::kvp::{self, RawValue, TypeSum};
use super::param::GroupOrder;
use super::{Error, NotExpressible};
use crate::draft::{IntegerKind, Profile, ZeroTimeout};

/// OBJECT_DELIVERY_TIMEOUT of a track, in milliseconds; DELIVERY_TIMEOUT in draft 16.
pub const OBJECT_DELIVERY_TIMEOUT: u64 = 0x02;
/// MAX_CACHE_DURATION of a track, in milliseconds.
pub const MAX_CACHE_DURATION: u64 = 0x04;
/// SUBGROUP_DELIVERY_TIMEOUT of a track, in milliseconds. From draft 18.
pub const SUBGROUP_DELIVERY_TIMEOUT: u64 = 0x06;
/// Immutable properties of a track or an object: a list within the list.
pub const IMMUTABLE_PROPERTIES: u64 = 0x0B;
/// DEFAULT_PUBLISHER_PRIORITY of a track.
pub const DEFAULT_PUBLISHER_PRIORITY: u64 = 0x0E;
/// DEFAULT_PUBLISHER_GROUP_ORDER of a track.
pub const DEFAULT_PUBLISHER_GROUP_ORDER: u64 = 0x22;
/// DYNAMIC_GROUPS of a track.
pub const DYNAMIC_GROUPS: u64 = 0x30;
/// PRIOR_GROUP_ID_GAP of an object.
pub const PRIOR_GROUP_ID_GAP: u64 = 0x3C;
/// PRIOR_OBJECT_ID_GAP of an object.
pub const PRIOR_OBJECT_ID_GAP: u64 = 0x3E;

/// Types that a track must not be processed with unless they are understood (§ Mandatory Track Properties).
const MANDATORY: std::ops::RangeInclusive<u64> = 0x4000..=0x7FFF;

/// Properties of a track or an object: key-value pairs exactly as received.
///
/// The list is written with the integers of the draft that it came by. The body of the immutable properties in it is
/// written with those of the *origin's* draft, and is copied byte for byte even where the list is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    bytes: Bytes,
    integers: IntegerKind,
    /// Integers inside the immutable properties.
    immutable_integers: IntegerKind,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a property with an even type.
    Integer(u64),
    /// Of a property with an odd type.
    Bytes(Bytes),
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            bytes: Bytes::new(),
            integers: IntegerKind::Vi64,
            immutable_integers: IntegerKind::Vi64,
        }
    }
}

impl Properties {
    /// The list in these bytes. They are not looked at: see [`validate`](Self::validate).
    pub fn from_bytes(bytes: Bytes, integers: IntegerKind) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self {
            bytes,
            integers,
            immutable_integers: integers,
        }
    }

    /// A list of these properties, in ascending order of type; equal types stay in the order given.
    ///
    /// # Errors
    /// If an integer is too large for the encoding, a value longer than 65535 bytes, or not of the kind that the parity of
    /// its type asks for.
    pub fn from_list(
        integers: IntegerKind,
        list: impl IntoIterator<Item = (u64, Value)>,
    ) -> Result<Self, NotExpressible> {
        let mut list = list.into_iter().collect::<Vec<_>>();
        list.sort_by_key(|(number, _)| *number);
        let mut writer = Writer::new(integers);
        let mut types = TypeSum::default();
        for (number, value) in &list {
            let value = match value {
                Value::Integer(value) => RawValue::Integer(*value),
                Value::Bytes(bytes) => RawValue::Bytes(bytes),
            };
            kvp::write_pair(&mut types, *number, value, &mut writer)?;
        }
        Ok(Self::from_bytes(writer.freeze(), integers))
    }

    /// The bytes of the list, without a length in front.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How integers in it are written. Means nothing if the list is empty.
    pub const fn integers(&self) -> IntegerKind {
        self.integers
    }

    /// Whether there is no property.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The properties in order, without looking into the immutable ones. Ends after the first error.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            list: &self.bytes,
            reader: Reader::new(&self.bytes, self.integers),
            types: TypeSum::default(),
        }
    }

    /// Whether the list can be read to its end.
    ///
    /// # Errors
    /// V2 if it is cut short, V16 and V17 if a value is too long or a type too large.
    pub fn validate(&self) -> Result<(), Error> {
        self.iter().try_for_each(|item| item.map(drop))
    }

    /// Whether properties of a track obey the draft: the list can be read, and each value it defines is in its range.
    /// Immutable ones are looked into as well, if they can be read to their end; otherwise they are a matter of
    /// [`check_immutable`](Self::check_immutable).
    ///
    /// # Errors
    /// V2, V16, V17, V47, V48, V49, or a default priority above 255.
    pub fn validate_track(&self, profile: &Profile) -> Result<(), Error> {
        self.validate()?;
        let immutable = self.immutable().filter(|list| list.validate().is_ok());
        let inner = immutable.iter().flat_map(Self::iter).flatten();
        for (number, value) in self.iter().flatten().chain(inner) {
            if let Value::Integer(value) = value {
                check_track_property(number, value, profile)?;
            }
        }
        Ok(())
    }

    /// The list of immutable properties, if there is one.
    pub fn immutable(&self) -> Option<Self> {
        self.iter()
            .flatten()
            .find_map(|(number, value)| match value {
                Value::Bytes(bytes) if number == IMMUTABLE_PROPERTIES => {
                    Some(Self::from_bytes(bytes, self.immutable_integers))
                }
                Value::Bytes(_) | Value::Integer(_) => None,
            })
    }

    /// Whether both have the same immutable properties, byte for byte, or none. Which draft's integers the lists around them
    /// are written with does not matter: it depends on the way that they came.
    pub fn agree_on_immutable(&self, other: &Self) -> bool {
        let block = |list: &Self| list.immutable().map(|immutable| immutable.bytes);
        block(self) == block(other)
    }

    /// Whether the immutable properties are well-formed; if not, the track is malformed (§ Immutable Properties). Ones that
    /// were written with the integers of another draft are not judged. A relay upstream may have passed such on without
    /// saying so, since it must not change a byte of them: so ones that can be read only with the other kind of integer
    /// count as written with that.
    ///
    /// # Errors
    /// V89 if there are two lists of them, if one holds another, or if it cannot be read.
    pub fn check_immutable(&self) -> Result<(), Error> {
        const MALFORMED: Error = Error::violation("V89: malformed immutable properties");
        let is_immutable = |item: Result<(u64, Value), Error>| {
            item.is_ok_and(|(number, _)| number == IMMUTABLE_PROPERTIES)
        };
        if self
            .iter()
            .filter(|item| is_immutable(item.clone()))
            .count()
            > 1
        {
            return Err(MALFORMED);
        }
        let Some(inner) = self.immutable() else {
            return Ok(());
        };
        let nested = inner.iter().any(is_immutable);
        let known = self.integers == self.immutable_integers;
        match inner.validate() {
            Ok(()) if known && nested => Err(MALFORMED),
            Err(_) if known && inner.in_other_integers().validate().is_err() => Err(MALFORMED),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The same bytes, understood as written with the other kind of integer.
    fn in_other_integers(&self) -> Self {
        let integers = match self.integers {
            IntegerKind::Quic => IntegerKind::Vi64,
            IntegerKind::Vi64 => IntegerKind::Quic,
        };
        Self::from_bytes(self.bytes.clone(), integers)
    }

    /// The same list without a delivery timeout of zero, where the draft has no way to say that there is none but silence.
    /// (One among the immutable properties stays: nobody may remove those.)
    ///
    /// # Errors
    /// If the list cannot be read.
    pub(crate) fn without_forbidden_zero(&self, profile: &Profile) -> Result<Self, NotExpressible> {
        let forbidden = matches!(profile.zero_delivery_timeout, ZeroTimeout::Violation);
        let is_zero = |item: &(u64, Value)| *item == (OBJECT_DELIVERY_TIMEOUT, Value::Integer(0));
        if !forbidden || !self.iter().flatten().any(|item| is_zero(&item)) {
            return Ok(self.clone());
        }
        let rest = self.iter().flatten().filter(|item| !is_zero(item));
        Ok(Self {
            immutable_integers: self.immutable_integers,
            ..Self::from_list(self.integers, rest)?
        })
    }

    /// The same properties with the list written for another kind of integer. The body of the immutable ones stays as it is.
    ///
    /// # Errors
    /// If a type or value is too large for that kind, or the list cannot be read.
    pub fn reencode(&self, to: IntegerKind) -> Result<Self, NotExpressible> {
        if self.integers == to || self.is_empty() {
            return Ok(self.clone());
        }
        let list = self
            .iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| NotExpressible("properties that cannot be read"))?;
        Ok(Self {
            immutable_integers: self.immutable_integers,
            ..Self::from_list(to, list)?
        })
    }

    /// The first value of this type, which must be even, among the mutable and then among the immutable properties.
    pub fn integer(&self, number: u64) -> Option<u64> {
        let find = |list: &Self| {
            list.iter().flatten().find_map(|item| match item {
                (found, Value::Integer(value)) if found == number => Some(value),
                (_, Value::Integer(_) | Value::Bytes(_)) => None,
            })
        };
        find(self).or_else(|| find(&self.immutable()?))
    }

    /// The first value of this type, which must be odd, among the mutable and then among the immutable properties.
    pub fn byte_string(&self, number: u64) -> Option<Bytes> {
        let find = |list: &Self| {
            list.iter().flatten().find_map(|item| match item {
                (found, Value::Bytes(bytes)) if found == number => Some(bytes),
                (_, Value::Integer(_) | Value::Bytes(_)) => None,
            })
        };
        find(self).or_else(|| find(&self.immutable()?))
    }

    /// OBJECT_DELIVERY_TIMEOUT of a track; zero means none.
    pub fn object_delivery_timeout(&self) -> Option<Millis> {
        self.integer(OBJECT_DELIVERY_TIMEOUT).map(Millis)
    }

    /// SUBGROUP_DELIVERY_TIMEOUT of a track, if the draft has it; zero means none.
    pub fn subgroup_delivery_timeout(&self, profile: &Profile) -> Option<Millis> {
        profile
            .subgroup_delivery_timeout
            .then(|| self.integer(SUBGROUP_DELIVERY_TIMEOUT).map(Millis))?
    }

    /// MAX_CACHE_DURATION of a track.
    pub fn max_cache_duration(&self) -> Option<Millis> {
        self.integer(MAX_CACHE_DURATION).map(Millis)
    }

    /// DEFAULT_PUBLISHER_PRIORITY of a track: 128 if it says nothing.
    pub fn default_publisher_priority(&self) -> u8 {
        self.integer(DEFAULT_PUBLISHER_PRIORITY)
            .and_then(|priority| u8::try_from(priority).ok())
            .unwrap_or(128)
    }

    /// DEFAULT_PUBLISHER_GROUP_ORDER of a track: ascending if it says nothing.
    pub fn default_publisher_group_order(&self) -> GroupOrder {
        self.integer(DEFAULT_PUBLISHER_GROUP_ORDER)
            .and_then(GroupOrder::from_wire)
            .unwrap_or_default()
    }

    /// DYNAMIC_GROUPS of a track: whether subscribers may ask for a new group.
    pub fn dynamic_groups(&self) -> bool {
        self.integer(DYNAMIC_GROUPS) == Some(1)
    }

    /// PRIOR_GROUP_ID_GAP of an object.
    pub fn prior_group_id_gap(&self) -> Option<u64> {
        self.integer(PRIOR_GROUP_ID_GAP)
    }

    /// PRIOR_OBJECT_ID_GAP of an object.
    pub fn prior_object_id_gap(&self) -> Option<u64> {
        self.integer(PRIOR_OBJECT_ID_GAP)
    }

    /// The first mandatory property, mutable or immutable, if the draft has such. None is understood here, so a track that
    /// has one is not processed (§ Mandatory Track Properties), and an object that has one makes its track malformed.
    pub fn mandatory(&self, profile: &Profile) -> Option<u64> {
        if !profile.mandatory_properties {
            return None;
        }
        let find = |list: &Self| {
            list.iter()
                .flatten()
                .map(|(number, _)| number)
                .find(|number| MANDATORY.contains(number) && !is_grease(*number))
        };
        find(self).or_else(|| find(&self.immutable()?))
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = Result<(u64, Value), Error>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Goes through the properties of a list.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    list: &'a Bytes,
    reader: Reader<'a>,
    types: TypeSum,
}

impl Iterator for Iter<'_> {
    type Item = Result<(u64, Value), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let pair = self.types.read(&mut self.reader).and_then(|number| {
            let value = match kvp::read_value(number, &mut self.reader)? {
                RawValue::Integer(value) => Value::Integer(value),
                RawValue::Bytes(bytes) => Value::Bytes(self.list.slice_ref(bytes)),
            };
            Ok((number, value))
        });
        if pair.is_err() {
            self.reader.take_rest();
        }
        Some(pair)
    }
}

/// Numbers that are sent only so that receivers learn to pass over unknown ones (§ Grease).
const fn is_grease(number: u64) -> bool {
    number >= 0x9D && (number - 0x9D).is_multiple_of(0x7F)
}

const fn check_track_property(number: u64, value: u64, profile: &Profile) -> Result<(), Error> {
    let rule = match (number, value) {
        (OBJECT_DELIVERY_TIMEOUT, 0)
            if matches!(profile.zero_delivery_timeout, ZeroTimeout::Violation) =>
        {
            "V47: DELIVERY_TIMEOUT is 0"
        }
        (DYNAMIC_GROUPS, 2..) => "V48: DYNAMIC_GROUPS is neither 0 nor 1",
        (DEFAULT_PUBLISHER_GROUP_ORDER, 0 | 3..) => {
            "V49: DEFAULT_PUBLISHER_GROUP_ORDER is neither 1 nor 2"
        }
        (DEFAULT_PUBLISHER_PRIORITY, 256..) => "DEFAULT_PUBLISHER_PRIORITY is above 255",
        _ => return Ok(()),
    };
    Err(Error::violation(rule))
}

#[cfg(test)]
mod tests;
