//! Parts for whole networks: a publisher of live tracks, and a subscriber that checks what it gets.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only publishes or only subscribes has no use for the other events"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::session::{Event, Misuse, Refusal, Request, Response, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, TrackAlias};
use crate::wire::message::{PublishDone, PublishNamespace, RequestOk, Subscribe, SubscribeOk};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::object::SubgroupHeader;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

use super::program::{Failure, Part};
use super::random::Random;
use super::stage::{Stage, Subgroup};

/// What a [`Publisher`] publishes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Show {
    /// The namespace that it announces.
    pub namespace: TrackNamespace,
    /// Its tracks, all of the same shape.
    pub tracks: Vec<FullTrackName>,
    /// Time between two objects of a track.
    pub interval: Duration,
    /// Objects in each group.
    pub objects_per_group: u64,
    /// Groups until the tracks end.
    pub groups: u64,
    /// Bytes in each object.
    pub object_length: usize,
    /// In datagrams; otherwise a stream for each group.
    pub datagrams: bool,
}

/// The payload of an object, different for each; both sides know it.
pub fn payload(track: &FullTrackName, location: Location, length: usize) -> Bytes {
    let mut seed = location.group.0 << 20 | location.object.0;
    for byte in track.name.as_bytes() {
        seed = seed.wrapping_mul(31).wrapping_add(u64::from(*byte));
    }
    let mut random = Random::new(seed);
    let numbers = std::iter::repeat_with(|| random.number().to_le_bytes());
    numbers.flatten().take(length).collect()
}

/// Somebody's subscription at a publisher.
#[derive(Debug)]
struct Feed {
    track: usize,
    forward: bool,
    open: Option<Subgroup>,
}

/// Announces a namespace to whomever it is connected with, and publishes its tracks live, whether anybody listens or not.
#[derive(Debug)]
pub struct Publisher {
    show: Show,
    feeds: BTreeMap<(ConnectionId, RequestId), Feed>,
    next: Location,
    next_at: Option<Time>,
    /// From its first session to its first object.
    delay: Duration,
    /// How often somebody subscribed.
    subscriptions: usize,
    objects_sent: u64,
}

impl Publisher {
    /// One that starts with the first session.
    pub const fn new(show: Show) -> Self {
        Self::from(show, GroupId(0))
    }

    /// One that starts with this group.
    pub const fn from(show: Show, first: GroupId) -> Self {
        Self {
            delay: show.interval,
            show,
            feeds: BTreeMap::new(),
            next: Location {
                group: first,
                object: ObjectId(0),
            },
            next_at: None,
            subscriptions: 0,
            objects_sent: 0,
        }
    }

    /// The same, but its first object comes so long after its first session.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How many subscriptions it has.
    pub fn subscribers(&self) -> usize {
        self.feeds.len()
    }

    /// How many of its subscriptions want objects now.
    pub fn forwarding(&self) -> usize {
        self.feeds.values().filter(|feed| feed.forward).count()
    }

    /// How many subscriptions it had in all.
    pub const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// How many objects it sent, counted for each subscription.
    pub const fn objects_sent(&self) -> u64 {
        self.objects_sent
    }

    /// Abandons every open stream; the rest of its group is not published.
    ///
    /// # Errors
    ///
    /// A session is over.
    pub fn reset_all(&mut self, stage: &mut Stage<'_>, code: ResetCode) -> Result<(), Failure> {
        let now = stage.now();
        for ((connection, _), feed) in &mut self.feeds {
            if let Some(subgroup) = feed.open.take() {
                stage
                    .session(*connection)?
                    .reset_stream(now, subgroup.stream(), code);
            }
        }
        self.next = Location {
            group: GroupId(self.next.group.0 + 1),
            object: ObjectId(0),
        };
        Ok(())
    }

    /// The object that it publishes next.
    pub const fn next(&self) -> Location {
        self.next
    }

    fn largest(&self) -> Option<Location> {
        if let Some(object) = self.next.object.0.checked_sub(1) {
            return Some(Location {
                object: ObjectId(object),
                ..self.next
            });
        }
        Some(Location {
            group: GroupId(self.next.group.0.checked_sub(1)?),
            object: ObjectId(self.show.objects_per_group - 1),
        })
    }

    fn subscribe(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        subscribe: &Subscribe,
    ) -> Result<(), Failure> {
        let id = subscribe.request_id;
        let track = self
            .show
            .tracks
            .iter()
            .position(|track| *track == subscribe.track);
        let (now, largest_object) = (stage.now(), self.largest());
        let response = match track {
            None => Response::Error(Refusal::new(RequestCode::DoesNotExist, "no such track")),
            Some(track) => {
                let feed = Feed {
                    track,
                    forward: subscribe.parameters.forward != Some(false),
                    open: None,
                };
                self.feeds.insert((connection, id), feed);
                self.subscriptions += 1;
                Response::SubscribeOk(SubscribeOk {
                    request_id: None,
                    track_alias: alias(track),
                    parameters: Parameters {
                        largest_object,
                        ..Parameters::default()
                    },
                    properties: Properties::default(),
                })
            }
        };
        let answered = stage.session(connection)?.respond(now, id, response);
        answered.map_err(|misuse| misuse.to_string())
    }

