//! The stream that answers a FETCH (§ Fetch Header).
//!
//! An entry may leave out what it shares with the one before. Draft 18 counts ids as differences, draft 16 writes them as
//! they are. Markers of a range's end write their location as it is in both drafts and have no payload length: so do most
//! implementations, where the drafts' words leave it open.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::inflow::{Inflow, Scan, Stop};
use super::stream::encode_fetch_type;
use super::{ObjectStatus, StreamError, add_id, writable_properties};
use crate::draft::{FetchIds, IntegerKind, Profile};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId};
use crate::wire::param::GroupOrder;
use crate::wire::property::Properties;
use crate::wire::{Error, NotExpressible, varint};

const SUBGROUP_MODE: u64 = 0x03;
const SUBGROUP_PRIOR: u64 = 0x01;
const SUBGROUP_NEXT: u64 = 0x02;
const SUBGROUP_PRESENT: u64 = 0x03;
const OBJECT_PRESENT: u64 = 0x04;
const GROUP_PRESENT: u64 = 0x08;
const PRIORITY_PRESENT: u64 = 0x10;
const PROPERTIES: u64 = 0x20;
const DATAGRAM: u64 = 0x40;
const FLAGS: u64 = 0x7f;
const END_OF_NON_EXISTENT: u64 = 0x8c;
const END_OF_UNKNOWN: u64 = 0x10c;

const NO_PRIOR: Error = Error::violation("V78: the first entry refers to one before it");

/// An object on a FETCH stream, without its payload. Its status is always normal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchObject {
    /// Where it is.
    pub location: Location,
    /// Its subgroup; `None`: it was published in a datagram.
    pub subgroup: Option<SubgroupId>,
    /// The publisher's priority, lower first.
    pub priority: u8,
    /// Its properties; empty if it has none.
    pub properties: Properties,
    /// Length of the payload in bytes.
    pub payload_length: u64,
}

/// An entry of a FETCH stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEntry {
    /// An object; its payload follows.
    Object(FetchObject),
    /// No object exists from after the previous entry up to and including this location.
    NonExistent(Location),
    /// It is not known whether objects exist from after the previous entry up to and including this location.
    Unknown(Location),
}

/// What a FETCH stream consists of: first [`Request`](Self::Request), then entries, each object followed by its payload in
/// pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchPiece {
    /// The FETCH that the stream answers.
    Request(RequestId),
    /// An object begins, or a marker.
    Entry(FetchEntry),
    /// A piece of the payload of the object begun last, not empty.
    Payload(Bytes),
}

/// What a later entry may refer to.
#[derive(Clone, Copy, Debug, Default)]
struct Prior {
    /// Of the last entry, markers included.
    location: Option<Location>,
    /// Whether the last entry was a marker.
    marker: bool,
    /// Of the last object.
    object: Option<PriorObject>,
}

#[derive(Clone, Copy, Debug)]
struct PriorObject {
    /// `None` after a datagram's object: the drafts do not say what its subgroup would be.
    subgroup: Option<SubgroupId>,
    priority: u8,
}

impl Prior {
    const fn after(self, entry: &FetchEntry) -> Self {
        match entry {
            FetchEntry::Object(object) => Self {
                location: Some(object.location),
                marker: false,
                object: Some(PriorObject {
                    subgroup: object.subgroup,
                    priority: object.priority,
                }),
            },
            FetchEntry::NonExistent(location) | FetchEntry::Unknown(location) => Self {
                location: Some(*location),
                marker: true,
                object: self.object,
            },
        }
    }
}

/// Writes a FETCH stream.
#[derive(Clone, Debug)]
pub struct FetchEncoder {
    ids: FetchIds,
    integers: IntegerKind,
    order: GroupOrder,
    prior: Prior,
}

impl FetchEncoder {
    /// Writes the start of the stream that answers `request`, whose groups come in this order.
    ///
    /// # Errors
    /// If the request's id is beyond what the draft can write.
    pub fn new(
        profile: &Profile,
        request: RequestId,
        order: GroupOrder,
        to: &mut BytesMut,
    ) -> Result<Self, NotExpressible> {
        encode_fetch_type(profile, to)?;
        varint::encode(profile.integers, request.0, to)?;
        Ok(Self {
            ids: profile.fetch_ids,
            integers: profile.integers,
            order,
            prior: Prior::default(),
        })
    }

