//! Objects of which not all has arrived.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Bytes, BytesMut};
use oxymoq_core::transport::StreamId;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId};
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus, SubgroupHeader};
use oxymoq_core::wire::property::Properties;

use super::limits::Limits;

/// An object as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) location: Location,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
}

/// Something that is now known of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// An object is complete.
    Object(Object),
    /// No object of the group has this or a larger id.
    EndOfGroup(GroupId, ObjectId),
}

/// Why a stream is not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// More than [`Limits::max_object_bytes`].
    Object,
    /// More than [`Limits::max_arriving_bytes`] or [`Limits::max_streams`].
    Together,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "an object is too large",
            Self::Together => "more arrives at once than is kept",
        })
    }
}

/// Puts the pieces of the objects of one stream together.
#[derive(Debug, Default)]
pub(super) struct Pieces(Option<Partial>);

#[derive(Debug)]
struct Partial {
    location: Location,
    properties: Properties,
    length: u64,
    payload: BytesMut,
}

impl Pieces {
    /// An object began; it is returned if that is all of it.
    pub(super) fn begin(
        &mut self,
        location: Location,
        properties: Properties,
        length: u64,
        limits: &Limits,
    ) -> Result<Option<Object>, TooMuch> {
        if length > limits.max_object_bytes {
            return Err(TooMuch::Object);
        }
        self.0 = Some(Partial {
            location,
            properties,
            length,
            payload: BytesMut::new(),
        });
        Ok(self.take_complete())
    }

    /// More of the object; it is returned if that is the rest.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Option<Object> {
        let partial = self.0.as_mut()?;
        if partial.payload.is_empty() {
            // What has not arrived is not reserved: the length is only what the peer says.
            let length = usize::try_from(partial.length).unwrap_or(usize::MAX);
            partial.payload.reserve(length.min(2 * bytes.len()));
        }
        partial.payload.extend_from_slice(bytes);
        self.take_complete()
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.payload.len())
    }

    fn take_complete(&mut self) -> Option<Object> {
        let is_complete = |partial: &mut Partial| {
            u64::try_from(partial.payload.len()).is_ok_and(|length| length >= partial.length)
        };
        let complete = self.0.take_if(is_complete)?;
        Some(Object {
            location: complete.location,
            properties: complete.properties,
            payload: complete.payload.freeze(),
        })
    }
}

/// The streams on which live objects arrive, each of one of several tracks.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    bytes: usize,
}

#[derive(Debug)]
struct Stream {
    /// Which of the tracks.
    track: usize,
    group: GroupId,
    /// Whether the group ends with the stream.
    ends_group: bool,
    /// After the object that began last.
    next: ObjectId,
    pieces: Pieces,
}

impl Streams {
    /// A stream of a track began.
    pub(super) fn open(
        &mut self,
        stream: StreamId,
        track: usize,
        header: &SubgroupHeader,
        limits: &Limits,
    ) -> Result<(), TooMuch> {
        if self.streams.len() >= limits.max_streams {
            return Err(TooMuch::Together);
        }
        let opened = Stream {
            track,
            group: header.group,
            ends_group: header.end_of_group,
            next: ObjectId(0),
            pieces: Pieces::default(),
        };
        self.streams.insert(stream, opened);
        Ok(())
    }

