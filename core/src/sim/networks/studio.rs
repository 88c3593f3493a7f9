//! A publisher of one track that does as it is told, and answers every request for what was published.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only publishes has no use for the other events"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::session::{Event, Misuse, Refusal, Request, Response};
use crate::time::Time;
use crate::transport::{Closed, ConnectionId, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchOk, FetchRange, Publish, PublishNamespace, RequestOk, Retry, Subscribe, SubscribeOk,
};
use crate::wire::object::{
    DatagramObject, FetchEntry, FetchObject, ObjectHeader, ObjectStatus, SubgroupHeader,
};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::Properties;

use super::super::program::{Failure, Part};
use super::super::stage::{Stage, Subgroup};
use super::book::{Book, Ending};

/// A publisher.
#[derive(Debug)]
pub(super) struct Studio {
    book: Book,
    pushes: bool,
    feeds: BTreeMap<(ConnectionId, RequestId), Feed>,
    next_alias: u64,
    /// Streams that a relay did not want any more.
    pub(super) stopped: Vec<(Time, (u64, u64), ResetCode)>,
    pub(super) closed: Vec<Closed>,
    /// The new group that a relay asks for; 0: any.
    pub(super) wanted: Option<u64>,
    pub(super) connection: Option<ConnectionId>,
}

/// A subscription at a publisher.
#[derive(Debug)]
struct Feed {
    alias: TrackAlias,
    forward: bool,
    start: Location,
    last_group: u64,
    lanes: BTreeMap<(u64, u64), Subgroup>,
    /// Subgroups of which no more is wanted.
    unwanted: BTreeSet<(u64, u64)>,
}

impl Feed {
    fn wants(&self, at: Location) -> bool {
        self.forward && at >= self.start && at.group.0 <= self.last_group
    }
}

fn words(misuse: Misuse) -> Failure {
    format!("a publisher: {misuse}")
}

impl Studio {
    pub(super) const fn new(book: Book, pushes: bool) -> Self {
        Self {
            book,
            pushes,
            feeds: BTreeMap::new(),
            next_alias: 1,
            stopped: Vec::new(),
            closed: Vec::new(),
            wanted: None,
            connection: None,
        }
    }

    /// What the track's properties are for a peer.
    fn properties(&self, stage: &mut Stage<'_>, connection: ConnectionId) -> Properties {
        let session = stage.session(connection).ok();
        let profile = session.and_then(|session| session.profile());
        profile.map_or_else(Properties::default, |profile| {
            self.book.track_properties(profile.integers)
        })
    }

