//! Subgroups on streams (§ Subgroup Header).

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::inflow::{Inflow, Scan, Stop};
use super::stream::UNKNOWN;
use super::{ObjectHeader, ObjectStatus, StreamError, SubgroupHeader, add_id, writable_properties};
use crate::draft::{IntegerKind, Profile};
use crate::wire::id::{GroupId, ObjectId, SubgroupId, TrackAlias};
use crate::wire::property::Properties;
use crate::wire::{Error, NotExpressible, varint};

const PROPERTIES: u64 = 0x01;
const ID_MODE: u64 = 0x06;
const ID_FROM_FIRST_OBJECT: u64 = 0x02;
const ID_PRESENT: u64 = 0x04;
const END_OF_GROUP: u64 = 0x08;
const SUBGROUP: u64 = 0x10;
const DEFAULT_PRIORITY: u64 = 0x20;
const FIRST_OBJECT: u64 = 0x40;

/// Where a subgroup's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdMode {
    Zero,
    FirstObject,
    Present,
}

/// The type of a subgroup's stream: which fields its header and its objects have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubgroupType {
    properties: bool,
    id_mode: IdMode,
    end_of_group: bool,
    default_priority: bool,
    first_object: bool,
}

impl SubgroupType {
    /// What the integer at the start of a stream says, if it stands for a subgroup.
    ///
    /// # Errors
    /// If it does not, or uses the reserved way to tell the id: the session closes.
    pub fn from_wire(profile: &Profile, value: u64) -> Result<Self, Error> {
        let mut known = PROPERTIES | ID_MODE | END_OF_GROUP | SUBGROUP | DEFAULT_PRIORITY;
        if profile.first_object_flag {
            known |= FIRST_OBJECT;
        }
        if value & !known != 0 || value & SUBGROUP == 0 {
            return Err(UNKNOWN);
        }
        let id_mode = match value & ID_MODE {
            0 => IdMode::Zero,
            ID_FROM_FIRST_OBJECT => IdMode::FirstObject,
            ID_PRESENT => IdMode::Present,
            _ => return Err(Error::violation("V68: reserved subgroup id mode")),
        };
        Ok(Self {
            properties: value & PROPERTIES != 0,
            id_mode,
            end_of_group: value & END_OF_GROUP != 0,
            default_priority: value & DEFAULT_PRIORITY != 0,
            first_object: value & FIRST_OBJECT != 0,
        })
    }
}

/// Writes the start of a subgroup's stream. `properties`: whether objects on it may have properties.
///
/// Where the draft has no FIRST_OBJECT, [`SubgroupHeader::first_object`] is left out: it takes nothing away from what
/// the stream means.
///
/// # Errors
/// If an id is beyond what the draft can write.
pub fn encode_subgroup_header(
    profile: &Profile,
    alias: TrackAlias,
    header: &SubgroupHeader,
    properties: bool,
    to: &mut BytesMut,
) -> Result<(), NotExpressible> {
    let flags = [
        (properties, PROPERTIES),
        (header.subgroup.0 != 0, ID_PRESENT),
        (header.end_of_group, END_OF_GROUP),
        (header.priority.is_none(), DEFAULT_PRIORITY),
        (
            header.first_object && profile.first_object_flag,
            FIRST_OBJECT,
        ),
    ];
    let stream_type = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(SUBGROUP, |bits, (_, bit)| bits | bit);
    varint::encode(profile.integers, stream_type, to)?;
    varint::encode(profile.integers, alias.0, to)?;
    varint::encode(profile.integers, header.group.0, to)?;
    if header.subgroup.0 != 0 {
        varint::encode(profile.integers, header.subgroup.0, to)?;
    }
    if let Some(priority) = header.priority {
        to.put_u8(priority);
    }
    Ok(())
}