    /// Writes a marker, or what precedes an object's payload. After an error nothing is written and nothing changed.
    ///
    /// # Errors
    /// If the entry is not after the one before in the stream's order, or has a number that the draft cannot write.
    pub fn entry(&mut self, entry: &FetchEntry, to: &mut BytesMut) -> Result<(), NotExpressible> {
        let mut bytes = BytesMut::new();
        match entry {
            FetchEntry::Object(object) => self.object(object, &mut bytes)?,
            FetchEntry::NonExistent(at) => self.marker(END_OF_NON_EXISTENT, *at, &mut bytes)?,
            FetchEntry::Unknown(at) => self.marker(END_OF_UNKNOWN, *at, &mut bytes)?,
        }
        self.prior = self.prior.after(entry);
        to.put_slice(&bytes);
        Ok(())
    }

    fn marker(&self, flags: u64, at: Location, to: &mut BytesMut) -> Result<(), NotExpressible> {
        if let Some(prior) = self.prior.location {
            let _same_group = self.group_distance(prior, at)?;
        }
        varint::encode(self.integers, flags, to)?;
        varint::encode(self.integers, at.group.0, to)?;
        varint::encode(self.integers, at.object.0, to)
    }

    fn object(&self, object: &FetchObject, to: &mut BytesMut) -> Result<(), NotExpressible> {
        let properties =
            writable_properties(&object.properties, ObjectStatus::Normal, self.integers)?;
        let (group, id) = self.id_fields(object.location)?;
        let (mode, subgroup) = self.subgroup_field(object.subgroup);
        let known = self.prior.object.map(|prior| prior.priority);
        let priority = (known != Some(object.priority)).then_some(object.priority);
        let flags = [
            (group.is_some(), GROUP_PRESENT),
            (id.is_some(), OBJECT_PRESENT),
            (priority.is_some(), PRIORITY_PRESENT),
            (!properties.is_empty(), PROPERTIES),
        ];
        let flags = flags
            .into_iter()
            .filter(|(set, _)| *set)
            .fold(mode, |bits, (_, bit)| bits | bit);
        varint::encode(self.integers, flags, to)?;
        for field in [group, subgroup, id].into_iter().flatten() {
            varint::encode(self.integers, field, to)?;
        }
        if let Some(priority) = priority {
            to.put_u8(priority);
        }
        if !properties.is_empty() {
            let length = u64::try_from(properties.len()).unwrap_or(u64::MAX);
            varint::encode(self.integers, length, to)?;
            to.put_slice(&properties);
        }
        varint::encode(self.integers, object.payload_length, to)
    }

    /// The group and object fields of an entry at `at`, where they are needed.
    fn id_fields(&self, at: Location) -> Result<(Option<u64>, Option<u64>), NotExpressible> {
        let Some(prior) = self.prior.location else {
            return Ok((Some(at.group.0), Some(at.object.0)));
        };
        let follows = prior.object.0.checked_add(1) == Some(at.object.0);
        match (self.group_distance(prior, at)?, self.ids) {
            // draft 16 does not say whether a marker counts as what is before
            (_, FetchIds::Absolute) if self.prior.marker => {
                Ok((Some(at.group.0), Some(at.object.0)))
            }
            (Some(distance), FetchIds::Delta) => Ok((Some(distance - 1), Some(at.object.0))),
            (Some(_), FetchIds::Absolute) => Ok((Some(at.group.0), Some(at.object.0))),
            (None, _) if follows => Ok((None, None)),
            (None, FetchIds::Delta) => Ok((None, Some(at.object.0 - prior.object.0))),
            (None, FetchIds::Absolute) => Ok((None, Some(at.object.0))),
        }
    }

    /// How many groups `at` is after `prior` in the stream's order, at least 1; `None`: in the same group.
    fn group_distance(&self, prior: Location, at: Location) -> Result<Option<u64>, NotExpressible> {
        let out_of_order = NotExpressible("an entry that is not after the one before");
        if prior.group == at.group {
            return if at.object > prior.object {
                Ok(None)
            } else {
                Err(out_of_order)
            };
        }
        let distance = match self.order {
            GroupOrder::Ascending => at.group.0.checked_sub(prior.group.0),
            GroupOrder::Descending => prior.group.0.checked_sub(at.group.0),
        };
        distance.map(Some).ok_or(out_of_order)
    }

    fn subgroup_field(&self, subgroup: Option<SubgroupId>) -> (u64, Option<u64>) {
        let prior = self.prior.object.and_then(|prior| prior.subgroup);
        match subgroup {
            None => (DATAGRAM, None),
            Some(SubgroupId(0)) => (0, None),
            Some(subgroup) if prior == Some(subgroup) => (SUBGROUP_PRIOR, None),
            Some(subgroup) => (SUBGROUP_PRESENT, Some(subgroup.0)),
        }
    }
}

