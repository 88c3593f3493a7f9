//! What tests of sessions share.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::draft::Draft;
use crate::session::{Limits, Piece, Role, Settings, Source, Underlay};
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

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
        role,
        underlay: Underlay::RawQuic,
        path: Bytes::new(),
        authority: Bytes::new(),
        accepted_paths: vec![Bytes::from_static(b"/moq")],
        implementation: Bytes::new(),
        authorization_tokens: Vec::new(),
        limits: Limits::default(),
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