    /// Publishes an object that was added to this book.
    pub(super) fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        book: &Book,
        at: Location,
    ) -> Result<(), Failure> {
        self.book = book.clone();
        for ((connection, id), feed) in &mut self.feeds {
            if !feed.wants(at) {
                continue;
            }
            match send(stage, (*connection, *id), feed, &self.book, at) {
                Ok(()) | Err(Misuse::Closed) => {}
                Err(misuse) => return Err(words(misuse)),
            }
        }
        Ok(())
    }

    /// A subgroup is over.
    pub(super) fn end_line(
        &mut self,
        stage: &mut Stage<'_>,
        book: &Book,
        key: (u64, u64),
        ending: Ending,
    ) {
        self.book = book.clone();
        for ((connection, _), feed) in &mut self.feeds {
            if let Some(subgroup) = feed.lanes.remove(&key) {
                match ending {
                    Ending::Finished => stage.finish(subgroup),
                    Ending::Reset => reset(stage, *connection, subgroup, ResetCode::InternalError),
                }
            }
        }
    }

    /// The track is over.
    pub(super) fn end_track(&mut self, stage: &mut Stage<'_>, book: &Book) -> Result<(), Failure> {
        self.book = book.clone();
        let now = stage.now();
        for (connection, id) in std::mem::take(&mut self.feeds).into_keys() {
            let Ok(session) = stage.session(connection) else {
                continue;
            };
            match session.done(now, id, DoneCode::TrackEnded, "over") {
                Ok(()) | Err(Misuse::Closed) => {}
                Err(misuse) => return Err(words(misuse)),
            }
        }
        Ok(())
    }

    fn alias(&mut self) -> TrackAlias {
        self.next_alias += 1;
        TrackAlias(self.next_alias)
    }

    fn feed(&self, parameters: &Parameters, alias: TrackAlias) -> Feed {
        let largest = self.book.largest();
        let after = largest.map_or_else(Location::default, |at| {
            Location::new(at.group.0, at.object.0 + 1)
        });
        let (start, last_group) = match parameters.filter {
            None | Some(Filter::LargestObject) => (after, u64::MAX),
            Some(Filter::NextGroupStart) => {
                let group = largest.map_or(0, |at| at.group.0 + 1);
                (Location::new(group, 0), u64::MAX)
            }
            Some(Filter::AbsoluteStart(start)) => (start, u64::MAX),
            Some(Filter::AbsoluteRange { start, end_group }) => (start, end_group.0),
        };
        Feed {
            alias,
            forward: parameters.forward != Some(false),
            start,
            last_group,
            lanes: BTreeMap::new(),
            unwanted: BTreeSet::new(),
        }
    }

    fn arrive(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        self.connection = Some(connection);
        let now = stage.now();
        if self.book.ended.is_some() {
            return Ok(());
        }
        let announcement = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: self.book.track.namespace.clone(),
            parameters: Parameters::default(),
        });
        let session = stage.session(connection)?;
        session.request(now, announcement).map_err(words)?;
        if self.pushes {
            let properties = self.properties(stage, connection);
            let alias = self.alias();
            let request = Request::Publish(Publish {
                request_id: RequestId(0),
                track: self.book.track.clone(),
                track_alias: alias,
                parameters: Parameters {
                    largest_object: self.book.largest(),
                    ..Parameters::default()
                },
                properties,
            });
            let asked = stage.session(connection)?.request(now, request);
            let id = asked.map_err(words)?;
            let paused = Parameters {
                forward: Some(false),
                ..Parameters::default()
            };
            let feed = self.feed(&paused, alias);
            self.feeds.insert((connection, id), feed);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        subscribe: &Subscribe,
        properties: Properties,
    ) -> Result<(Feed, SubscribeOk), Box<Refusal>> {
        if subscribe.track != self.book.track || self.book.ended.is_some() {
            let refusal = Refusal::new(RequestCode::DoesNotExist, "no such track");
            return Err(Box::new(refusal));
        }
        self.wanted = self.wanted.max(subscribe.parameters.new_group_request);
        let alias = self.alias();
        let feed = self.feed(&subscribe.parameters, alias);
        let ok = SubscribeOk {
            request_id: None,
            track_alias: alias,
            parameters: Parameters {
                largest_object: self.book.largest(),
                ..Parameters::default()
            },
            properties,
        };
        Ok((feed, ok))
    }

    fn request(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
        request: Request,
    ) -> Result<(), Failure> {
        let now = stage.now();
        let properties = self.properties(stage, connection);
        let response = match request {
            Request::Subscribe(subscribe) => match self.subscribe(&subscribe, properties) {
                Ok((feed, ok)) => {
                    self.feeds.insert((connection, id), feed);
                    Response::SubscribeOk(ok)
                }
                Err(refusal) => Response::Error(*refusal),
            },
            Request::TrackStatus(status) if status.track == self.book.track => {
                Response::Ok(RequestOk {
                    parameters: Parameters {
                        largest_object: self.book.largest(),
                        ..Parameters::default()
                    },
                    ..RequestOk::default()
                })
            }
            Request::Fetch(fetch) => return self.fetch(stage, connection, id, &fetch),
            _ => Response::Error(Refusal::new(RequestCode::NotSupported, "a mere publisher")),
        };
        let answered = stage.session(connection)?.respond(now, id, response);
        answered.map_err(words)
    }

    /// Sends everything of a range.
    fn fetch(
        &self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
        fetch: &Fetch,
    ) -> Result<(), Failure> {
        let now = stage.now();
        let properties = self.properties(stage, connection);
        let mut refuse = |code, why| {
            let refusal = Response::Error(Refusal::new(code, why));
            let answered = stage.session(connection)?.respond(now, id, refusal);
            answered.map_err(words)
        };
        let FetchRange::Standalone { track, start, end } = &fetch.range else {
            return Err("a joining FETCH is not for a publisher's application".to_owned());
        };
        if *track != self.book.track {
            return refuse(RequestCode::DoesNotExist, "no such track");
        }
        let Some(largest) = self.book.largest().filter(|largest| *largest >= *start) else {
            return refuse(RequestCode::InvalidRange, "nothing there yet");
        };
        let beyond = Location::new(largest.group.0, largest.object.0 + 1);
        let is_all = match end.object.0 {
            0 => end.group.0 < largest.group.0,
            _ => *end <= beyond,
        };
        let end = if is_all { *end } else { beyond };
        let order = fetch.parameters.group_order.unwrap_or_default();
        let ok = FetchOk {
            request_id: None,
            end_of_track: !is_all && self.book.ended.is_some(),
            end,
            parameters: Parameters::default(),
            properties,
        };
        let answered = stage
            .session(connection)?
            .respond(now, id, Response::FetchOk(ok));
        answered.map_err(words)?;
        self.send_range(stage, (connection, id), (*start, end), order)
    }

    fn send_range(
        &self,
        stage: &mut Stage<'_>,
        (connection, id): (ConnectionId, RequestId),
        (start, end): (Location, Location),
        order: GroupOrder,
    ) -> Result<(), Failure> {
        let integers = stage
            .session(connection)?
            .profile()
            .ok_or("no draft")?
            .integers;
        let mut stream = stage.open_fetch(connection, id, order).map_err(words)?;
        let within = |at: Location| {
            at >= start
                && match end.object.0 {
                    0 => at.group <= end.group,
                    _ => at < end,
                }
        };
        let entries = self.book.objects.iter();
        let mut entries: Vec<_> = entries.filter(|(at, _)| within(**at)).collect();
        if order == GroupOrder::Descending {
            entries.sort_by_key(|(at, _)| (std::cmp::Reverse(at.group), at.object));
        }
        for (at, entry) in entries {
            if entry.status != ObjectStatus::Normal {
                continue;
            }
            let object = FetchEntry::Object(FetchObject {
                location: *at,
                subgroup: entry.subgroup.map(SubgroupId),
                priority: entry.priority,
                properties: self.book.properties(*at, integers),
                payload_length: u64::try_from(entry.length).unwrap_or(0),
            });
            let payload = self.book.payload(*at);
            stage
                .fetched(&mut stream, &object, payload)
                .map_err(words)?;
        }
        stage.finish_stream(connection, stream.stream());
        Ok(())
    }

    fn update(
        &mut self,
        stage: &mut Stage<'_>,
        key: (ConnectionId, RequestId),
        forward: Option<bool>,
    ) {
        let Some(feed) = self.feeds.get_mut(&key) else {
            return;
        };
        feed.forward = forward.unwrap_or(feed.forward);
        if !feed.forward {
            // Not all of these will be sent.
            for subgroup in std::mem::take(&mut feed.lanes).into_values() {
                reset(stage, key.0, subgroup, ResetCode::Cancelled);
            }
        }
    }

    fn unwanted(&mut self, now: Time, connection: ConnectionId, stream: StreamId, code: ResetCode) {
        for ((of, _), feed) in &mut self.feeds {
            let lane = feed
                .lanes
                .iter()
                .find(|(_, lane)| *of == connection && lane.stream() == stream)
                .map(|(key, _)| *key);
            if let Some(key) = lane {
                feed.lanes.remove(&key);
                feed.unwanted.insert(key);
                self.stopped.push((now, key, code));
            }
        }
    }
}

