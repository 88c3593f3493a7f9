//! What arrives, checked against what was published.

use oxymoq_core::session::{FetchItem, StreamEnd};
use oxymoq_core::transport::StreamId;
use oxymoq_core::wire::id::{GroupId, Location, RequestId};
use oxymoq_core::wire::object::{DatagramObject, ObjectHeader};

use super::App;
use crate::content::{self, GROUPS, OBJECTS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Stream(StreamId),
    Fetch(RequestId),
}

/// What arrives on one stream.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) group: GroupId,
    /// The object begun last, how much of it arrived, and its length.
    pub(super) object: Option<(Location, usize, u64)>,
}

impl App {
    pub(super) fn object_begins(&mut self, stream: StreamId, object: &ObjectHeader) {
        let receiving = self.receiving.get_mut(&Place::Stream(stream));
        let Some(receiving) = receiving else {
            unreachable!("an object on {stream}, which did not begin")
        };
        assert_complete(receiving);
        let at = Location {
            group: receiving.group,
            object: object.id,
        };
        receiving.object = Some((at, 0, object.payload_length));
        if self.is_checking {
            let expected = content::header(at, object.properties.integers());
            assert_eq!(object.payload_length, expected.payload_length, "{at}");
            assert_eq!(object.status, expected.status, "{at}");
            let is_marker = at.object.0 >= OBJECTS;
            assert!(is_marker || content::has_property(at, &object.properties));
        }
    }

    pub(super) fn payload(&mut self, place: Place, bytes: &[u8]) {
        let receiving = self.receiving.get_mut(&place);
        let Some((at, arrived, length)) = receiving.and_then(|receiving| receiving.object.as_mut())
        else {
            unreachable!("payload of nothing: {place:?}")
        };
        if self.is_checking {
            let payload = content::payload(*at);
            let expected = payload
                .get(*arrived..)
                .and_then(|rest| rest.get(..bytes.len()));
            assert_eq!(expected, Some(bytes), "{at} from {arrived}");
        }
        *arrived += bytes.len();
        assert!(!bytes.is_empty() && u64::try_from(*arrived).is_ok_and(|all| all <= *length));
    }

    pub(super) fn stream_ended(&mut self, place: Place, end: StreamEnd) {
        let receiving = self.receiving.remove(&place);
        let Some(receiving) = receiving else {
            // A FETCH without objects.
            assert!(
                matches!(place, Place::Fetch(_)),
                "{place:?} ends and never began"
            );
            return;
        };
        if end == StreamEnd::Fin {
            assert_complete(&receiving);
        }
    }

    pub(super) fn check_datagram(&self, object: &DatagramObject) {
        if self.is_checking {
            assert_eq!(object.payload, content::payload(object.location));
            let is_marker = object.location.object.0 >= OBJECTS;
            assert!(is_marker || content::has_property(object.location, &object.properties));
        }
    }

    pub(super) fn fetched(&mut self, id: RequestId, item: FetchItem) {
        let place = Place::Fetch(id);
        match item {
            FetchItem::Object {
                location,
                payload_length,
                properties,
                ..
            } => {
                if self.is_checking {
                    let length = content::payload(location).len();
                    assert_eq!(u64::try_from(length), Ok(payload_length), "{location}");
                    assert!(content::has_property(location, &properties), "{location}");
                }
                let receiving = Receiving {
                    group: location.group,
                    object: Some((location, 0, payload_length)),
                };
                if let Some(before) = self.receiving.insert(place, receiving) {
                    assert_complete(&before);
                }
            }
            FetchItem::Payload(bytes) => self.payload(place, &bytes),
            FetchItem::NonExistent(at) => {
                let is_published = at.group.0 < GROUPS && at.object.0 < OBJECTS;
                assert!(!self.is_checking || !is_published, "{at} exists");
            }
            FetchItem::Unknown(_) => {}
            FetchItem::End(end) => self.stream_ended(place, end),
        }
    }
}

fn assert_complete(receiving: &Receiving) {
    if let Some((at, arrived, length)) = receiving.object {
        assert_eq!(u64::try_from(arrived), Ok(length), "{at} is cut short");
    }
}
