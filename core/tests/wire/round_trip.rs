//! Every message survives writing and reading, in each draft.

use oxymoq_core::draft::Draft;
use oxymoq_core::wire::frame::{Framer, MAX_FRAME};
use oxymoq_core::wire::message::{Message, MessageType};
use proptest::prelude::*;

use super::arbitrary::any_message;
use super::frame;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    // Rules: B099, B101, B151
    #[test]
    fn every_message_survives((origin, message) in any_message()) {
        let draft = origin.profile.draft;
        let bytes = message.encode(origin).unwrap();
        let frame = frame(draft, &bytes);
        prop_assert_eq!(
            MessageType::from_number(draft, frame.number),
            Some(message.message_type(origin))
        );
        prop_assert_eq!(Message::decode(origin, frame.number, &frame.body), Ok(message));
    }

    #[test]
    fn messages_are_found_however_the_stream_is_split(
        messages in proptest::collection::vec(any_message(), 1..4),
        chunk in 1_usize..40,
    ) {
        for draft in Draft::ALL {
            let of_draft = messages
                .iter()
                .filter(|(origin, _)| origin.profile.draft == draft)
                .collect::<Vec<_>>();
            let mut stream = Vec::new();
            for (origin, message) in &of_draft {
                stream.extend_from_slice(&message.encode(*origin).unwrap());
            }
            let mut framer = Framer::new(draft.profile().integers);
            let mut found = Vec::new();
            for bytes in stream.chunks(chunk) {
                prop_assert!(bytes.len() <= framer.room());
                framer.push(bytes);
                while let Some(frame) = framer.next_frame() {
                    let (origin, _) = of_draft[found.len()];
                    found.push(Message::decode(*origin, frame.number, &frame.body).unwrap());
                }
            }
            prop_assert!(framer.is_empty());
            prop_assert!(found.iter().eq(of_draft.iter().map(|(_, message)| message)));
        }
    }
}

#[test]
fn the_framer_never_wants_more_than_the_largest_message() {
    let mut framer = Framer::new(Draft::D18.profile().integers);
    // the longest way to write a type, and the longest body
    framer.push(&[0xff, 0, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff]);
    assert_eq!(framer.peek_type(), Some(3));
    assert_eq!(framer.next_frame(), None);
    assert_eq!(framer.room(), MAX_FRAME - 11);
    let rest = framer.room();
    framer.push(&vec![0; rest]);
    assert_eq!(framer.room(), 0);
    let frame = framer.next_frame().unwrap();
    assert_eq!((frame.number, frame.body.len()), (3, 65_535));
    assert_eq!(framer.room(), MAX_FRAME);
}
