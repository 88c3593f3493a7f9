//! The publishing side: tracks, and the objects that leave on schedule whatever becomes of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::RequestCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{Fault, IngestId, SourceId, TrackId};
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{Refusal, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::{Location, RequestId, SubgroupId};
use oxymoq_core::wire::message::{PublishNamespace, RequestOk, Subscribe};
use oxymoq_core::wire::name::{FullTrackName, TrackNamespace};
use oxymoq_core::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

use crate::clock::{self, Moment};
use crate::latency::Latencies;
use crate::number;
use crate::plan::Plan;
use crate::profile::{Carriage, Shape};
use crate::schedule::{self, Timetable, Window};
use crate::stamp::{STAMP_BYTES, Stamp};

use super::troubles::Troubles;

/// The only producer of each track.
const SOURCE: SourceId = SourceId(0);
/// Flat out: bytes that the relay still has to take; below it there is room for another object.
const FLAT_OUT_BACKLOG: u64 = 4 << 20;
/// Flat out: objects made in one go, so that the socket is looked at in between.
const FLAT_OUT_BURST: usize = 64;

/// A publisher's session.
#[derive(Debug)]
struct Host {
    connection: ConnectionId,
    namespace: TrackNamespace,
    /// Requests that the relay has not answered; `None`: it was not asked yet.
    unanswered: Option<usize>,
    announcement: Option<RequestId>,
}

#[derive(Debug)]
struct Track {
    id: TrackId,
    name: FullTrackName,
    host: usize,
    /// Set when the relay knows of it.
    timetable: Option<Timetable>,
    /// The next object.
    next: u64,
    /// The group that is under way.
    stream: Option<IngestId>,
    /// The relay's subscription.
    serving: Option<RequestId>,
    /// Objects of the window.
    in_window: u64,
}

/// The publishing side.
#[derive(Debug, Default)]
pub(super) struct Stage {
    hosts: Vec<Host>,
    tracks: Vec<Track>,
    names: BTreeMap<FullTrackName, usize>,
    /// What leaves next.
    agenda: BinaryHeap<Reverse<(Moment, usize)>>,
    /// Where objects are made: the stamp, then whatever.
    buffer: Vec<u8>,
    /// How much later than scheduled objects of the window left.
    pub(super) lateness: Latencies,
    window: Option<Window>,
}

impl Stage {
    /// The tracks of all publishers, of which nothing leaves yet.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn new(plan: &Plan, publisher: &mut Publisher) -> Result<Self, String> {
        let mut stage = Self {
            buffer: vec![0; plan.shape.size.max(plan.shape.key_size)],
            ..Self::default()
        };
        for index in 0..plan.all_tracks() {
            let id = publisher
                .fanout
                .open_track(Draft::D18, Properties::default(), None)
                .ok_or("no further track can be opened; --tracks fewer")?;
            let name = plan.track(index)?;
            stage.names.insert(name.clone(), index);
            stage.tracks.push(Track {
                id,
                name,
                host: index / plan.tracks.max(1),
                timetable: None,
                next: 0,
                stream: None,
                serving: None,
                in_window: 0,
            });
        }
        Ok(stage)
    }

    /// Adds the session of the next publisher.
    pub(super) fn add_host(&mut self, connection: ConnectionId, namespace: TrackNamespace) {
        self.hosts.push(Host {
            connection,
            namespace,
            unanswered: None,
            announcement: None,
        });
    }

    /// Tells the relay what there is.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn introduce(
        &mut self,
        now: Time,
        host: usize,
        plan: &Plan,
        publisher: &mut Publisher,
    ) -> Result<(), String> {
        let Some(state) = self.hosts.get_mut(host) else {
            return Ok(());
        };
        let connection = state.connection;
        if plan.offer {
            let mut offers = 0;
            for track in self.tracks.iter_mut().filter(|track| track.host == host) {
                let request = publisher
                    .offer(now, connection, track.id, &track.name, true)
                    .map_err(|misuse| format!("cannot PUBLISH {}: {misuse}", track.name))?;
                track.serving = Some(request);
                offers += 1;
            }
            state.unanswered = Some(offers);
            return Ok(());
        }
        let announce = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: state.namespace.clone(),
            parameters: Parameters::default(),
        });
        if let Some(session) = publisher.peers.session(connection) {
            let id = session
                .request(now, announce)
                .map_err(|misuse| format!("cannot announce {}: {misuse}", state.namespace))?;
            state.announcement = Some(id);
            state.unanswered = Some(1);
        }
        Ok(())
    }

    /// The relay answered an announcement or an offer. When it has answered all of a publisher, its tracks begin.
    ///
    /// # Errors
    /// A sentence for the user: it refused.
    pub(super) fn answered(
        &mut self,
        host: usize,
        response: &Response,
        plan: &Plan,
    ) -> Result<(), String> {
        let Some(state) = self.hosts.get_mut(host) else {
            return Ok(());
        };
        if let Response::Error(refusal) = response {
            let what = if plan.offer {
                "a track"
            } else {
                "the namespace"
            };
            let reason = refusal.reason.escape_ascii();
            let namespace = &state.namespace;
            return Err(format!(
                "the relay refused {what} of {namespace}: {} ({reason})",
                refusal.code
            ));
        }
        let left = state.unanswered.unwrap_or(0).saturating_sub(1);
        state.unanswered = Some(left);
        if left == 0 {
            self.begin(host, plan);
        }
        Ok(())
    }

    /// From now on the tracks of a publisher have a timetable. They take turns, so that their objects are spread evenly.
    fn begin(&mut self, host: usize, plan: &Plan) {
        let interval_nanos = schedule::interval_nanos(plan.shape.rate);
        let start = clock::now();
        let all = number::length(plan.all_tracks().max(1));
        for (index, track) in self.tracks.iter_mut().enumerate() {
            if track.host != host || track.timetable.is_some() {
                continue;
            }
            let phase = interval_nanos / all * number::length(index);
            let timetable = Timetable {
                epoch: start + Duration::from_nanos(phase),
                interval_nanos,
            };
            track.timetable = Some(timetable);
            if timetable.is_paced() {
                self.agenda.push(Reverse((timetable.due(0), index)));
            }
        }
    }

    /// Whether the relay knows of everything.
    pub(super) fn is_ready(&self) -> bool {
        self.hosts.iter().all(|host| host.unanswered == Some(0))
    }

    /// Another window begins.
    pub(super) fn restart(&mut self, window: Window) {
        self.window = Some(window);
        self.lateness.clear();
        for track in &mut self.tracks {
            track.in_window = 0;
        }
    }

    /// The window ends earlier than it should have.
    pub(super) const fn cut(&mut self, window: Window) {
        self.window = Some(window);
    }

    /// Objects of the window that left.
    pub(super) fn published(&self) -> u64 {
        self.tracks.iter().map(|track| track.in_window).sum()
    }

    /// Objects of the window that left, of one track.
    pub(super) fn published_of(&self, track: usize) -> u64 {
        self.tracks.get(track).map_or(0, |track| track.in_window)
    }

    /// Objects of the window of one track that should have left by its timetable.
    pub(super) fn scheduled_of(&self, track: usize, window: Window) -> Option<u64> {
        let timetable = self.tracks.get(track)?.timetable?;
        timetable.is_paced().then(|| timetable.count(window))
    }

    /// When the next object leaves.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.agenda.peek().map(|Reverse((due, _))| *due)
    }

    /// The relay asks for something on a publisher's session.
    pub(super) fn handle_request(
        &mut self,
        now: Time,
        host: usize,
        id: RequestId,
        request: Request,
        publisher: &mut Publisher,
    ) {
        let Some(state) = self.hosts.get(host) else {
            return;
        };
        let connection = state.connection;
        match request {
            Request::Subscribe(subscribe) => {
                self.serve(now, host, id, &subscribe, publisher);
            }
            Request::SubscribeNamespace(request) => {
                let ok = Response::Ok(RequestOk::default());
                publisher.respond(now, connection, id, ok);
                if let Some(suffix) = state.namespace.strip_prefix(&request.prefix)
                    && let Some(session) = publisher.peers.session(connection)
                    && let Err(misuse) = session.namespace(now, id, &suffix)
                {
                    log::debug!("{connection}: not told of the namespace: {misuse}");
                }
            }
            Request::Publish(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeTracks(_) => {
                let refusal = Refusal::new(
                    RequestCode::NotSupported,
                    "a load generator only serves SUBSCRIBE",
                );
                publisher.respond(now, connection, id, Response::Error(refusal));
            }
        }
    }

    fn serve(
        &mut self,
        now: Time,
        host: usize,
        id: RequestId,
        subscribe: &Subscribe,
        publisher: &mut Publisher,
    ) {
        let Some(connection) = self.hosts.get(host).map(|host| host.connection) else {
            return;
        };
        let index = self.names.get(&subscribe.track);
        let track = index.and_then(|index| self.tracks.get_mut(*index));
        let Some(track) = track.filter(|track| track.host == host) else {
            let refusal = Refusal::new(RequestCode::DoesNotExist, "no such track");
            publisher.respond(now, connection, id, Response::Error(refusal));
            return;
        };
        if publisher.serve(now, connection, id, track.id, &subscribe.parameters) {
            track.serving = Some(id);
        }
    }

    /// Publishes everything whose time has come.
    pub(super) fn publish_due(
        &mut self,
        now: Time,
        shape: &Shape,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) {
        let moment = clock::now();
        while let Some(Reverse((due, index))) = self.agenda.peek().copied()
            && due <= moment
        {
            self.agenda.pop();
            self.publish(now, index, due, shape, publisher, troubles);
            let track = self.tracks.get(index);
            if let Some((track, timetable)) =
                track.and_then(|track| Some((track, track.timetable?)))
            {
                self.agenda
                    .push(Reverse((timetable.due(track.next), index)));
            }
        }
    }

    /// Flat out: publishes as much as there is room for. True if there was any.
    pub(super) fn top_up(
        &mut self,
        now: Time,
        shape: &Shape,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) -> bool {
        if shape.rate > 0.0 {
            return false;
        }
        let mut published = false;
        for index in 0..self.tracks.len() {
            for _ in 0..FLAT_OUT_BURST {
                let Some(track) = self.tracks.get(index).filter(|it| it.timetable.is_some()) else {
                    break;
                };
                let lag = self
                    .hosts
                    .get(track.host)
                    .zip(track.serving)
                    .and_then(|(host, request)| publisher.fanout.lag(host.connection, request));
                if lag.is_none_or(|lag| lag >= FLAT_OUT_BACKLOG)
                    || !publisher.fanout.has_forwarding_subscribers(track.id)
                {
                    break;
                }
                self.publish(now, index, clock::now(), shape, publisher, troubles);
                published = true;
            }
        }
        published
    }

    fn publish(
        &mut self,
        now: Time,
        index: usize,
        scheduled: Moment,
        shape: &Shape,
        publisher: &mut Publisher,
        troubles: &mut Troubles,
    ) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let Some(timetable) = track.timetable else {
            return;
        };
        let stamp = Stamp {
            sequence: track.next,
            scheduled,
            timetable,
        };
        let location = schedule::location(track.next, shape.per_group);
        let size = shape.size_of(location.object.0);
        if let Some((head, _)) = self.buffer.split_first_chunk_mut::<STAMP_BYTES>() {
            *head = stamp.encode();
        }
        let payload = self.buffer.get(..size).unwrap_or_default();
        track.next += 1;
        if let Err(fault) = track.write(now, location, payload, shape, publisher) {
            // What remains of the group goes on a stream of its own; this object is lost to everybody.
            track.stream = None;
            troubles.add(format!("an object could not be published: {fault}"));
        }
        if self.window.is_some_and(|window| window.contains(scheduled)) {
            track.in_window += 1;
            self.lateness.record(clock::now().micros_since(scheduled));
        }
    }
}

