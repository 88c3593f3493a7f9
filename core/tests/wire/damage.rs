//! Damaged messages are refused, and none makes the decoder panic.

use oxymoq_core::draft::Draft;
use oxymoq_core::wire::frame::Framer;
use oxymoq_core::wire::message::{Message, MessageType, Origin};
use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary::{any_message, any_origin};
use super::frame;

/// Whether the message ends with a list that fills it, so that it may be cut between two entries.
fn is_open_ended(origin: Origin, message: &Message) -> bool {
    // a namespace at the end is also read as one with a length in front
    let prefix = matches!(message, Message::RequestUpdate(update)
        if update.parameters.track_namespace_prefix.is_some());
    let options = matches!(message, Message::Setup(_) | Message::RequestOk(_))
        && origin.profile.draft == Draft::D18;
    let properties = matches!(
        message,
        Message::SubscribeOk(_) | Message::Publish(_) | Message::FetchOk(_)
    );
    prefix || options || properties
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_message_cut_anywhere_is_refused((origin, message) in any_message()) {
        let bytes = message.encode(origin).unwrap();
        let frame = frame(origin.profile.draft, &bytes);
        for cut in 0..frame.body.len() {
            let decoded = Message::decode(origin, frame.number, &frame.body[..cut]);
            prop_assert!(
                decoded.is_err() || is_open_ended(origin, &message),
                "cut at {}: {:?}", cut, decoded
            );
            prop_assert_ne!(decoded.as_ref(), Ok(&message));
        }
        for cut in 0..bytes.len() {
            let mut framer = Framer::new(origin.profile.integers);
            framer.push(&bytes[..cut]);
            prop_assert_eq!(framer.next_frame(), None);
            prop_assert_eq!(framer.is_empty(), cut == 0);
        }
    }

    #[test]
    fn a_byte_too_many_is_refused((origin, message) in any_message(), extra: u8) {
        let prefix = matches!(&message, Message::RequestUpdate(update)
            if update.parameters.track_namespace_prefix.is_some());
        prop_assume!(!prefix);
        let bytes = message.encode(origin).unwrap();
        let frame = frame(origin.profile.draft, &bytes);
        let mut body = frame.body.to_vec();
        body.push(extra);
        prop_assert!(Message::decode(origin, frame.number, &body).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(
        origin in any_origin(),
        message in 0_usize..MessageType::ALL.len(),
        body in vec(any::<u8>(), 0..200),
    ) {
        let draft = origin.profile.draft;
        let number = MessageType::ALL[message].number(draft).unwrap_or(0x77);
        if let Ok(message) = Message::decode(origin, number, &body) {
            // what can be read can be written, and means the same
            let bytes = message.encode(origin).unwrap();
            let frame = frame(draft, &bytes);
            prop_assert_eq!(Message::decode(origin, frame.number, &frame.body), Ok(message));
        }
        let mut framer = Framer::new(origin.profile.integers);
        framer.push(&body);
        while framer.next_frame().is_some() {}
    }

    #[test]
    fn a_changed_byte_does_not_panic(
        (origin, message) in any_message(),
        at: proptest::sample::Index,
        to: u8,
    ) {
        let bytes = message.encode(origin).unwrap();
        let frame = frame(origin.profile.draft, &bytes);
        prop_assume!(!frame.body.is_empty());
        let mut body = frame.body.to_vec();
        body[at.index(frame.body.len())] = to;
        if let Ok(message) = Message::decode(origin, frame.number, &body) {
            let again = message.encode(origin).unwrap();
            let frame = super::frame(origin.profile.draft, &again);
            prop_assert_eq!(Message::decode(origin, frame.number, &frame.body), Ok(message));
        }
    }
}