    /// Publishes the next object of every track.
    fn publish(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let location = self.next;
        let last = location.object.0 + 1 == self.show.objects_per_group;
        for ((connection, id), feed) in &mut self.feeds {
            let Some(track) = self.show.tracks.get(feed.track) else {
                continue;
            };
            if feed.forward {
                let payload = payload(track, location, self.show.object_length);
                let sent = if self.show.datagrams {
                    stage.datagram(*connection, *id, alias(feed.track), location, payload)
                } else {
                    send(stage, (*connection, *id), feed, location, payload)
                };
                match sent {
                    Ok(()) => self.objects_sent += 1,
                    Err(Misuse::Closed) => {}
                    Err(misuse) => return Err(format!("object {location:?}: {misuse}")),
                }
            }
            if last && let Some(subgroup) = feed.open.take() {
                stage.finish(subgroup);
            }
        }
        if last {
            self.next.group.0 += 1;
            self.next.object.0 = 0;
        } else {
            self.next.object.0 += 1;
        }
        Ok(())
    }

    /// Tells every subscriber that the tracks are over.
    fn end(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let now = stage.now();
        self.next_at = None;
        for (connection, id) in std::mem::take(&mut self.feeds).into_keys() {
            let session = stage.session(connection)?;
            let done = session.done(now, id, DoneCode::TrackEnded, "over");
            done.map_err(|misuse| misuse.to_string())?;
        }
        Ok(())
    }
}

fn alias(track: usize) -> TrackAlias {
    TrackAlias(u64::try_from(track).unwrap_or(0) + 1)
}

/// Sends an object on the stream of its group, which is opened if need be.
fn send(
    stage: &mut Stage<'_>,
    to: (ConnectionId, RequestId),
    feed: &mut Feed,
    location: Location,
    payload: Bytes,
) -> Result<(), Misuse> {
    let mut subgroup = if let Some(open) = feed.open {
        open
    } else {
        let header = SubgroupHeader {
            group: location.group,
            subgroup: crate::wire::id::SubgroupId(0),
            priority: Some(128),
            end_of_group: true,
            first_object: location.object.0 == 0,
        };
        stage.open_subgroup(to.0, to.1, alias(feed.track), &header)?
    };
    stage.object(&mut subgroup, location.object, payload)?;
    feed.open = Some(subgroup);
    Ok(())
}

impl Part for Publisher {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                if self.next_at.is_none() {
                    self.next_at = Some(now + self.delay);
                }
                let request = Request::PublishNamespace(PublishNamespace {
                    request_id: RequestId(0),
                    namespace: self.show.namespace.clone(),
                    parameters: Parameters::default(),
                });
                let asked = stage.session(connection)?.request(now, request);
                asked.map_err(|misuse| misuse.to_string())?;
            }
            Event::Request {
                request: Request::Subscribe(subscribe),
                ..
            } => self.subscribe(stage, connection, &subscribe)?,
            Event::Request { id, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "a mere publisher");
                let session = stage.session(connection)?;
                let answered = session.respond(now, id, Response::Error(refusal));
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::Update {
                id,
                update,
                parameters,
            } => {
                if let Some(feed) = self.feeds.get_mut(&(connection, id)) {
                    feed.forward = parameters.forward.unwrap_or(feed.forward);
                    if !feed.forward
                        && let Some(subgroup) = feed.open.take()
                    {
                        stage.finish(subgroup);
                    }
                }
                let session = stage.session(connection)?;
                let ok = Ok(RequestOk::default());
                let answered = session.respond_to_update(now, id, update, ok);
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::Cancelled { id, .. } => {
                self.feeds.remove(&(connection, id));
            }
            Event::StreamStopped { stream, .. } => {
                for feed in self.feeds.values_mut() {
                    feed.open = feed.open.filter(|open| open.stream() != stream);
                }
            }
            Event::Closed(_) => self.feeds.retain(|(feed, _), _| *feed != connection),
            Event::Response {
                response: Response::Error(refusal),
                ..
            } => return Err(format!("the announcement was refused: {refusal:?}")),
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let Some(at) = self.next_at else {
            return Ok(());
        };
        if self.next.group.0 >= self.show.groups {
            return self.end(stage);
        }
        self.publish(stage)?;
        self.next_at = Some(at + self.show.interval);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.next_at
    }
}

/// An object that is arriving.
#[derive(Debug)]
struct Arriving {
    location: Location,
    length: u64,
    payload: BytesMut,
}