impl Track {
    fn write(
        &mut self,
        now: Time,
        location: Location,
        payload: &[u8],
        shape: &Shape,
        publisher: &mut Publisher,
    ) -> Result<(), Fault> {
        let fanout = &mut publisher.fanout;
        if shape.carriage == Carriage::Datagrams {
            let object = DatagramObject {
                location,
                priority: None,
                properties: Properties::default(),
                status: ObjectStatus::Normal,
                end_of_group: location.object.0 + 1 == shape.per_group,
                payload: Bytes::copy_from_slice(payload),
            };
            return fanout.datagram(now, self.id, SOURCE, object);
        }
        let stream = match self.stream {
            Some(stream) => stream,
            None => {
                let header = SubgroupHeader {
                    group: location.group,
                    subgroup: SubgroupId(0),
                    priority: Some(128),
                    end_of_group: true,
                    first_object: location.object.0 == 0,
                };
                let stream = fanout.open_subgroup(now, self.id, SOURCE, header)?;
                *self.stream.insert(stream)
            }
        };
        let header = ObjectHeader {
            id: location.object,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: number::length(payload.len()),
        };
        fanout.begin_object(now, stream, header)?;
        fanout.payload(now, stream, payload)?;
        if location.object.0 + 1 == shape.per_group {
            self.stream = None;
            fanout.end_subgroup(now, stream, StreamEnd::Fin)?;
        }
        Ok(())
    }
}
