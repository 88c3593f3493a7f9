//! Control messages of any draft, from either side, on either kind of stream.

use oxymoq_core::draft::{Draft, IntegerKind};
use oxymoq_core::wire::Role;
use oxymoq_core::wire::frame::{Frame, Framer};
use oxymoq_core::wire::message::{Channel, Message, Origin};

/// The first byte chooses who speaks: bit 0 the side, bit 1 the stream, the rest the draft. What follows is a stream of
/// messages. Those that can be read are written again, and must then be read as the same.
///
/// # Panics
/// If a message does not survive, what is read depends on how the stream was cut, or the framer asks for bytes without end.
pub fn control(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else {
        return;
    };
    let mut drafts = Draft::ALL.iter().rev().cycle();
    let Some(draft) = drafts.nth(usize::from(first >> 2)) else {
        return;
    };
    let origin = Origin {
        profile: draft.profile(),
        sender: if first & 1 == 0 {
            Role::Client
        } else {
            Role::Server
        },
        channel: if first & 2 == 0 {
            Channel::Control
        } else {
            Channel::Request
        },
    };
    let integers = origin.profile.integers;
    let frames = frames(stream, integers, |_| usize::MAX);
    // Where the stream was cut on its way makes no difference. The bytes themselves tell where.
    let cut = |before: &[u8]| 1 + before.last().map_or(0, |byte| usize::from(byte % 5));
    assert_eq!(frames, self::frames(stream, integers, cut));
    for frame in frames {
        let Ok(message) = Message::decode(origin, frame.number, &frame.body) else {
            return;
        };
        survives(origin, &message);
    }
}

/// What the framer makes of a stream that arrives in pieces: the length of each follows from what is before it.
fn frames(
    stream: &[u8],
    integers: IntegerKind,
    mut length: impl FnMut(&[u8]) -> usize,
) -> Vec<Frame> {
    let mut framer = Framer::new(integers);
    let mut frames = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let (before, rest) = stream.split_at(at);
        let room = framer.room();
        assert!(room > 0, "a full framer without a message");
        let (piece, _) = rest.split_at(length(before).min(room).min(rest.len()));
        framer.push(piece);
        at += piece.len();
        while let Some(frame) = framer.next_frame() {
            frames.push(frame);
        }
    }
    frames
}

fn survives(origin: Origin, message: &Message) {
    let again = message.encode(origin);
    let Ok(bytes) = again else {
        // written with shorter integers and in fewer pieces, a message never grows beyond what was read
        unreachable!("{again:?}: {message:?}")
    };
    let mut framer = Framer::new(origin.profile.integers);
    framer.push(&bytes);
    let frame = framer.next_frame();
    assert!(framer.is_empty(), "a message longer than itself");
    let read = frame.map(|frame| Message::decode(origin, frame.number, &frame.body));
    assert_eq!(read, Some(Ok(message.clone())));
}