/// Subscribes to one track and checks what arrives.
#[derive(Debug)]
pub struct Subscriber {
    track: FullTrackName,
    parameters: Parameters,
    paused: bool,
    connection: Option<ConnectionId>,
    request: Option<RequestId>,
    granted: Option<SubscribeOk>,
    refusal: Option<Refusal>,
    groups: BTreeMap<StreamId, GroupId>,
    arriving: BTreeMap<StreamId, Arriving>,
    received: BTreeSet<Location>,
    ends: Vec<StreamEnd>,
    done: Option<PublishDone>,
    closed: bool,
}

impl Subscriber {
    /// One that wants all of a track.
    pub fn new(track: FullTrackName) -> Self {
        Self::with_parameters(track, Parameters::default())
    }

    /// One that asks with these parameters.
    pub const fn with_parameters(track: FullTrackName, parameters: Parameters) -> Self {
        Self {
            track,
            parameters,
            paused: false,
            connection: None,
            request: None,
            granted: None,
            refusal: None,
            groups: BTreeMap::new(),
            arriving: BTreeMap::new(),
            received: BTreeSet::new(),
            ends: Vec::new(),
            done: None,
            closed: false,
        }
    }

    /// One that reads no more of any stream than its beginning.
    #[must_use]
    pub const fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Its subscription.
    pub const fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// Its connection, once set up.
    pub const fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// How the subscription was granted.
    pub const fn granted(&self) -> Option<&SubscribeOk> {
        self.granted.as_ref()
    }

    /// How the subscription was refused.
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Every object that arrived as a whole.
    pub const fn received(&self) -> &BTreeSet<Location> {
        &self.received
    }

    /// How streams ended, in that order.
    pub fn ends(&self) -> &[StreamEnd] {
        &self.ends
    }

    /// How the track ended.
    pub const fn done(&self) -> Option<&PublishDone> {
        self.done.as_ref()
    }

    /// Whether its session is over.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn object(&mut self, location: Location, payload: &[u8]) -> Result<(), Failure> {
        if *payload != *self::payload(&self.track, location, payload.len()) {
            return Err(format!("object {location:?} is not what was published"));
        }
        if !self.received.insert(location) {
            return Err(format!("object {location:?} came twice"));
        }
        Ok(())
    }

    /// Checks whether the object that arrives on a stream is whole.
    fn complete(&mut self, stream: StreamId) -> Result<(), Failure> {
        let whole =
            |arriving: &Arriving| u64::try_from(arriving.payload.len()) == Ok(arriving.length);
        if self.arriving.get(&stream).is_some_and(whole)
            && let Some(arriving) = self.arriving.remove(&stream)
        {
            self.object(arriving.location, &arriving.payload)?;
        }
        Ok(())
    }
}

impl Part for Subscriber {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                self.connection = Some(connection);
                let request = Request::Subscribe(Subscribe {
                    request_id: RequestId(0),
                    track: self.track.clone(),
                    parameters: self.parameters.clone(),
                });
                let asked = stage.session(connection)?.request(now, request);
                self.request = Some(asked.map_err(|misuse| misuse.to_string())?);
            }
            Event::Response { response, .. } => match response {
                Response::SubscribeOk(ok) => self.granted = Some(ok),
                Response::Error(refusal) => self.refusal = Some(refusal),
                Response::FetchOk(_) | Response::Ok(_) => {}
            },
            Event::Request { id, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "a mere subscriber");
                let session = stage.session(connection)?;
                let answered = session.respond(now, id, Response::Error(refusal));
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::SubgroupOpened { stream, header, .. } => {
                self.groups.insert(stream, header.group);
                if self.paused {
                    stage.session(connection)?.pause_stream(stream);
                }
            }
            Event::Object { stream, object } => {
                let group = self
                    .groups
                    .get(&stream)
                    .ok_or("an object before its stream")?;
                let location = Location {
                    group: *group,
                    object: object.id,
                };
                let arriving = Arriving {
                    location,
                    length: object.payload_length,
                    payload: BytesMut::new(),
                };
                if let Some(cut) = self.arriving.insert(stream, arriving) {
                    return Err(format!("object {:?} was never finished", cut.location));
                }
                self.complete(stream)?;
            }
            Event::Payload { stream, bytes } => {
                let arriving = self.arriving.get_mut(&stream).ok_or("a payload too much")?;
                arriving.payload.extend_from_slice(&bytes);
                self.complete(stream)?;
            }
            Event::SubgroupEnded { stream, end } => {
                self.arriving.remove(&stream);
                self.groups.remove(&stream);
                self.ends.push(end);
            }
            Event::Datagram { object, .. } => self.object(object.location, &object.payload)?,
            Event::Done { done, .. } => self.done = Some(done),
            Event::Closed(_) => self.closed = true,
            _ => {}
        }
        Ok(())
    }
}
