//! Objects as data streams and datagrams carry them (§ Data Streams and Datagrams).
//!
//! Streams have no frames, so [`SubgroupDecoder`] and [`FetchDecoder`] take bytes in whatever pieces the transport has.
//! They keep at most one unfinished header ([`MAX_PROPERTIES_LENGTH`] and a few integers) and hand payload through
//! uncopied. What they yield is well-formed; whether it fits what came before on other streams is the session's business.

mod datagram;
mod fetch;
mod inflow;
mod stream;
mod subgroup;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::id::{GroupId, Location, ObjectId, SubgroupId};
use super::property::Properties;
use super::{Error, NotExpressible};
use crate::draft::IntegerKind;

pub use datagram::{Datagram, decode_datagram, encode_datagram, encode_padding_datagram};
pub use fetch::{FetchDecoder, FetchEncoder, FetchEntry, FetchObject, FetchPiece};
pub use stream::{StreamType, decode_stream_type, encode_padding_stream};
pub use subgroup::{
    SubgroupDecoder, SubgroupItem, SubgroupType, encode_object_header, encode_subgroup_header,
};

/// The most bytes of properties accepted with one object. The drafts set no limit to their sum (only 65535 to a single
/// value); a stream whose object exceeds this is abandoned, since a header must be complete before it can be understood.
pub const MAX_PROPERTIES_LENGTH: u64 = 65_535;

/// What the header of a subgroup's stream says (§ Subgroup Header).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubgroupHeader {
    /// The group.
    pub group: GroupId,
    /// The subgroup.
    pub subgroup: SubgroupId,
    /// The publisher's priority, lower first; `None`: the track's default.
    pub priority: Option<u8>,
    /// Whether the group ends with the last object of this stream, if it ends properly.
    pub end_of_group: bool,
    /// Whether the first object on the stream is known to be the first of the subgroup. Draft 16 cannot tell.
    pub first_object: bool,
}

/// What precedes an object's payload on a subgroup's stream (§ Subgroup Header, objects).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// The object.
    pub id: ObjectId,
    /// Its properties; empty if it has none.
    pub properties: Properties,
    /// Normal, or a marker without payload.
    pub status: ObjectStatus,
    /// Length of the payload in bytes.
    pub payload_length: u64,
}

/// What an object is (§ Object Status).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ObjectStatus {
    /// An object.
    #[default]
    Normal,
    /// No object with this or a larger id exists in the group.
    EndOfGroup,
    /// No object exists at this or a later location.
    EndOfTrack,
}

impl ObjectStatus {
    const fn to_wire(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::EndOfGroup => 3,
            Self::EndOfTrack => 4,
        }
    }

    fn from_wire(status: u64) -> Result<Self, Error> {
        match status {
            0 => Ok(Self::Normal),
            3 => Ok(Self::EndOfGroup),
            4 => Ok(Self::EndOfTrack),
            _ => Err(Error::violation("V73: unknown object status")),
        }
    }
}

/// An object in a datagram (§ Object Datagram).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramObject {
    /// Where it is.
    pub location: Location,
    /// The publisher's priority, lower first; `None`: the track's default.
    pub priority: Option<u8>,
    /// Its properties; empty if it has none.
    pub properties: Properties,
    /// Normal, or a marker without payload.
    pub status: ObjectStatus,
    /// Whether it is the last object of its group.
    pub end_of_group: bool,
    /// The payload.
    pub payload: Bytes,
}

/// Why a data stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The peer broke a rule: the session closes.
    Violation(Error),
    /// A header longer than this implementation keeps: the stream is abandoned.
    TooLarge,
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        Self::Violation(error)
    }
}

/// The largest id that a draft with these integers can write.
const fn largest_id(integers: IntegerKind) -> u64 {
    match integers {
        IntegerKind::Quic => super::varint::MAX_QUIC,
        IntegerKind::Vi64 => u64::MAX,
    }
}

/// `base + delta + extra`, if a draft with these integers can write the sum.
fn add_id(integers: IntegerKind, base: u64, delta: u64, extra: u64) -> Option<u64> {
    base.checked_add(delta)?
        .checked_add(extra)
        .filter(|id| *id <= largest_id(integers))
}

/// Properties of an object of this status, with the bytes written as the draft needs them.
fn writable_properties(
    properties: &Properties,
    status: ObjectStatus,
    integers: IntegerKind,
) -> Result<Bytes, NotExpressible> {
    if properties.is_empty() {
        return Ok(Bytes::new());
    }
    if status != ObjectStatus::Normal {
        return Err(NotExpressible("properties of an object that is a marker"));
    }
    if properties.integers() != integers {
        return Err(NotExpressible("properties written for another draft"));
    }
    let bytes = properties.bytes().clone();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_PROPERTIES_LENGTH {
        return Err(NotExpressible("that many bytes of properties"));
    }
    Ok(bytes)
}