/// Writes what precedes an object's payload on a subgroup's stream. `previous` is the object before it on the stream;
/// `properties` is what [`encode_subgroup_header`] was told.
///
/// # Errors
/// If the object is not after the previous one, has properties on a stream without them, is a marker with properties or
/// payload, or has a number that the draft cannot write.
pub fn encode_object_header(
    profile: &Profile,
    properties: bool,
    previous: Option<ObjectId>,
    object: &ObjectHeader,
    to: &mut BytesMut,
) -> Result<(), NotExpressible> {
    let delta = match previous {
        None => object.id.0,
        Some(previous) => object
            .id
            .0
            .checked_sub(previous.0)
            .and_then(|distance| distance.checked_sub(1))
            .ok_or(NotExpressible("an object that is not after the one before"))?,
    };
    let block = writable_properties(&object.properties, object.status, profile.integers)?;
    if !properties && !block.is_empty() {
        return Err(NotExpressible("properties on a stream without them"));
    }
    if object.status != ObjectStatus::Normal && object.payload_length > 0 {
        return Err(NotExpressible("payload of an object that is a marker"));
    }
    varint::encode(profile.integers, delta, to)?;
    if properties {
        let length = u64::try_from(block.len()).unwrap_or(u64::MAX);
        varint::encode(profile.integers, length, to)?;
        to.put_slice(&block);
    }
    varint::encode(profile.integers, object.payload_length, to)?;
    if object.payload_length == 0 {
        varint::encode(profile.integers, object.status.to_wire(), to)?;
    }
    Ok(())
}

/// What a subgroup's stream consists of, in this order: [`Track`](Self::Track), [`Opened`](Self::Opened), then objects,
/// each followed by its payload in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubgroupItem {
    /// The track that the stream belongs to.
    Track(TrackAlias),
    /// All of the header. Where the subgroup takes its id from its first object, this waits for that object.
    Opened(SubgroupHeader),
    /// An object begins.
    Object(ObjectHeader),
    /// A piece of the payload of the object begun last, not empty.
    Payload(Bytes),
}

/// The fixed fields of a header, whose subgroup id may still be unknown.
#[derive(Clone, Copy, Debug)]
struct Opening {
    group: GroupId,
    subgroup: Option<SubgroupId>,
    priority: Option<u8>,
}

#[derive(Debug)]
enum State {
    /// In the header.
    Header,
    /// The track was told, the header not yet.
    Tracked(Opening),
    /// Between objects.
    Objects,
    /// In a payload, with this many bytes to come.
    Payload(u64),
}

/// Reads a subgroup's stream from behind its type, in pieces of any size.
///
/// After an error the stream is lost, and nothing more is to be read.
#[derive(Debug)]
pub struct SubgroupDecoder {
    integers: IntegerKind,
    kind: SubgroupType,
    inflow: Inflow,
    state: State,
    previous: Option<ObjectId>,
    /// The first object, when it had to be read to know the subgroup's id.
    waiting: Option<ObjectHeader>,
}

impl SubgroupDecoder {
    /// Reads a stream of this type.
    pub fn new(profile: &Profile, kind: SubgroupType) -> Self {
        Self {
            integers: profile.integers,
            kind,
            inflow: Inflow::default(),
            state: State::Header,
            previous: None,
            waiting: None,
        }
    }

    /// Takes what arrived on the stream.
    pub fn push(&mut self, bytes: Bytes) {
        self.inflow.push(bytes);
    }

    /// The next item, or `None` until more arrives.
    ///
    /// # Errors
    /// If the stream is not well-formed, or a header is larger than what is kept.
    pub fn next_item(&mut self) -> Result<Option<SubgroupItem>, StreamError> {
        match self.state {
            State::Header => self.header(),
            State::Tracked(opening) => self.opened(opening),
            State::Objects => match self.waiting.take() {
                Some(object) => Ok(Some(self.begin(object))),
                None => Ok(self.object()?.map(|object| self.begin(object))),
            },
            State::Payload(left) => {
                let Some(bytes) = self.inflow.payload(left) else {
                    return Ok(None);
                };
                let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.state = match left.saturating_sub(taken) {
                    0 => State::Objects,
                    left => State::Payload(left),
                };
                Ok(Some(SubgroupItem::Payload(bytes)))
            }
        }
    }

