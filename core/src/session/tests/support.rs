//! What tests of sessions share.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::code::{DoneCode, RequestCode};
use crate::draft::{Draft, IntegerKind};
use crate::session::{Piece, Role, Settings, Source};
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchOk, FetchRange, Interest, Publish, PublishDone, PublishNamespace, RequestError,
    Retry, Subscribe, SubscribeNamespace, SubscribeOk, TrackStatus,
};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::param::Parameters;
use crate::wire::property::{Properties, Value};

pub(super) const DRAFTS: [Draft; 2] = Draft::ALL;

/// Bytes of outgoing data streams.
#[derive(Debug, Default)]
pub(super) struct Store {
    streams: BTreeMap<StreamId, (BytesMut, bool)>,
}

impl Store {
    pub(super) fn push(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        let entry = self.streams.entry(stream).or_default();
        entry.0.extend_from_slice(bytes);
        entry.1 |= fin;
    }
}

impl Source for Store {
    fn peek(&mut self, _now: Time, stream: StreamId) -> Option<Piece> {
        let (bytes, fin) = self.streams.get(&stream)?;
        let piece = Piece {
            bytes: Bytes::copy_from_slice(bytes),
            fin: *fin,
        };
        (piece.fin || !piece.bytes.is_empty()).then_some(piece)
    }

    fn taken(&mut self, _now: Time, stream: StreamId, bytes: usize, fin: bool) {
        if fin {
            self.streams.remove(&stream);
        } else if let Some(entry) = self.streams.get_mut(&stream) {
            drop(entry.0.split_to(bytes));
        }
    }
}

pub(super) fn settings(role: Role) -> Settings {
    Settings {
        accepted_paths: vec![Bytes::from_static(b"/moq")],
        ..Settings::new(role)
    }
}

pub(super) fn namespace(fields: &[&str]) -> TrackNamespace {
    TrackNamespace::new(fields.iter().map(|field| field.as_bytes().to_vec())).unwrap()
}

pub(super) fn track(name: &str) -> FullTrackName {
    FullTrackName {
        namespace: namespace(&["live"]),
        name: TrackName::new(name.as_bytes().to_vec()).unwrap(),
    }
}

pub(super) fn subscribe(id: u64, name: &str) -> Subscribe {
    Subscribe {
        request_id: RequestId(id),
        track: track(name),
        parameters: Parameters::default(),
    }
}

pub(super) fn publish(id: u64, name: &str, alias: u64) -> Publish {
    Publish {
        request_id: RequestId(id),
        track: track(name),
        track_alias: TrackAlias(alias),
        parameters: Parameters::default(),
        properties: Properties::default(),
    }
}

pub(super) fn announce(id: u64, fields: &[&str]) -> PublishNamespace {
    PublishNamespace {
        request_id: RequestId(id),
        namespace: namespace(fields),
        parameters: Parameters::default(),
    }
}

pub(super) fn discover(id: u64, fields: &[&str]) -> SubscribeNamespace {
    SubscribeNamespace {
        request_id: RequestId(id),
        prefix: namespace(fields),
        interest: Interest::Namespaces,
        parameters: Parameters::default(),
    }
}

pub(super) fn status(id: u64, name: &str) -> TrackStatus {
    TrackStatus {
        request_id: RequestId(id),
        track: track(name),
        parameters: Parameters::default(),
    }
}

pub(super) fn fetch(id: u64, range: FetchRange) -> Fetch {
    Fetch {
        request_id: RequestId(id),
        range,
        parameters: Parameters::default(),
    }
}

pub(super) fn range(name: &str, start: (u64, u64), end: (u64, u64)) -> FetchRange {
    FetchRange::Standalone {
        track: track(name),
        start: at(start.0, start.1),
        end: at(end.0, end.1),
    }
}

pub(super) const fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

pub(super) fn subscribe_ok(alias: u64, largest: Option<Location>) -> SubscribeOk {
    SubscribeOk {
        request_id: None,
        track_alias: TrackAlias(alias),
        parameters: Parameters {
            largest_object: largest,
            ..Parameters::default()
        },
        properties: Properties::default(),
    }
}

pub(super) fn fetch_ok(end: Location) -> FetchOk {
    FetchOk {
        request_id: None,
        end_of_track: false,
        end,
        parameters: Parameters::default(),
        properties: Properties::default(),
    }
}

pub(super) fn error(code: RequestCode) -> RequestError {
    RequestError {
        request_id: None,
        code,
        retry: Retry::Never,
        reason: Bytes::new(),
        redirect: None,
    }
}

pub(super) fn done(count: u64) -> PublishDone {
    PublishDone {
        request_id: None,
        code: DoneCode::TrackEnded,
        stream_count: Some(count),
        reason: Bytes::new(),
    }
}

/// A property that the receiver must understand, and does not.
pub(super) fn mandatory() -> Properties {
    Properties::from_list(IntegerKind::Vi64, [(0x4002, Value::Integer(1))]).unwrap()
}