/// Sends an object to one subscription.
fn send(
    stage: &mut Stage<'_>,
    (connection, id): (ConnectionId, RequestId),
    feed: &mut Feed,
    book: &Book,
    at: Location,
) -> Result<(), Misuse> {
    let Some(entry) = book.objects.get(&at) else {
        return Ok(());
    };
    let session = stage.session(connection).map_err(|_| Misuse::Closed)?;
    let integers = session.profile().ok_or(Misuse::NotEstablished)?.integers;
    let (properties, payload) = (book.properties(at, integers), book.payload(at));
    let Some(subgroup) = entry.subgroup else {
        let object = DatagramObject {
            location: at,
            priority: Some(entry.priority),
            properties,
            status: entry.status,
            end_of_group: false,
            payload,
        };
        return stage.write_datagram(connection, id, feed.alias, &object);
    };
    let key = (at.group.0, subgroup);
    if feed.unwanted.contains(&key) {
        return Ok(());
    }
    let mut lane = match feed.lanes.get(&key) {
        Some(lane) => *lane,
        None => {
            let first = book
                .subgroups
                .get(&key)
                .and_then(|line| line.objects.first());
            let header = SubgroupHeader {
                group: GroupId(at.group.0),
                subgroup: SubgroupId(subgroup),
                priority: Some(entry.priority),
                end_of_group: false,
                first_object: first == Some(&at.object.0),
            };
            stage.open_subgroup_stream(connection, id, feed.alias, &header, true)?
        }
    };
    let header = ObjectHeader {
        id: ObjectId(at.object.0),
        properties,
        status: entry.status,
        payload_length: u64::try_from(payload.len()).unwrap_or(0),
    };
    stage.write_object(&mut lane, &header, payload)?;
    feed.lanes.insert(key, lane);
    Ok(())
}