    /// Whether the stream may end here: everything was read, and no header or object is cut.
    ///
    /// # Errors
    /// If the stream ended inside its header or an object: the session closes.
    pub fn finish(&self) -> Result<(), Error> {
        match self.state {
            State::Objects | State::Tracked(_) if self.inflow.is_empty() => Ok(()),
            State::Header => Err(Error::violation("V75: stream ended inside its header")),
            State::Tracked(_) | State::Objects | State::Payload(_) => {
                Err(Error::violation("V75: stream ended inside an object"))
            }
        }
    }

    fn header(&mut self) -> Result<Option<SubgroupItem>, StreamError> {
        let kind = self.kind;
        let read = self.inflow.header(self.integers, |scan| {
            let alias = TrackAlias(scan.integer()?);
            let group = GroupId(scan.integer()?);
            let subgroup = match kind.id_mode {
                IdMode::Zero => Some(SubgroupId(0)),
                IdMode::FirstObject => None,
                IdMode::Present => Some(SubgroupId(scan.integer()?)),
            };
            let priority = if kind.default_priority {
                None
            } else {
                Some(scan.u8()?)
            };
            Ok((
                alias,
                Opening {
                    group,
                    subgroup,
                    priority,
                },
            ))
        })?;
        Ok(read.map(|((alias, opening), _)| {
            self.state = State::Tracked(opening);
            SubgroupItem::Track(alias)
        }))
    }

    fn opened(&mut self, opening: Opening) -> Result<Option<SubgroupItem>, StreamError> {
        let subgroup = match opening.subgroup {
            Some(subgroup) => subgroup,
            None => {
                let Some(object) = self.object()? else {
                    return Ok(None);
                };
                let id = object.id;
                self.waiting = Some(object);
                SubgroupId(id.0)
            }
        };
        self.state = State::Objects;
        Ok(Some(SubgroupItem::Opened(SubgroupHeader {
            group: opening.group,
            subgroup,
            priority: opening.priority,
            end_of_group: self.kind.end_of_group,
            first_object: self.kind.first_object,
        })))
    }

    fn begin(&mut self, object: ObjectHeader) -> SubgroupItem {
        if object.payload_length > 0 {
            self.state = State::Payload(object.payload_length);
        }
        SubgroupItem::Object(object)
    }

    fn object(&mut self) -> Result<Option<ObjectHeader>, StreamError> {
        let (integers, previous, with_properties) =
            (self.integers, self.previous, self.kind.properties);
        let read = self.inflow.header(integers, |scan| {
            read_object(scan, integers, previous, with_properties)
        })?;
        let Some((raw, bytes)) = read else {
            return Ok(None);
        };
        self.previous = Some(raw.id);
        Ok(Some(ObjectHeader {
            id: raw.id,
            properties: Properties::from_bytes(bytes.slice(raw.properties), integers),
            status: raw.status,
            payload_length: raw.payload_length,
        }))
    }
}

struct RawObject {
    id: ObjectId,
    properties: Range<usize>,
    status: ObjectStatus,
    payload_length: u64,
}

fn read_object(
    scan: &mut Scan<'_>,
    integers: IntegerKind,
    previous: Option<ObjectId>,
    with_properties: bool,
) -> Result<RawObject, Stop> {
    let delta = scan.integer()?;
    let id = match previous {
        None => delta,
        Some(previous) => add_id(integers, previous.0, delta, 1).ok_or(Error::violation(
            "V76: object id beyond the largest integer",
        ))?,
    };
    let properties = if with_properties {
        scan.properties()?
    } else {
        0..0
    };
    let payload_length = scan.integer()?;
    let status = if payload_length == 0 {
        ObjectStatus::from_wire(scan.integer()?)?
    } else {
        ObjectStatus::Normal
    };
    if status != ObjectStatus::Normal && !properties.is_empty() {
        return Err(Error::violation("V72: properties on an object that is not normal").into());
    }
    Ok(RawObject {
        id: ObjectId(id),
        properties,
        status,
        payload_length,
    })
}
