//! Objects as data streams and datagrams carry them (§ Data Streams and Datagrams).

use bytes::Bytes;

use super::id::{GroupId, Location, ObjectId, SubgroupId};
use super::property::Properties;

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
