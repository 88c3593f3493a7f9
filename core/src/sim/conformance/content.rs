//! What objects consist of: different for each, and cheap to make and to check, however large.

use bytes::{Bytes, BytesMut};

use crate::wire::id::{GroupId, Location, ObjectId};

/// A prime, so that no piece of a payload stands at a place of another that is a whole number of kilobytes away.
const LENGTH: usize = 4093;

/// The bytes that are repeated in every payload, from different places on.
static BLOCK: [u8; LENGTH] = block();

const fn block() -> [u8; LENGTH] {
    let mut block = [0; LENGTH];
    let mut rest: &mut [u8] = &mut block;
    let mut state: u32 = 1;
    while let Some((byte, others)) = rest.split_first_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, _, _, high] = state.to_le_bytes();
        *byte = high;
        rest = others;
    }
    block
}

/// What stands at this place of an object's payload, and on up to the end of the block.
fn from(location: Location, offset: u64) -> &'static [u8] {
    let start = location.group.0 * 1009 + location.object.0 * 31 + offset;
    let length = u64::try_from(LENGTH).unwrap_or(1);
    let start = usize::try_from(start % length).unwrap_or(0);
    BLOCK.get(start..).unwrap_or_default()
}

/// The payload of an object.
pub(super) fn payload(group: u64, object: u64, length: usize) -> Bytes {
    let location = Location {
        group: GroupId(group),
        object: ObjectId(object),
    };
    let mut payload = BytesMut::with_capacity(length);
    while payload.len() < length {
        let offset = u64::try_from(payload.len()).unwrap_or(0);
        let piece = from(location, offset);
        let wanted = piece.len().min(length - payload.len());
        payload.extend_from_slice(piece.get(..wanted).unwrap_or_default());
    }
    payload.freeze()
}

/// Whether these bytes stand at this place of an object's payload.
pub(super) fn is_payload(location: Location, mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let piece = from(location, offset);
        let length = piece.len().min(bytes.len());
        let Some((first, rest)) = bytes.split_at_checked(length) else {
            return false;
        };
        if piece.get(..length) != Some(first) {
            return false;
        }
        offset += u64::try_from(length).unwrap_or(0);
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_checked() {
        let payload = payload(2, 3, 10_000);
        let location = Location::new(2, 3);
        assert!(is_payload(location, 0, &payload));
        assert!(is_payload(location, 5000, &payload[5000..]));
        for place in [0, 4093, 9_999] {
            let mut wrong = payload.to_vec();
            wrong[place] ^= 1;
            assert!(!is_payload(location, 0, &wrong), "{place}");
        }
        assert!(!is_payload(location, 1, &payload));
        assert!(!is_payload(Location::new(2, 4), 0, &payload));
        assert!(!is_payload(Location::new(3, 3), 0, &payload));
    }
}
