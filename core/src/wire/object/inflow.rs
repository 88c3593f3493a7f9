//! Bytes that arrived on a stream and are not understood yet.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{MAX_PROPERTIES_LENGTH, StreamError};
use crate::draft::IntegerKind;
use crate::wire::{Error, varint};

/// Why a header was not read.
#[derive(Debug)]
pub(super) enum Stop {
    /// At least this many more bytes are needed.
    Short(usize),
    /// It cannot be read at all.
    Failed(StreamError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(StreamError::Violation(error))
    }
}

/// Reads through a header that may be incomplete.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    integers: IntegerKind,
}

impl Scan<'_> {
    pub(super) fn integer(&mut self) -> Result<u64, Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (value, length) = varint::decode(self.integers, rest).ok_or(Stop::Short(1))?;
        self.at += length;
        Ok(value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::Short(1))?;
        self.at += 1;
        Ok(byte)
    }

    /// A length and as many bytes of properties; where they are within the header.
    pub(super) fn properties(&mut self) -> Result<Range<usize>, Stop> {
        let length = self.integer()?;
        if length > MAX_PROPERTIES_LENGTH {
            return Err(Stop::Failed(StreamError::TooLarge));
        }
        let length = usize::try_from(length).map_err(|_| Stop::Failed(StreamError::TooLarge))?;
        let missing = length.saturating_sub(self.bytes.len() - self.at);
        if missing > 0 {
            return Err(Stop::Short(missing));
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        Ok(range)
    }
}

/// A chunk from the transport, and before it the start of a header that earlier chunks left unfinished.
///
/// While `partial` is not empty it holds the beginning of exactly one header, and never a byte more than that header.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    partial: BytesMut,
    chunk: Bytes,
}

impl Inflow {
    /// Appends what arrived.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + bytes.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&bytes);
            self.chunk = joined.freeze();
        }
    }

    /// Whether nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.chunk.is_empty()
    }

    /// Reads one header, whole or not at all: its value and the bytes that it was read from.
    pub(super) fn header<T>(
        &mut self,
        integers: IntegerKind,
        mut read: impl FnMut(&mut Scan<'_>) -> Result<T, Stop>,
    ) -> Result<Option<(T, Bytes)>, StreamError> {
        loop {
            let whole_in_chunk = self.partial.is_empty();
            let mut scan = Scan {
                bytes: if whole_in_chunk {
                    &self.chunk
                } else {
                    &self.partial
                },
                at: 0,
                integers,
            };
            match read(&mut scan) {
                Ok(value) if whole_in_chunk => {
                    let length = scan.at;
                    return Ok(Some((value, self.chunk.split_to(length))));
                }
                Ok(value) => return Ok(Some((value, self.partial.split().freeze()))),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Short(_)) if whole_in_chunk => {
                    self.partial.extend_from_slice(&self.chunk);
                    self.chunk = Bytes::new();
                    return Ok(None);
                }
                Err(Stop::Short(missing)) => {
                    if self.chunk.is_empty() {
                        return Ok(None);
                    }
                    let more = self.chunk.split_to(missing.min(self.chunk.len()));
                    self.partial.extend_from_slice(&more);
                }
            }
        }
    }

    /// At most `max` bytes of payload, uncopied; `None` if there are none now. Only between headers.
    pub(super) fn payload(&mut self, max: u64) -> Option<Bytes> {
        let length = usize::try_from(max).unwrap_or(usize::MAX);
        let length = length.min(self.chunk.len());
        (length > 0).then(|| self.chunk.split_to(length))
    }
}
