//! `moq-test-00`: tracks whose namespaces say what they consist of, so that a subscriber can check every object.
//!
//! [`TestTrack`] is such a track, [`TestPublisher`] serves any of them, by SUBSCRIBE and by FETCH, and [`TestSubscriber`]
//! asks for one and fails where anything differs. The protocol is that of moxygen's `moqtest_server` and `moqtest_client`.

mod publisher;
mod runs;
mod subscriber;
mod track;

pub use publisher::TestPublisher;
pub use subscriber::{Ask, TestSubscriber, Tolerance};
pub use track::{Forwarding, InvalidTrack, MAX_OBJECT_LENGTH, PROTOCOL, TestTrack};
