//! A server that sends what a test tells it to, object by object.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::draft::IntegerKind;
use oxymoq_core::media::packaging::Packed;
use oxymoq_core::session::{Event, Refusal, Request, Response};
use oxymoq_core::sim::{Failure, FetchStream, Part, Stage, Subgroup};
use oxymoq_core::transport::{Closed, ConnectionId};
use oxymoq_core::wire::id::{
    GroupId, Location, Millis, ObjectId, RequestId, SubgroupId, TrackAlias,
};
use oxymoq_core::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Retry, Subscribe, SubscribeOk,
};
use oxymoq_core::wire::object::{
    FetchEntry, FetchObject, ObjectHeader, ObjectStatus, SubgroupHeader,
};
use oxymoq_core::wire::param::{GroupOrder, Parameters};
use oxymoq_core::wire::property::Properties;

/// Whoever subscribes to a track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    connection: ConnectionId,
    request: RequestId,
    alias: TrackAlias,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Station {
    /// Tracks that are refused.
    pub(super) refused: BTreeSet<String>,
    /// When they may be asked for again.
    pub(super) retry: Option<Millis>,
    /// What was published before, by track.
    pub(super) past: BTreeMap<String, Vec<(Location, Packed)>>,
    /// The SUBSCRIBEs and FETCHes that came, in order.
    pub(super) subscribes: Vec<Subscribe>,
    pub(super) fetches: Vec<Fetch>,
    /// Set to let FETCHes wait for [`Station::answer_fetches`].
    pub(super) is_slow: bool,
    subscriptions: BTreeMap<String, Subscription>,
    open: BTreeMap<(String, GroupId), Subgroup>,
    waiting: Vec<(ConnectionId, Fetch)>,
    next_alias: u64,
    /// Requests that were withdrawn.
    pub(super) cancelled: usize,
    /// Streams that were stopped.
    pub(super) stopped: usize,
    /// How requests were answered.
    pub(super) answers: Vec<Response>,
    /// How connections ended.
    pub(super) closed: Vec<Closed>,
}

impl Station {
    /// Sends an object on the stream of its group, which ends the group if it ends well.
    pub(super) fn send(
        &mut self,
        stage: &mut Stage<'_>,
        track: &str,
        at: Location,
        packed: &Packed,
    ) {
        let to = self.subscriptions[track];
        let key = (track.to_owned(), at.group);
        let mut subgroup = self.open.get(&key).copied().unwrap_or_else(|| {
            let header = SubgroupHeader {
                group: at.group,
                subgroup: SubgroupId(0),
                priority: Some(128),
                end_of_group: true,
                first_object: at.object == ObjectId(0),
            };
            stage
                .open_subgroup_stream(to.connection, to.request, to.alias, &header, true)
                .unwrap()
        });
        let integers = integers(stage, to.connection);
        let header = ObjectHeader {
            id: at.object,
            properties: packed.properties(integers).unwrap(),
            status: ObjectStatus::Normal,
            payload_length: u64::try_from(packed.payload.len()).unwrap(),
        };
        stage
            .write_object(&mut subgroup, &header, packed.payload.clone())
            .unwrap();
        self.open.insert(key, subgroup);
    }

    /// Ends the stream of a group.
    pub(super) fn finish(&mut self, stage: &mut Stage<'_>, track: &str, group: u64) {
        if let Some(open) = self.open.remove(&(track.to_owned(), GroupId(group))) {
            stage.finish(open);
        }
    }

    /// Ends every group and a track.
    pub(super) fn end(&mut self, stage: &mut Stage<'_>, track: &str, code: DoneCode) {
        let groups: Vec<u64> = self
            .open
            .keys()
            .filter(|(name, _)| name == track)
            .map(|(_, group)| group.0)
            .collect();
        for group in groups {
            self.finish(stage, track, group);
        }
        let Subscription {
            connection,
            request,
            ..
        } = self.subscriptions.remove(track).unwrap();
        let now = stage.now();
        let session = stage.session(connection).unwrap();
        session.done(now, request, code, "over").unwrap();
    }

    /// Asks everybody to leave, for elsewhere if a URI is given.
    pub(super) fn go_away(stage: &mut Stage<'_>, uri: &'static str) {
        let now = stage.now();
        for connection in stage.connections() {
            let goaway = GoAway {
                uri: Bytes::from_static(uri.as_bytes()),
                timeout: Millis(0),
                request_id: None,
            };
            stage
                .session(connection)
                .unwrap()
                .go_away(now, None, goaway)
                .unwrap();
        }
    }