    /// An object began. What is known of which track now, if anything.
    pub(super) fn begin(
        &mut self,
        id: StreamId,
        header: ObjectHeader,
        limits: &Limits,
    ) -> Result<Option<(usize, Arrived)>, TooMuch> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(None);
        };
        stream.next = ObjectId(header.id.0.saturating_add(1));
        let arrived = match header.status {
            ObjectStatus::Normal => stream
                .pieces
                .begin(
                    Location {
                        group: stream.group,
                        object: header.id,
                    },
                    header.properties,
                    header.payload_length,
                    limits,
                )?
                .map(Arrived::Object),
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => {
                Some(Arrived::EndOfGroup(stream.group, header.id))
            }
        };
        Ok(arrived.map(|arrived| (stream.track, arrived)))
    }

    /// More of the object that began last on this stream; it is returned if that is the rest.
    pub(super) fn append(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, Object)>, TooMuch> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(None);
        };
        let before = stream.pieces.bytes();
        let complete = stream.pieces.append(bytes);
        let track = stream.track;
        self.bytes = self.bytes + stream.pieces.bytes() - before;
        if self.bytes > limits.max_arriving_bytes {
            return Err(TooMuch::Together);
        }
        Ok(complete.map(|object| (track, object)))
    }

    /// A stream is over; `is_whole` if everything on it arrived. An object that was cut is forgotten.
    pub(super) fn end(&mut self, id: StreamId, is_whole: bool) -> Option<(usize, Arrived)> {
        let stream = self.streams.remove(&id)?;
        self.bytes -= stream.pieces.bytes();
        let end = Arrived::EndOfGroup(stream.group, stream.next);
        (is_whole && stream.ends_group).then_some((stream.track, end))
    }

    /// The track that a stream is of.
    pub(super) fn track(&self, id: StreamId) -> Option<usize> {
        Some(self.streams.get(&id)?.track)
    }

    /// Every stream.
    pub(super) fn ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.keys().copied()
    }

    /// Bytes of objects that are not complete.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use oxymoq_core::wire::id::SubgroupId;

    use super::*;

    fn header(id: u64, length: u64) -> ObjectHeader {
        ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: length,
        }
    }

    const fn subgroup(group: u64, end_of_group: bool) -> SubgroupHeader {
        SubgroupHeader {
            group: GroupId(group),
            subgroup: SubgroupId(0),
            priority: None,
            end_of_group,
            first_object: true,
        }
    }

    fn limits() -> Limits {
        Limits {
            max_object_bytes: 100,
            max_arriving_bytes: 150,
            max_streams: 2,
            ..Limits::default()
        }
    }

    #[test]
    fn objects_are_put_together_on_each_stream_by_itself() {
        let (mut streams, limits) = (Streams::default(), limits());
        let [a, b] = [1, 2].map(StreamId::peer);
        streams.open(a, 0, &subgroup(7, true), &limits).unwrap();
        streams.open(b, 1, &subgroup(8, false), &limits).unwrap();
        assert_eq!(streams.begin(a, header(0, 3), &limits), Ok(None));
        assert_eq!(streams.begin(b, header(5, 1), &limits), Ok(None));
        assert_eq!(streams.append(a, b"ab", &limits), Ok(None));
        let (track, object) = streams.append(b, b"x", &limits).unwrap().unwrap();
        assert_eq!((track, object.location), (1, Location::new(8, 5)));
        assert_eq!(&object.payload[..], b"x");
        let (track, object) = streams.append(a, b"c", &limits).unwrap().unwrap();
        assert_eq!((track, object.location), (0, Location::new(7, 0)));
        assert_eq!(&object.payload[..], b"abc");
        let empty = streams.begin(a, header(1, 0), &limits).unwrap();
        assert!(matches!(empty, Some((0, Arrived::Object(_)))));
        let end = Arrived::EndOfGroup(GroupId(7), ObjectId(2));
        assert_eq!(streams.end(a, true), Some((0, end)));
        assert_eq!(streams.end(b, true), None, "the group may go on elsewhere");
        assert_eq!(streams.bytes(), 0);
    }

    #[test]
    fn the_end_of_a_group_is_known_from_a_marker_and_not_from_a_stream_that_was_cut() {
        let (mut streams, limits) = (Streams::default(), limits());
        let stream = StreamId::peer(1);
        streams
            .open(stream, 0, &subgroup(7, true), &limits)
            .unwrap();
        let marker = ObjectHeader {
            status: ObjectStatus::EndOfGroup,
            ..header(4, 0)
        };
        let end = Arrived::EndOfGroup(GroupId(7), ObjectId(4));
        assert_eq!(streams.begin(stream, marker, &limits), Ok(Some((0, end))));
        assert_eq!(streams.begin(stream, header(9, 2), &limits), Ok(None));
        assert_eq!(streams.end(stream, false), None);
        assert_eq!(streams.append(stream, b"ab", &limits), Ok(None));
    }

    #[test]
    fn more_than_may_arrive_at_once_is_refused() {
        let (mut streams, limits) = (Streams::default(), limits());
        let [a, b, c] = [1, 2, 3].map(StreamId::peer);
        streams.open(a, 0, &subgroup(1, true), &limits).unwrap();
        streams.open(b, 0, &subgroup(2, true), &limits).unwrap();
        let third = streams.open(c, 0, &subgroup(3, true), &limits);
        assert_eq!(third, Err(TooMuch::Together));
        let large = streams.begin(a, header(0, 101), &limits);
        assert_eq!(large, Err(TooMuch::Object));
        streams.begin(a, header(0, 100), &limits).unwrap();
        streams.begin(b, header(0, 100), &limits).unwrap();
        assert_eq!(streams.append(a, &[0; 90], &limits), Ok(None));
        assert_eq!(streams.append(b, &[0; 60], &limits), Ok(None));
        let more = streams.append(b, &[0; 1], &limits);
        assert_eq!(more, Err(TooMuch::Together));
        streams.end(b, false);
        assert_eq!(streams.bytes(), 90);
    }
}
