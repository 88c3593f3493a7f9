//! The types of unidirectional streams (§ Unidirectional Stream Types).

use bytes::BytesMut;

use super::subgroup::SubgroupType;
use crate::draft::{ControlModel, Profile};
use crate::wire::{Error, NotExpressible, varint};

const FETCH: u64 = 0x05;
const SETUP: u64 = 0x2f00;
const PADDING: u64 = 0x132b_3e28;

/// What a unidirectional stream carries, as its first integer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamType {
    /// The objects of a subgroup.
    Subgroup(SubgroupType),
    /// The answer to a FETCH.
    Fetch,
    /// Control messages; the integer is also the type of the first one, SETUP. From draft 18.
    Control,
    /// Nothing, to be discarded. From draft 18.
    Padding,
}

impl StreamType {
    /// What the integer at the start of a stream stands for.
    ///
    /// # Errors
    /// If the draft gives it no meaning: the session closes.
    pub fn from_wire(profile: &Profile, value: u64) -> Result<Self, Error> {
        match value {
            FETCH => Ok(Self::Fetch),
            SETUP if profile.control == ControlModel::StreamPerRequest => Ok(Self::Control),
            PADDING if profile.padding => Ok(Self::Padding),
            _ => SubgroupType::from_wire(profile, value).map(Self::Subgroup),
        }
    }
}

/// Reads the type at the start of a stream and how many bytes it takes; `None`: more bytes are needed.
///
/// # Errors
/// If the draft does not know the type: the session closes.
pub fn decode_stream_type(
    profile: &Profile,
    bytes: &[u8],
) -> Result<Option<(StreamType, usize)>, Error> {
    varint::decode(profile.integers, bytes)
        .map(|(value, length)| Ok((StreamType::from_wire(profile, value)?, length)))
        .transpose()
}

/// Writes the start of a padding stream; zero bytes may follow.
///
/// # Errors
/// If the draft has no padding.
pub fn encode_padding_stream(profile: &Profile, to: &mut BytesMut) -> Result<(), NotExpressible> {
    if !profile.padding {
        return Err(NotExpressible("padding"));
    }
    varint::encode(profile.integers, PADDING, to)
}

pub(super) fn encode_fetch_type(
    profile: &Profile,
    to: &mut BytesMut,
) -> Result<(), NotExpressible> {
    varint::encode(profile.integers, FETCH, to)
}

pub(super) const UNKNOWN: Error = Error::violation("V67: unknown stream type");