#[derive(Debug)]
enum State {
    Header,
    Entries,
    Payload(u64),
}

/// Reads a FETCH stream from behind its type, in pieces of any size.
///
/// After an error the stream is lost, and nothing more is to be read.
#[derive(Debug)]
pub struct FetchDecoder {
    ids: FetchIds,
    integers: IntegerKind,
    order: GroupOrder,
    inflow: Inflow,
    state: State,
    prior: Prior,
}

impl FetchDecoder {
    /// Reads a FETCH stream of this draft.
    pub fn new(profile: &Profile) -> Self {
        Self {
            ids: profile.fetch_ids,
            integers: profile.integers,
            order: GroupOrder::Ascending,
            inflow: Inflow::default(),
            state: State::Header,
            prior: Prior::default(),
        }
    }

    /// Tells in which order the groups come: as the FETCH, known from [`FetchPiece::Request`], asked. Ascending unless told.
    pub const fn set_order(&mut self, order: GroupOrder) {
        self.order = order;
    }

    /// Takes what arrived on the stream.
    pub fn push(&mut self, bytes: Bytes) {
        self.inflow.push(bytes);
    }

    /// The next piece, or `None` until more arrives.
    ///
    /// # Errors
    /// If the stream is not well-formed, or a header is larger than what is kept.
    pub fn next_piece(&mut self) -> Result<Option<FetchPiece>, StreamError> {
        match self.state {
            State::Header => {
                let read = self.inflow.header(self.integers, |scan| scan.integer())?;
                Ok(read.map(|(id, _)| {
                    self.state = State::Entries;
                    FetchPiece::Request(RequestId(id))
                }))
            }
            State::Entries => self.entry(),
            State::Payload(left) => {
                let Some(bytes) = self.inflow.payload(left) else {
                    return Ok(None);
                };
                let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.state = match left.saturating_sub(taken) {
                    0 => State::Entries,
                    left => State::Payload(left),
                };
                Ok(Some(FetchPiece::Payload(bytes)))
            }
        }
    }

    /// Whether the stream may end here: everything was read, and no header or object is cut.
    ///
    /// # Errors
    /// If the stream ended inside its header or an entry: the session closes.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Entries if self.inflow.is_empty() => Ok(()),
            State::Header => Err(Error::violation("V75: stream ended inside its header")),
            State::Entries | State::Payload(_) => {
                Err(Error::violation("V75: stream ended inside an object"))
            }
        }
    }

    fn entry(&mut self) -> Result<Option<FetchPiece>, StreamError> {
        let (integers, prior) = (self.integers, self.prior);
        let rules = IdRules {
            ids: self.ids,
            integers,
            order: self.order,
        };
        let read = self
            .inflow
            .header(integers, |scan| read_entry(scan, prior, rules))?;
        let Some((raw, bytes)) = read else {
            return Ok(None);
        };
        let entry = match raw {
            RawEntry::NonExistent(at) => FetchEntry::NonExistent(at),
            RawEntry::Unknown(at) => FetchEntry::Unknown(at),
            RawEntry::Object(raw) => {
                if raw.payload_length > 0 {
                    self.state = State::Payload(raw.payload_length);
                }
                FetchEntry::Object(FetchObject {
                    location: raw.location,
                    subgroup: raw.subgroup,
                    priority: raw.priority,
                    properties: Properties::from_bytes(bytes.slice(raw.properties), integers),
                    payload_length: raw.payload_length,
                })
            }
        };
        self.prior = self.prior.after(&entry);
        Ok(Some(FetchPiece::Entry(entry)))
    }
}

enum RawEntry {
    Object(RawObject),
    NonExistent(Location),
    Unknown(Location),
}

struct RawObject {
    location: Location,
    subgroup: Option<SubgroupId>,
    priority: u8,
    properties: Range<usize>,
    payload_length: u64,
}

/// How ids are to be understood.
#[derive(Clone, Copy)]
struct IdRules {
    ids: FetchIds,
    integers: IntegerKind,
    order: GroupOrder,
}

