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
