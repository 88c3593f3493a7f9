//! Streams and datagrams on which the application publishes.

use bytes::{Bytes, BytesMut};
use oxymoq_core::code::ResetCode;
use oxymoq_core::draft::Profile;
use oxymoq_core::session::Request;
use oxymoq_core::time::Time;
use oxymoq_core::transport::StreamId;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId};
use oxymoq_core::wire::message::FetchRange;
use oxymoq_core::wire::object::{
    DatagramObject, FetchEncoder, FetchEntry, FetchObject, SubgroupHeader, encode_datagram,
    encode_object_header, encode_subgroup_header,
};
use oxymoq_core::wire::param::GroupOrder;

use super::chosen::some_reset;
use super::{App, MEMORY};
use crate::choices::Choices;
use crate::content::{self, GROUPS, OBJECTS};

/// The publisher's priority of everything.
const PRIORITY: u8 = 100;

/// A stream on which this application publishes.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) request: RequestId,
    pub(super) stream: StreamId,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Subgroup {
        group: GroupId,
        previous: Option<ObjectId>,
        next: u64,
    },
    Fetch {
        encoder: FetchEncoder,
        left: Vec<Location>,
    },
}

impl App {
    /// Opens the stream of a FETCH that is the last in the list, and takes it from there.
    pub(super) fn open_fetch(&mut self, now: Time, id: RequestId) {
        let Some((_, Request::Fetch(fetch))) = self.unanswered.pop() else {
            return;
        };
        let Some(profile) = self.session().profile() else {
            return;
        };
        let order = fetch.parameters.group_order.unwrap_or_default();
        let mut bytes = BytesMut::new();
        let encoder = FetchEncoder::new(profile, id, order, &mut bytes);
        let (Ok(encoder), Ok(stream)) = (encoder, self.session().open_fetch(now, id)) else {
            return;
        };
        self.send(stream, bytes.freeze());
        self.feeds.push(Feed {
            request: id,
            stream,
            content: Content::Fetch {
                encoder,
                left: locations(&fetch.range, order),
            },
        });
    }

    /// Opens a stream for a subgroup.
    pub(super) fn open(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request = self.some_request(choices);
        let group = GroupId(u64::from(choices.byte()) % GROUPS);
        let next = choices.below(4).min(3);
        let next = u64::try_from(next).unwrap_or(0);
        let (Some(alias), Some(profile)) = (
            self.aliases.get(&request).copied(),
            self.session().profile(),
        ) else {
            return;
        };
        if self.feeds.len() >= MEMORY {
            return;
        }
        let header = SubgroupHeader {
            group,
            subgroup: content::subgroup(next),
            priority: Some(PRIORITY),
            end_of_group: false,
            // Who does not know says that it is not.
            first_object: next < 2 && !choices.chance(2),
        };
        let mut bytes = BytesMut::new();
        if encode_subgroup_header(profile, alias, &header, true, &mut bytes).is_err() {
            return;
        }
        let stream = self
            .session()
            .open_subgroup(now, request, group, header.subgroup, PRIORITY);
        if let Ok(stream) = stream {
            self.send(stream, bytes.freeze());
            self.feeds.push(Feed {
                request,
                stream,
                content: Content::Subgroup {
                    group,
                    previous: None,
                    next,
                },
            });
        }
    }

    fn send(&mut self, stream: StreamId, bytes: Bytes) {
        // Beyond the room of the outbox a stream is cut short.
        if self.outbox.push(stream, bytes).is_err() {
            self.session()
                .reset_stream(Time::ZERO, stream, ResetCode::InternalError);
            self.outbox.remove(stream);
        }
        self.session().stream_ready(stream);
    }