fn read_entry(scan: &mut Scan<'_>, prior: Prior, rules: IdRules) -> Result<RawEntry, Stop> {
    let flags = scan.integer()?;
    if flags == END_OF_NON_EXISTENT || flags == END_OF_UNKNOWN {
        let at = Location {
            group: GroupId(scan.integer()?),
            object: ObjectId(scan.integer()?),
        };
        return Ok(if flags == END_OF_UNKNOWN {
            RawEntry::Unknown(at)
        } else {
            RawEntry::NonExistent(at)
        });
    }
    if flags & !FLAGS != 0 {
        return Err(Error::violation("V77: unknown serialization flags").into());
    }
    check_references(flags, prior)?;
    let field = |present: bool, scan: &mut Scan<'_>| -> Result<Option<u64>, Stop> {
        present.then(|| scan.integer()).transpose()
    };
    let mode = flags & SUBGROUP_MODE;
    let datagram = flags & DATAGRAM != 0;
    let group = field(flags & GROUP_PRESENT != 0, scan)?;
    let subgroup = field(!datagram && mode == SUBGROUP_PRESENT, scan)?;
    let object = field(flags & OBJECT_PRESENT != 0, scan)?;
    let location = rules.location(prior.location, group, object)?;
    let subgroup = if datagram {
        None
    } else {
        Some(rules.subgroup(prior.object, mode, subgroup)?)
    };
    let priority = if flags & PRIORITY_PRESENT == 0 {
        prior.object.ok_or(NO_PRIOR)?.priority
    } else {
        scan.u8()?
    };
    let properties = if flags & PROPERTIES == 0 {
        0..0
    } else {
        scan.properties()?
    };
    Ok(RawEntry::Object(RawObject {
        location,
        subgroup,
        priority,
        properties,
        payload_length: scan.integer()?,
    }))
}

/// Whether what the flags refer to exists, before any field is waited for.
fn check_references(flags: u64, prior: Prior) -> Result<(), Error> {
    let needs_location = flags & GROUP_PRESENT == 0 || flags & OBJECT_PRESENT == 0;
    let needs_subgroup =
        flags & DATAGRAM == 0 && matches!(flags & SUBGROUP_MODE, SUBGROUP_PRIOR | SUBGROUP_NEXT);
    let needs_object = needs_subgroup || flags & PRIORITY_PRESENT == 0;
    if needs_location && prior.location.is_none() || needs_object && prior.object.is_none() {
        return Err(NO_PRIOR);
    }
    Ok(())
}

impl IdRules {
    fn location(
        self,
        prior: Option<Location>,
        group: Option<u64>,
        object: Option<u64>,
    ) -> Result<Location, Error> {
        const OUT_OF_RANGE: Error = Error::violation("V79: group or object id out of range");
        let location = |group, object| Location {
            group: GroupId(group),
            object: ObjectId(object),
        };
        let Some(prior) = prior else {
            let (group, object) = (group.ok_or(NO_PRIOR)?, object.ok_or(NO_PRIOR)?);
            return Ok(location(group, object));
        };
        let next_group = match (group, self.ids, self.order) {
            (None, _, _) => Some(prior.group.0),
            (Some(group), FetchIds::Absolute, _) => Some(group),
            (Some(delta), FetchIds::Delta, GroupOrder::Ascending) => {
                add_id(self.integers, prior.group.0, delta, 1)
            }
            (Some(delta), FetchIds::Delta, GroupOrder::Descending) => prior
                .group
                .0
                .checked_sub(delta)
                .and_then(|group| group.checked_sub(1)),
        };
        let next_object = match (object, self.ids, group) {
            (None, _, _) => add_id(self.integers, prior.object.0, 1, 0),
            (Some(object), FetchIds::Absolute, _) | (Some(object), FetchIds::Delta, Some(_)) => {
                Some(object)
            }
            (Some(delta), FetchIds::Delta, None) => add_id(self.integers, prior.object.0, delta, 0),
        };
        next_group
            .zip(next_object)
            .map(|(group, object)| location(group, object))
            .ok_or(OUT_OF_RANGE)
    }

    fn subgroup(
        self,
        prior: Option<PriorObject>,
        mode: u64,
        field: Option<u64>,
    ) -> Result<SubgroupId, Error> {
        // after a datagram's object, "the prior object's subgroup" is taken to be 0
        let before = || {
            prior
                .map(|object| object.subgroup.unwrap_or_default().0)
                .ok_or(NO_PRIOR)
        };
        let id = match mode {
            SUBGROUP_PRIOR => before()?,
            SUBGROUP_NEXT => add_id(self.integers, before()?, 1, 0)
                .ok_or(Error::violation("V79: subgroup id out of range"))?,
            _ => field.unwrap_or(0),
        };
        Ok(SubgroupId(id))
    }
}
