//! Objects in datagrams (§ Object Datagram) and padding datagrams (§ Padding Datagrams).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{DatagramObject, ObjectStatus, writable_properties};
use crate::draft::Profile;
use crate::wire::cursor::Reader;
use crate::wire::id::{GroupId, Location, ObjectId, TrackAlias};
use crate::wire::property::Properties;
use crate::wire::{Error, NotExpressible, varint};

const PROPERTIES: u64 = 0x01;
const END_OF_GROUP: u64 = 0x02;
const ZERO_OBJECT_ID: u64 = 0x04;
const DEFAULT_PRIORITY: u64 = 0x08;
const STATUS: u64 = 0x20;
const KNOWN: u64 = PROPERTIES | END_OF_GROUP | ZERO_OBJECT_ID | DEFAULT_PRIORITY | STATUS;
const PADDING: u64 = 0x132b_3e29;

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// An object of the track that the alias stands for.
    Object(TrackAlias, DatagramObject),
    /// Nothing, to be discarded. From draft 18.
    Padding,
}

/// Reads a datagram. The payload shares its memory.
///
/// # Errors
/// If the draft does not know its type, or it is not well-formed: the session closes.
pub fn decode_datagram(profile: &Profile, datagram: &Bytes) -> Result<Datagram, Error> {
    let mut reader = Reader::new(datagram, profile.integers);
    let flags = reader.integer()?;
    if flags == PADDING && profile.padding {
        return Ok(Datagram::Padding);
    }
    if flags & !KNOWN != 0 {
        return Err(Error::violation("V69: unknown datagram type"));
    }
    if flags & STATUS != 0 && flags & END_OF_GROUP != 0 {
        return Err(Error::violation(
            "V69: a status datagram that ends its group",
        ));
    }
    let alias = TrackAlias(reader.integer()?);
    let group = GroupId(reader.integer()?);
    let object = if flags & ZERO_OBJECT_ID == 0 {
        ObjectId(reader.integer()?)
    } else {
        ObjectId(0)
    };
    let priority = if flags & DEFAULT_PRIORITY == 0 {
        Some(reader.u8()?)
    } else {
        None
    };
    let properties = if flags & PROPERTIES == 0 {
        Properties::default()
    } else {
        let block = reader.length_prefixed()?;
        if block.is_empty() {
            return Err(Error::violation(
                "V70: a datagram with properties of length 0",
            ));
        }
        Properties::from_bytes(datagram.slice_ref(block), profile.integers)
    };
    let (status, payload) = if flags & STATUS == 0 {
        (ObjectStatus::Normal, datagram.slice_ref(reader.take_rest()))
    } else {
        let status = ObjectStatus::from_wire(reader.integer()?)?;
        if status != ObjectStatus::Normal && flags & PROPERTIES != 0 {
            return Err(Error::violation(
                "V71: properties on an object that is not normal",
            ));
        }
        if !reader.is_empty() {
            return Err(Error::violation("V74: a status datagram with payload"));
        }
        (status, Bytes::new())
    };
    Ok(Datagram::Object(
        alias,
        DatagramObject {
            location: Location { group, object },
            priority,
            properties,
            status,
            end_of_group: flags & END_OF_GROUP != 0,
            payload,
        },
    ))
}

/// Writes an object as a datagram.
///
/// # Errors
/// If it is a marker with properties, payload or the end of its group, or has a number that the draft cannot write.
pub fn encode_datagram(
    profile: &Profile,
    alias: TrackAlias,
    object: &DatagramObject,
) -> Result<Bytes, NotExpressible> {
    let marker = object.status != ObjectStatus::Normal;
    if marker && !object.payload.is_empty() {
        return Err(NotExpressible("payload of an object that is a marker"));
    }
    if marker && object.end_of_group {
        return Err(NotExpressible("a marker that is its group's last object"));
    }
    let properties = writable_properties(&object.properties, object.status, profile.integers)?;
    let id = object.location.object.0;
    let flags = [
        (!properties.is_empty(), PROPERTIES),
        (object.end_of_group, END_OF_GROUP),
        (id == 0, ZERO_OBJECT_ID),
        (object.priority.is_none(), DEFAULT_PRIORITY),
        (marker, STATUS),
    ];
    let flags = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(0, |bits, (_, bit)| bits | bit);
    let mut to =
        BytesMut::with_capacity(5 * varint::MAX_LEN + properties.len() + object.payload.len());
    varint::encode(profile.integers, flags, &mut to)?;
    varint::encode(profile.integers, alias.0, &mut to)?;
    varint::encode(profile.integers, object.location.group.0, &mut to)?;
    if id != 0 {
        varint::encode(profile.integers, id, &mut to)?;
    }
    if let Some(priority) = object.priority {
        to.put_u8(priority);
    }
    if !properties.is_empty() {
        let length = u64::try_from(properties.len()).unwrap_or(u64::MAX);
        varint::encode(profile.integers, length, &mut to)?;
        to.put_slice(&properties);
    }
    if marker {
        varint::encode(profile.integers, object.status.to_wire(), &mut to)?;
    }
    to.put_slice(&object.payload);
    Ok(to.freeze())
}

/// Writes a padding datagram with this many zero bytes after its type.
///
/// # Errors
/// If the draft has no padding.
pub fn encode_padding_datagram(profile: &Profile, zeros: usize) -> Result<Bytes, NotExpressible> {
    if !profile.padding {
        return Err(NotExpressible("padding"));
    }
    let mut to = BytesMut::with_capacity(varint::MAX_LEN + zeros);
    varint::encode(profile.integers, PADDING, &mut to)?;
    to.put_bytes(0, zeros);
    Ok(to.freeze())
}
