//! Control messages as bytes: what they mean, that they survive, and what becomes of damaged ones.

mod arbitrary;
mod damage;
mod objects;
mod oracle;
mod round_trip;
mod rules;
mod vectors;

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::wire::Role;
use oxymoq_core::wire::frame::{Frame, Framer};
use oxymoq_core::wire::message::{Channel, Origin};

fn origin(draft: Draft, sender: Role, channel: Channel) -> Origin {
    Origin {
        profile: draft.profile(),
        sender,
        channel,
    }
}

/// Bytes from hexadecimal digits and blanks.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

/// The only frame in these bytes.
fn frame(draft: Draft, bytes: &[u8]) -> Frame {
    let mut framer = Framer::new(draft.profile().integers);
    framer.push(bytes);
    let frame = framer.next_frame().unwrap();
    assert!(framer.is_empty(), "bytes after the message");
    frame
}

/// Bytes in words of the tests.
fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
