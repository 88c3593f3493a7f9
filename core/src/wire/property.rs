//! Properties of tracks and objects: key-value pairs kept exactly as received.

use bytes::Bytes;

use crate::draft::IntegerKind;

/// Properties of a track or an object (§ Properties): key-value pairs exactly as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    bytes: Bytes,
    integers: IntegerKind,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            bytes: Bytes::new(),
            integers: IntegerKind::Vi64,
        }
    }
}

impl Properties {
    /// Key-value pairs as they stand on the wire, with integers written in the given way. They are not checked.
    pub fn from_bytes(bytes: Bytes, integers: IntegerKind) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self { bytes, integers }
    }

    /// The key-value pairs as they stand on the wire.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How integers are written in [`Properties::bytes`].
    pub const fn integers(&self) -> IntegerKind {
        self.integers
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
