//! Control messages of any draft, from either side, on either kind of stream.

use oxymoq_core::draft::Draft;
use oxymoq_core::wire::Role;
use oxymoq_core::wire::frame::Framer;
use oxymoq_core::wire::message::{Channel, Message, Origin};

/// The first byte chooses who speaks: bit 0 the side, bit 1 the stream, the rest the draft. What follows is a stream of
/// messages. Those that can be read are written again, and must then be read as the same.
///
/// # Panics
/// If a message does not survive, or the framer asks for bytes without end.
pub fn control(input: &[u8]) {
    let Some((first, mut stream)) = input.split_first() else {
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
    let mut framer = Framer::new(origin.profile.integers);
    while !stream.is_empty() {
        let room = framer.room().min(stream.len());
        assert!(room > 0, "a full framer without a message");
        let (chunk, rest) = stream.split_at(room);
        framer.push(chunk);
        stream = rest;
        while let Some(frame) = framer.next_frame() {
            let Ok(message) = Message::decode(origin, frame.number, &frame.body) else {
                return;
            };
            survives(origin, &message);
        }
    }
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
