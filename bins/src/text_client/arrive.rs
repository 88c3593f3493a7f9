//! Objects of which not all has arrived.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use oxymoq_core::session::FetchItem;
use oxymoq_core::transport::StreamId;
use oxymoq_core::wire::id::{GroupId, Location};
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus};
use oxymoq_core::wire::property::Properties;

use super::print::Printable;

/// An object larger than this is no text: the client gives up rather than hold it.
const MAX_OBJECT_BYTES: u64 = 16 << 20;

/// An object that is too large, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge(pub(super) String);

/// An object whose payload is arriving.
#[derive(Debug)]
struct Partial {
    location: Location,
    object: Printable,
    payload: BytesMut,
    length: u64,
}

impl Partial {
    /// An object of this length; it is complete at once if that is zero.
    fn begin(
        location: Location,
        status: ObjectStatus,
        properties: Properties,
        length: u64,
    ) -> Result<Self, TooLarge> {
        if length > MAX_OBJECT_BYTES {
            return Err(TooLarge(format!(
                "an object of {length} bytes is too large for this client, which prints up to {MAX_OBJECT_BYTES}"
            )));
        }
        Ok(Self {
            location,
            object: Printable {
                status,
                properties,
                payload: Bytes::new(),
            },
            payload: BytesMut::new(),
            length,
        })
    }

    fn is_complete(&self) -> bool {
        u64::try_from(self.payload.len()).unwrap_or(u64::MAX) >= self.length
    }

    fn finish(self) -> (Location, Printable) {
        let payload = self.payload.freeze();
        let object = Printable {
            payload,
            ..self.object
        };
        (self.location, object)
    }
}

/// What arrives on one stream.
#[derive(Debug, Default)]
pub(super) struct Arriving(Option<Partial>);

impl Arriving {
    /// An object began; it is returned if it is complete.
    fn begin(&mut self, partial: Partial) -> Option<(Location, Printable)> {
        self.0 = Some(partial);
        self.take_complete()
    }

    /// A piece of the payload arrived; the object is returned if that was the last one.
    fn append(&mut self, bytes: &[u8]) -> Option<(Location, Printable)> {
        self.0.as_mut()?.payload.extend_from_slice(bytes);
        self.take_complete()
    }

    fn take_complete(&mut self) -> Option<(Location, Printable)> {
        let complete = self.0.take_if(|partial| partial.is_complete())?;
        Some(complete.finish())
    }

    /// Something arrived on the stream of a FETCH.
    pub(super) fn fetched(
        &mut self,
        item: FetchItem,
    ) -> Result<Option<(Location, Printable)>, TooLarge> {
        Ok(match item {
            FetchItem::Object {
                location,
                properties,
                payload_length,
                ..
            } => {
                let status = ObjectStatus::Normal;
                self.begin(Partial::begin(
                    location,
                    status,
                    properties,
                    payload_length,
                )?)
            }
            FetchItem::Payload(bytes) => self.append(&bytes),
            FetchItem::NonExistent(_) | FetchItem::Unknown(_) | FetchItem::End(_) => None,
        })
    }
}

/// The streams on which live objects arrive.
#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<StreamId, (GroupId, Arriving)>);

impl Streams {
    /// A stream with objects of a group began.
    pub(super) fn open(&mut self, stream: StreamId, group: GroupId) {
        self.0.insert(stream, (group, Arriving::default()));
    }

    /// A stream is over; an object that was cut is forgotten.
    pub(super) fn end(&mut self, stream: StreamId) {
        self.0.remove(&stream);
    }

    /// An object began; it is returned if it is complete.
    pub(super) fn begin(
        &mut self,
        stream: StreamId,
        header: ObjectHeader,
    ) -> Result<Option<(Location, Printable)>, TooLarge> {
        let Some((group, arriving)) = self.0.get_mut(&stream) else {
            return Ok(None);
        };
        let location = Location::new(group.0, header.id.0);
        let ObjectHeader {
            status,
            properties,
            payload_length,
            ..
        } = header;
        Ok(arriving.begin(Partial::begin(
            location,
            status,
            properties,
            payload_length,
        )?))
    }

    /// A piece of an object's payload arrived; the object is returned if that was the last one.
    pub(super) fn append(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
    ) -> Option<(Location, Printable)> {
        self.0.get_mut(&stream)?.1.append(bytes)
    }
}

#[cfg(test)]
mod tests {
    use oxymoq_core::wire::id::ObjectId;

    use super::*;

    fn header(id: u64, length: u64) -> ObjectHeader {
        ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: length,
        }
    }

    #[test]
    fn objects_are_put_together_on_each_stream_by_itself() {
        let mut streams = Streams::default();
        let [a, b] = [1, 2].map(StreamId::peer);
        streams.open(a, GroupId(7));
        streams.open(b, GroupId(8));
        assert_eq!(streams.begin(a, header(0, 3)), Ok(None));
        assert_eq!(streams.begin(b, header(5, 1)), Ok(None));
        assert_eq!(streams.append(a, b"ab"), None);
        let (location, object) = streams.append(b, b"x").unwrap();
        assert_eq!(
            (location, &object.payload[..]),
            (Location::new(8, 5), &b"x"[..])
        );
        let (location, object) = streams.append(a, b"c").unwrap();
        assert_eq!(
            (location, &object.payload[..]),
            (Location::new(7, 0), &b"abc"[..])
        );
        let empty = streams.begin(a, header(1, 0)).unwrap();
        assert!(empty.is_some(), "nothing is missing of an empty object");
    }

    #[test]
    fn an_object_that_is_no_text_is_not_held() {
        let mut streams = Streams::default();
        let stream = StreamId::peer(1);
        streams.open(stream, GroupId(0));
        assert_eq!(streams.begin(stream, header(0, MAX_OBJECT_BYTES)), Ok(None));
        let TooLarge(sentence) = streams
            .begin(stream, header(1, MAX_OBJECT_BYTES + 1))
            .unwrap_err();
        assert!(sentence.contains("16777217 bytes"), "{sentence}");
    }

    #[test]
    fn an_object_cut_by_the_end_of_its_stream_is_forgotten() {
        let mut streams = Streams::default();
        let stream = StreamId::peer(1);
        streams.open(stream, GroupId(0));
        assert_eq!(streams.begin(stream, header(0, 2)), Ok(None));
        streams.end(stream);
        assert_eq!(streams.append(stream, b"ab"), None);
    }
}