    pub(super) fn is_subscribed(&self, track: &str) -> bool {
        self.subscriptions.contains_key(track)
    }

    fn subscribe(&mut self, stage: &mut Stage<'_>, connection: ConnectionId, subscribe: Subscribe) {
        let track = name(&subscribe);
        let id = subscribe.request_id;
        self.subscribes.push(subscribe);
        let response = if self.refused.contains(&track) {
            Response::Error(Refusal {
                retry: self.retry.map_or(Retry::Never, Retry::After),
                ..Refusal::new(RequestCode::DoesNotExist, "no such track")
            })
        } else {
            self.next_alias += 1;
            let alias = TrackAlias(self.next_alias);
            let past = self.past.get(&track).and_then(|past| past.last());
            let largest_object = past.map(|(location, _)| *location);
            self.open.retain(|(open, _), _| *open != track);
            self.subscriptions.insert(
                track,
                Subscription {
                    connection,
                    request: id,
                    alias,
                },
            );
            Response::SubscribeOk(SubscribeOk {
                request_id: None,
                track_alias: alias,
                parameters: Parameters {
                    largest_object,
                    ..Parameters::default()
                },
                properties: Properties::default(),
            })
        };
        let now = stage.now();
        stage
            .session(connection)
            .unwrap()
            .respond(now, id, response)
            .unwrap();
    }

    /// Answers the FETCHes that wait.
    pub(super) fn answer_fetches(&mut self, stage: &mut Stage<'_>) {
        for (connection, fetch) in std::mem::take(&mut self.waiting) {
            self.answer(stage, connection, &fetch);
        }
    }

    fn answer(&self, stage: &mut Stage<'_>, connection: ConnectionId, fetch: &Fetch) {
        let FetchRange::Standalone { track, start, .. } = &fetch.range else {
            panic!("a session tells what a joining FETCH means");
        };
        let track = String::from_utf8(track.name.as_bytes().to_vec()).unwrap();
        let past = &self.past[&track];
        let (now, id) = (stage.now(), fetch.request_id);
        let response = Response::FetchOk(FetchOk {
            request_id: None,
            end_of_track: false,
            end: after(past.last().unwrap().0),
            parameters: Parameters::default(),
            properties: Properties::default(),
        });
        stage
            .session(connection)
            .unwrap()
            .respond(now, id, response)
            .unwrap();
        let mut stream: FetchStream = stage
            .open_fetch(connection, id, GroupOrder::Ascending)
            .unwrap();
        let integers = integers(stage, connection);
        for (location, packed) in past.iter().filter(|(location, _)| location >= start) {
            let entry = FetchEntry::Object(FetchObject {
                location: *location,
                subgroup: Some(SubgroupId(0)),
                priority: 128,
                properties: packed.properties(integers).unwrap(),
                payload_length: u64::try_from(packed.payload.len()).unwrap(),
            });
            stage
                .fetched(&mut stream, &entry, packed.payload.clone())
                .unwrap();
        }
        stage.finish_stream(connection, stream.stream());
    }
}

fn integers(stage: &mut Stage<'_>, connection: ConnectionId) -> IntegerKind {
    let session = stage.session(connection).unwrap();
    session.profile().unwrap().integers
}

const fn after(location: Location) -> Location {
    Location {
        object: ObjectId(location.object.0 + 1),
        ..location
    }
}

fn name(subscribe: &Subscribe) -> String {
    String::from_utf8(subscribe.track.name.as_bytes().to_vec()).unwrap()
}

impl Part for Station {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Request {
                request: Request::Subscribe(subscribe),
                ..
            } => self.subscribe(stage, connection, subscribe),
            Event::Request {
                request: Request::Fetch(fetch),
                ..
            } => {
                self.fetches.push(fetch.clone());
                if self.is_slow {
                    self.waiting.push((connection, fetch));
                } else {
                    self.answer(stage, connection, &fetch);
                }
            }
            Event::Cancelled { id, .. } => {
                self.cancelled += 1;
                self.subscriptions
                    .retain(|_, open| open.request != id || open.connection != connection);
            }
            Event::StreamStopped { stream, .. } => {
                self.stopped += 1;
                self.open.retain(|_, open| open.stream() != stream);
            }
            Event::Response { response, .. } => self.answers.push(response),
            Event::Closed(how) => {
                self.closed.push(how);
                self.subscriptions
                    .retain(|_, open| open.connection != connection);
                self.open.clear();
            }
            _ => {}
        }
        Ok(())
    }
}
