//! Key-value pairs (§ Key-Value-Pair Structure): types in ascending order, each written as its distance from the previous one.
//! The parity of the type tells how the value is written: even, an integer; odd, a length and bytes.

use super::cursor::{Reader, Writer};
use super::{Error, NotExpressible};

/// The most bytes a value has.
pub(crate) const MAX_VALUE_LENGTH: usize = 65_535;

/// A value inside the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawValue<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
}

/// Adds up the distances between types.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TypeSum(u64);

impl TypeSum {
    /// Reads the type of the next pair or parameter.
    pub(crate) fn read(&mut self, from: &mut Reader<'_>) -> Result<u64, Error> {
        let delta = from.integer()?;
        self.0 = self
            .0
            .checked_add(delta)
            .ok_or(Error::violation("V17: a type exceeds 2^64 - 1"))?;
        Ok(self.0)
    }

    /// Writes the type of the next pair or parameter. Types must not descend.
    pub(crate) fn write(&mut self, number: u64, to: &mut Writer) -> Result<(), NotExpressible> {
        let delta = number
            .checked_sub(self.0)
            .ok_or(NotExpressible("types that descend"))?;
        self.0 = number;
        to.integer(delta)
    }
}

/// Reads the value of a pair of the given type.
pub(crate) fn read_value<'a>(number: u64, from: &mut Reader<'a>) -> Result<RawValue<'a>, Error> {
    if number.is_multiple_of(2) {
        return Ok(RawValue::Integer(from.integer()?));
    }
    let length = from.integer()?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_VALUE_LENGTH)
        .ok_or(Error::violation("V16: a value is longer than 65535 bytes"))?;
    Ok(RawValue::Bytes(from.bytes(length)?))
}

/// Writes a pair. The value must be of the kind that the type's parity asks for.
pub(crate) fn write_pair(
    types: &mut TypeSum,
    number: u64,
    value: RawValue<'_>,
    to: &mut Writer,
) -> Result<(), NotExpressible> {
    types.write(number, to)?;
    match (value, number.is_multiple_of(2)) {
        (RawValue::Integer(value), true) => to.integer(value),
        (RawValue::Bytes(bytes), false) if bytes.len() <= MAX_VALUE_LENGTH => {
            to.length_prefixed(bytes)
        }
        (RawValue::Bytes(_), false) => Err(NotExpressible("a value of more than 65535 bytes")),
        (RawValue::Integer(_), false) | (RawValue::Bytes(_), true) => {
            Err(NotExpressible("a value that does not suit its type"))
        }
    }
}
