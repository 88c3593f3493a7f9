//! The properties that MoqMi and LOC know, each found at most once in the properties of an object.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::{loc, moqmi};
use crate::wire::property::{Properties, Value};

/// Why an object is not a frame of the track that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The list of properties cannot be read to its end.
    Unreadable,
    /// A property that such an object must have is not there: its number, and what it would tell.
    Missing(u64, &'static str),
    /// A property is there more than once.
    Repeated(u64),
    /// The value of a property breaks a rule.
    Property(u64, &'static str),
    /// The object as a whole breaks a rule.
    Object(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("properties that cannot be read"),
            Self::Missing(number, what) => write!(f, "property {number:#04x} ({what}) is missing"),
            Self::Repeated(number) => write!(f, "property {number:#04x} is there more than once"),
            Self::Property(number, rule) => write!(f, "property {number:#04x}: {rule}"),
            Self::Object(rule) => f.write_str(rule),
        }
    }
}

impl std::error::Error for Malformed {}

/// The properties of one object that either packaging knows, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(BTreeMap<u64, Value>);

impl Fields {
    /// Collects them. Others are passed over, however often they are there. Mutable properties come before immutable ones of
    /// the same number.
    pub(super) fn read(properties: &Properties) -> Result<Self, Malformed> {
        let mut fields = Self::collect(properties)?;
        let immutable = properties
            .immutable()
            .filter(|list| list.validate().is_ok());
        for (number, value) in immutable
            .as_ref()
            .map(Self::collect)
            .transpose()?
            .unwrap_or_default()
            .0
        {
            fields.0.entry(number).or_insert(value);
        }
        Ok(fields)
    }

    fn collect(list: &Properties) -> Result<Self, Malformed> {
        let mut found = BTreeMap::new();
        for item in list {
            let (number, value) = item.map_err(|_| Malformed::Unreadable)?;
            if is_known(number) && found.insert(number, value).is_some() {
                return Err(Malformed::Repeated(number));
            }
        }
        Ok(Self(found))
    }

    /// Whether none is there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a property is there.
    pub(super) fn has(&self, number: u64) -> bool {
        self.0.contains_key(&number)
    }

    /// The value of a property with an even number.
    pub(super) fn integer(&self, number: u64) -> Option<u64> {
        match self.0.get(&number)? {
            Value::Integer(value) => Some(*value),
            Value::Bytes(_) => None,
        }
    }

    /// The value of a property with an odd number.
    pub(super) fn bytes(&self, number: u64) -> Option<&Bytes> {
        match self.0.get(&number)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Integer(_) => None,
        }
    }
}

const fn is_known(number: u64) -> bool {
    matches!(
        number,
        moqmi::MEDIA_TYPE
            | moqmi::VIDEO_EXTRADATA
            | moqmi::OPUS_METADATA
            | moqmi::TEXT_METADATA
            | moqmi::AAC_METADATA
            | moqmi::VIDEO_METADATA
            | loc::TIMESTAMP
            | loc::TIMESCALE
            | loc::FRAME_MARKING
    )
}

// The numbers that both packagings use, for different things.
const _: () = assert!(
    moqmi::VIDEO_EXTRADATA == loc::VIDEO_CONFIG
        && moqmi::OPUS_METADATA == loc::AUDIO_CONFIG
        && moqmi::TEXT_METADATA == loc::CODEC_STRING
);