fn reset(stage: &mut Stage<'_>, connection: ConnectionId, subgroup: Subgroup, code: ResetCode) {
    let now = stage.now();
    if let Ok(session) = stage.session(connection) {
        session.reset_stream(now, subgroup.stream(), code);
    }
}

impl Part for Studio {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => self.arrive(stage, connection)?,
            Event::Request { id, request } => self.request(stage, connection, id, request)?,
            Event::Response { id, response } => match response {
                Response::Ok(ok) => {
                    if let Some(feed) = self.feeds.get_mut(&(connection, id)) {
                        feed.forward = ok.parameters.forward.unwrap_or(true);
                    }
                }
                Response::Error(refusal) => {
                    self.feeds.remove(&(connection, id));
                    let codes = [RequestCode::ExcessiveLoad, RequestCode::GoingAway];
                    // That a relay shuts down has no code in draft 16.
                    let may_come_again =
                        refusal.code == RequestCode::InternalError && refusal.retry != Retry::Never;
                    if !codes.contains(&refusal.code) && !may_come_again {
                        return Err(format!("a publisher was refused: {refusal:?}"));
                    }
                }
                Response::SubscribeOk(_) | Response::FetchOk(_) => {}
            },
            Event::Update {
                id,
                update,
                parameters,
            } => {
                self.wanted = self.wanted.max(parameters.new_group_request);
                self.update(stage, (connection, id), parameters.forward);
                let ok = RequestOk {
                    parameters: Parameters {
                        largest_object: self.book.largest(),
                        ..Parameters::default()
                    },
                    ..RequestOk::default()
                };
                let session = stage.session(connection)?;
                let answered = session.respond_to_update(now, id, update, Ok(ok));
                answered.map_err(words)?;
            }
            Event::Cancelled { id, .. } => {
                self.feeds.remove(&(connection, id));
            }
            Event::StreamStopped { stream, code } => {
                self.unwanted(now, connection, stream, code);
            }
            Event::Closed(closed) => {
                self.closed.push(closed);
                self.connection = None;
                self.feeds.retain(|(of, _), _| *of != connection);
            }
            _ => {}
        }
        Ok(())
    }
}
