//! A subscriber that writes down whole objects.

use std::collections::BTreeMap;

use oxymoq_core::session::{
    Event, FetchItem, Limits, Refusal, Request, Response, Role, Session, Settings, StreamEnd,
    Underlay,
};
use oxymoq_core::sim::{Failure, Part, Program, Stage};
use oxymoq_core::transport::{ConnectionId, StreamId};
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{Fetch, FetchRange, PublishDone, Subscribe};
use oxymoq_core::wire::object::SubgroupHeader;
use oxymoq_core::wire::property::Properties;

use super::*;

/// An object that arrived.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) at: Time,
    pub(super) location: Location,
    pub(super) priority: u8,
    pub(super) end_of_group: bool,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
    length: u64,
}

/// Subscribes, and writes down what arrives.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    tracks: Vec<&'static str>,
    filter: Option<Filter>,
    /// Whether the last group so far is fetched as well.
    joins: bool,
    asked: BTreeMap<RequestId, &'static str>,
    streams: BTreeMap<StreamId, (&'static str, SubgroupHeader, Option<Got>)>,
    got: BTreeMap<&'static str, Vec<Got>>,
    fetched: BTreeMap<&'static str, Vec<Bytes>>,
    done: BTreeMap<&'static str, PublishDone>,
    refused: BTreeMap<&'static str, Vec<Refusal>>,
    ends: Vec<StreamEnd>,
}

impl Watcher {
    pub(super) fn of(tracks: &[&'static str]) -> Self {
        Self {
            tracks: tracks.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn joining(mut self) -> Self {
        self.joins = true;
        self
    }

    pub(super) fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The program around it.
    pub(super) fn node(self, server: Server, draft: Draft) -> Program<Self> {
        let settings = Settings {
            role: Role::Client,
            underlay: Underlay::RawQuic,
            path: Bytes::from_static(b"/moq-date"),
            authority: Bytes::from_static(b"server:4433"),
            accepted_paths: Vec::new(),
            implementation: Bytes::from_static(b"watcher"),
            authorization_tokens: Vec::new(),
            limits: Limits::default(),
        };
        let target = server.target(&[draft]);
        Program::client(settings, &[draft], target, Box::new(self))
    }

    /// The objects of a track, in the order of their locations.
    pub(super) fn got(&self, track: &str) -> &[Got] {
        self.got.get(track).map_or(&[], Vec::as_slice)
    }

    /// The payloads that were fetched of a track.
    pub(super) fn fetched(&self, track: &str) -> &[Bytes] {
        self.fetched.get(track).map_or(&[], Vec::as_slice)
    }

    pub(super) fn done(&self, track: &str) -> Option<&PublishDone> {
        self.done.get(track)
    }

    pub(super) fn refused(&self, track: &str) -> &[Refusal] {
        self.refused.get(track).map_or(&[], Vec::as_slice)
    }

    pub(super) fn ends(&self) -> &[StreamEnd] {
        &self.ends
    }

    fn ask(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        let now = stage.now();
        for track in self.tracks.clone() {
            let subscribe = Subscribe {
                request_id: RequestId(0),
                track: full_name(track),
                parameters: Parameters {
                    filter: Some(self.filter.unwrap_or(Filter::LargestObject)),
                    ..Parameters::default()
                },
            };
            let session = stage.session(connection)?;
            let id = request(session, now, Request::Subscribe(subscribe))?;
            self.asked.insert(id, track);
            if self.joins {
                let fetch = Fetch {
                    request_id: RequestId(0),
                    range: FetchRange::RelativeJoining {
                        joining_request_id: id,
                        joining_start: 0,
                    },
                    parameters: Parameters::default(),
                };
                let id = request(session, now, Request::Fetch(fetch))?;
                self.asked.insert(id, track);
            }
        }
        Ok(())
    }

    /// A stream's object may be whole.
    fn settle(&mut self, stream: StreamId) {
        let Some((track, _, slot)) = self.streams.get_mut(&stream) else {
            return;
        };
        let is_whole = |got: &mut Got| u64::try_from(got.payload.len()) == Ok(got.length);
        if let Some(got) = slot.take_if(is_whole) {
            let all = self.got.entry(track).or_default();
            let place = all.partition_point(|other| other.location < got.location);
            all.insert(place, got);
        }
    }
}

fn request(session: &mut Session, now: Time, request: Request) -> Result<RequestId, Failure> {
    session
        .request(now, request)
        .map_err(|misuse| misuse.to_string())
}

fn full_name(track: &str) -> FullTrackName {
    FullTrackName::new(job().namespace, name(track)).unwrap()
}

impl Part for Watcher {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "it only subscribes and fetches"
    )]
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => self.ask(stage, connection)?,
            Event::Response {
                id,
                response: Response::Error(refusal),
            } => self
                .refused
                .entry(self.asked[&id])
                .or_default()
                .push(refusal),
            Event::Done { id, done } => {
                self.done.insert(self.asked[&id], done);
            }
            Event::SubgroupOpened { stream, id, header } => {
                self.streams.insert(stream, (self.asked[&id], header, None));
            }
            Event::Object { stream, object } => {
                let (_, header, slot) = self.streams.get_mut(&stream).unwrap();
                *slot = Some(Got {
                    at: now,
                    location: Location {
                        group: header.group,
                        object: object.id,
                    },
                    priority: header.priority.unwrap(),
                    end_of_group: header.end_of_group,
                    properties: object.properties,
                    payload: Bytes::new(),
                    length: object.payload_length,
                });
                self.settle(stream);
            }
            Event::Payload { stream, bytes } => {
                let (_, _, slot) = self.streams.get_mut(&stream).unwrap();
                let got = slot.as_mut().unwrap();
                got.payload = [&got.payload[..], &bytes].concat().into();
                self.settle(stream);
            }
            Event::SubgroupEnded { stream, end } => {
                self.streams.remove(&stream);
                self.ends.push(end);
            }
            Event::Fetched { id, item } => {
                let all = self.fetched.entry(self.asked[&id]).or_default();
                match item {
                    FetchItem::Object { .. } => all.push(Bytes::new()),
                    FetchItem::Payload(bytes) => {
                        let last = all.last_mut().unwrap();
                        *last = [&last[..], &bytes].concat().into();
                    }
                    _ => {}
                }
            }
            Event::Request { id, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "a mere subscriber");
                let session = stage.session(connection)?;
                let answer = Response::Error(refusal);
                session
                    .respond(now, id, answer)
                    .map_err(|misuse| misuse.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }
}
