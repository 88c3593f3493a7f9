//! Reading and writing within a message that is complete: short or left-over bytes are violations here, never a reason to
//! wait (the framer does the waiting).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::varint;
use super::{Error, NotExpressible};
use crate::code::SessionCode;
use crate::draft::IntegerKind;

const WRONG_LENGTH: Error = Error {
    code: SessionCode::ProtocolViolation,
    rule: "V2: message length does not match its body",
};

/// Reads through the bytes of a complete message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    integers: IntegerKind,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, whose integers are written in the given way.
    pub const fn new(bytes: &'a [u8], integers: IntegerKind) -> Self {
        Self {
            rest: bytes,
            integers,
        }
    }

    /// How integers are written.
    pub const fn integers(&self) -> IntegerKind {
        self.integers
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left, without reading them.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An integer of variable length.
    ///
    /// # Errors
    /// If the message ends before the integer does.
    pub fn integer(&mut self) -> Result<u64, Error> {
        let (value, length) = varint::decode(self.integers, self.rest).ok_or(WRONG_LENGTH)?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(value)
    }

    /// One byte.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn u8(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.rest.split_first().ok_or(WRONG_LENGTH)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Two bytes, the more significant one first.
    ///
    /// # Errors
    /// If fewer than two bytes are left.
    pub fn u16(&mut self) -> Result<u16, Error> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(WRONG_LENGTH)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*first))
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WRONG_LENGTH)?;
        self.rest = rest;
        Ok(taken)
    }

    /// As many bytes as an integer in front of them says.
    ///
    /// # Errors
    /// If the message ends before them.
    pub fn length_prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length = self.integer()?;
        self.bytes(usize::try_from(length).map_err(|_| WRONG_LENGTH)?)
    }

    /// All bytes that are left.
    pub const fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// A reader of the next `length` bytes alone.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn sub(&mut self, length: usize) -> Result<Self, Error> {
        let integers = self.integers;
        Ok(Self::new(self.bytes(length)?, integers))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If something is left.
    pub const fn finish(&self) -> Result<(), Error> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(WRONG_LENGTH)
        }
    }
}

/// Writes a message.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: BytesMut,
    integers: IntegerKind,
}

impl Writer {
    /// Starts an empty message, whose integers are to be written in the given way.
    pub fn new(integers: IntegerKind) -> Self {
        Self {
            bytes: BytesMut::new(),
            integers,
        }
    }

    /// How integers are written.
    pub const fn integers(&self) -> IntegerKind {
        self.integers
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// An integer of variable length.
    ///
    /// # Errors
    /// If the encoding ends below `value`.
    pub fn integer(&mut self, value: u64) -> Result<(), NotExpressible> {
        varint::encode(self.integers, value, &mut self.bytes)
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }

    /// Two bytes, the more significant one first.
    pub fn u16(&mut self, value: u16) {
        self.bytes.put_u16(value);
    }

    /// Bytes as they are.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// Bytes with an integer in front that tells how many they are.
    ///
    /// # Errors
    /// If their number cannot be written.
    pub fn length_prefixed(&mut self, bytes: &[u8]) -> Result<(), NotExpressible> {
        let length = u64::try_from(bytes.len()).map_err(|_| NotExpressible("that many bytes"))?;
        self.integer(length)?;
        self.slice(bytes);
        Ok(())
    }

    /// What `write` writes, with an integer in front that tells how many bytes it is.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn with_length(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), NotExpressible>,
    ) -> Result<(), NotExpressible> {
        let mut inner = Self::new(self.integers);
        write(&mut inner)?;
        self.length_prefixed(&inner.bytes)
    }

    /// What `write` writes, with two bytes in front that tell how many bytes it is.
    ///
    /// # Errors
    /// Those of `write`, and if it is more than 65535 bytes.
    pub fn with_u16_length(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), NotExpressible>,
    ) -> Result<(), NotExpressible> {
        let mut inner = Self::new(self.integers);
        write(&mut inner)?;
        let length = u16::try_from(inner.len())
            .map_err(|_| NotExpressible("a message of more than 65535 bytes"))?;
        self.u16(length);
        self.slice(&inner.bytes);
        Ok(())
    }

    /// What was written.
    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        for kind in [IntegerKind::Quic, IntegerKind::Vi64] {
            let mut writer = Writer::new(kind);
            assert!(writer.is_empty());
            writer.u8(7);
            writer.u16(0x0102);
            writer.integer(300).unwrap();
            writer.length_prefixed(b"abc").unwrap();
            writer.with_length(|w| w.integer(64)).unwrap();
            writer
                .with_u16_length(|w| {
                    w.slice(b"xyz");
                    Ok(())
                })
                .unwrap();
            let bytes = writer.freeze();
            let mut reader = Reader::new(&bytes, kind);
            assert_eq!(reader.u8(), Ok(7));
            assert_eq!(reader.u16(), Ok(0x0102));
            assert_eq!(reader.integer(), Ok(300));
            assert_eq!(reader.length_prefixed(), Ok(&b"abc"[..]));
            let length = usize::try_from(reader.integer().unwrap()).unwrap();
            let mut inner = reader.sub(length).unwrap();
            assert_eq!(inner.integer(), Ok(64));
            assert_eq!(inner.finish(), Ok(()));
            assert_eq!(reader.finish(), Err(WRONG_LENGTH));
            assert_eq!(reader.u16(), Ok(3));
            assert_eq!(reader.remaining(), 3);
            assert_eq!(reader.take_rest(), b"xyz");
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn reading_past_the_end_is_a_violation_and_takes_nothing() {
        let mut reader = Reader::new(&[0xc0], IntegerKind::Vi64);
        assert_eq!(reader.integer(), Err(WRONG_LENGTH));
        assert_eq!(reader.u16(), Err(WRONG_LENGTH));
        assert_eq!(reader.bytes(2), Err(WRONG_LENGTH));
        assert_eq!(reader.remaining(), 1);
        assert_eq!(reader.u8(), Ok(0xc0));
        assert_eq!(reader.u8(), Err(WRONG_LENGTH));
        let mut huge = Reader::new(&[0xff; 9], IntegerKind::Vi64);
        assert_eq!(huge.length_prefixed(), Err(WRONG_LENGTH));
    }

    #[test]
    fn a_message_too_long_for_its_length_field_is_refused() {
        let mut writer = Writer::new(IntegerKind::Vi64);
        let mut of_size = |size: usize| {
            writer.with_u16_length(|w| {
                w.slice(&vec![0; size]);
                Ok(())
            })
        };
        assert_eq!(of_size(65_535), Ok(()));
        assert!(of_size(65_536).is_err());
    }
}