    /// Further objects on a stream.
    pub(super) fn publish(&mut self, now: Time, choices: &mut Choices<'_>, count: usize) {
        let at = choices.below(self.feeds.len());
        let cut = choices.chance(8);
        for _ in 0..count {
            let Some(profile) = self.session().profile() else {
                return;
            };
            let Some(feed) = self.feeds.get_mut(at) else {
                return;
            };
            let stream = feed.stream;
            let Some((header, payload)) = feed.next(profile) else {
                self.finish(at);
                return;
            };
            self.send(stream, header);
            if cut && !payload.is_empty() {
                // The rest never comes.
                self.send(stream, payload.slice(..payload.len() / 2));
                self.session()
                    .reset_stream(now, stream, ResetCode::Cancelled);
                self.outbox.remove(stream);
                self.feeds.remove(at);
                return;
            }
            self.send(stream, payload);
        }
    }

    fn finish(&mut self, at: usize) {
        let feed = self.feeds.swap_remove(at);
        self.outbox.finish(feed.stream);
        self.session().stream_ready(feed.stream);
    }

    pub(super) fn close_feed(&mut self, now: Time, choices: &mut Choices<'_>) {
        let at = choices.below(self.feeds.len());
        let Some(feed) = self.feeds.get(at) else {
            return;
        };
        let stream = feed.stream;
        if feed.is_through() {
            self.finish(at);
            return;
        }
        // An end before the end would say that the rest does not exist.
        let code = some_reset(choices);
        self.session().reset_stream(now, stream, code);
        self.outbox.remove(stream);
        self.feeds.swap_remove(at);
    }

    pub(super) fn send_datagram(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request = self.some_request(choices);
        let (Some(alias), Some(profile)) = (
            self.aliases.get(&request).copied(),
            self.session().profile(),
        ) else {
            return;
        };
        let location = Location::new(
            GROUPS + u64::from(choices.byte() & 3),
            u64::from(choices.byte()) % (OBJECTS - 2),
        );
        let object = DatagramObject {
            location,
            priority: Some(PRIORITY),
            properties: content::properties(location.object, profile.integers),
            status: oxymoq_core::wire::object::ObjectStatus::Normal,
            end_of_group: false,
            payload: content::payload(location),
        };
        if let Ok(bytes) = encode_datagram(profile, alias, &object) {
            let _over = self
                .session()
                .send_datagram(now, request, PRIORITY, location, bytes);
        }
    }
}

impl Feed {
    const fn is_through(&self) -> bool {
        match &self.content {
            Content::Subgroup { next, .. } => *next > OBJECTS,
            Content::Fetch { left, .. } => left.is_empty(),
        }
    }

    /// What comes next, in front of the payload and the payload; `None`: nothing.
    fn next(&mut self, profile: &Profile) -> Option<(Bytes, Bytes)> {
        let mut bytes = BytesMut::new();
        match &mut self.content {
            Content::Subgroup {
                group,
                previous,
                next,
            } => {
                let at = Location {
                    group: *group,
                    object: ObjectId(*next),
                };
                if *next > OBJECTS {
                    return None;
                }
                let header = content::header(at, profile.integers);
                encode_object_header(profile, true, *previous, &header, &mut bytes).ok()?;
                *previous = Some(at.object);
                *next += 2;
                Some((bytes.freeze(), content::payload(at)))
            }
            Content::Fetch { encoder, left } => {
                let at = left.pop()?;
                let payload = content::payload(at);
                let entry = FetchEntry::Object(FetchObject {
                    location: at,
                    subgroup: Some(content::subgroup(at.object.0)),
                    priority: PRIORITY,
                    properties: content::properties(at.object, profile.integers),
                    payload_length: u64::try_from(payload.len()).unwrap_or(0),
                });
                encoder.entry(&entry, &mut bytes).ok()?;
                Some((bytes.freeze(), payload))
            }
        }
    }
}

/// What of a range is published, the last to be sent first.
fn locations(range: &FetchRange, order: GroupOrder) -> Vec<Location> {
    let FetchRange::Standalone { start, end, .. } = range else {
        return Vec::new();
    };
    let mut groups: Vec<u64> = (0..GROUPS).collect();
    if order == GroupOrder::Ascending {
        groups.reverse();
    }
    let objects = groups.into_iter().flat_map(|group| {
        (0..OBJECTS)
            .rev()
            .map(move |object| Location::new(group, object))
    });
    objects
        .filter(|at| at >= start && (end.object.0 == 0 && at.group == end.group || at < end))
        .collect()
}
