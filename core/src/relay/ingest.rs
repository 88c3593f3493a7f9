//! Objects on their way from publishers' streams and datagrams into the tracks in memory.

use bytes::Bytes;
use log::debug;

use super::Relay;
use super::epochs::Loss;
use super::routes::Origin;
use super::tracks::TrackEnd;
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::{Fault, IngestId};
use crate::session::{Refusal, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::Location;
use crate::wire::name::FullTrackName;
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};

/// A publisher's stream.
type From = (ConnectionId, StreamId);

/// A publisher's stream on its way into a track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inlet {
    pub(super) id: IngestId,
    origin: Origin,
    /// As if the stream began with the next object.
    header: SubgroupHeader,
}

impl Relay {
    pub(super) fn open_subgroup(
        &mut self,
        now: Time,
        origin: Origin,
        stream: StreamId,
        header: SubgroupHeader,
    ) {
        let from = (origin.connection, stream);
        if self.is_unjudged(origin) {
            self.parked.insert(from, (origin, header));
        } else {
            self.open_inlet(now, from, origin, header);
        }
    }

    fn open_inlet(&mut self, now: Time, from: From, origin: Origin, header: SubgroupHeader) {
        let Some(source) = self.sources.get(&origin) else {
            return self.stop(now, from, ResetCode::Cancelled);
        };
        let fanout = &mut self.publisher.fanout;
        match fanout.open_subgroup(now, source.live, source.id, header) {
            Ok(id) => {
                let inlet = Inlet { id, origin, header };
                self.ingest.insert(from, inlet);
                self.feeds.insert(id, from);
            }
            Err(fault) if self.is_of_the_past(fault) => {
                self.parked.insert(from, (origin, header));
                self.start_anew(now, origin);
            }
            Err(fault) => {
                self.stop(now, from, ResetCode::Cancelled);
                self.handle_fault(now, origin, fault);
            }
        }
    }

    /// Takes a stream back that goes into a track: its next object opens it again.
    fn park(&mut self, from: From) {
        if let Some(inlet) = self.ingest.remove(&from) {
            self.feeds.remove(&inlet.id);
            self.parked.insert(from, (inlet.origin, inlet.header));
            self.forget_held(from);
            if let Some(session) = self.publisher.peers.session(from.0) {
                session.resume_stream(from.1);
            }
        }
    }

    /// As [`Relay::park`], for every stream of a source.
    pub(super) fn park_all(&mut self, origin: Origin) {
        let first = (origin.connection, StreamId::local(0));
        let streams: Vec<From> = self
            .ingest
            .range(first..)
            .take_while(|(from, _)| from.0 == origin.connection)
            .filter(|(_, inlet)| inlet.origin == origin)
            .map(|(from, _)| *from)
            .collect();
        for from in streams {
            self.park(from);
        }
    }

    fn unpark(&mut self, now: Time, from: From) {
        if let Some((origin, header)) = self.parked.remove(&from) {
            self.open_inlet(now, from, origin, header);
        }
    }

    pub(super) fn begin_object(&mut self, now: Time, from: From, object: ObjectHeader) {
        let inlet = self.ingest.get(&from);
        let known = inlet.map(|inlet| (inlet.origin, inlet.header));
        let Some((origin, header)) = known.or_else(|| self.parked.get(&from).copied()) else {
            return;
        };
        let at = Location {
            group: header.group,
            object: object.id,
        };
        self.try_source(now, origin, at);
        self.unpark(now, from);
        let begun = self.take_object(now, from, object.clone());
        let Err(fault) = begun else {
            return;
        };
        let again = if self.is_of_the_past(fault) {
            self.park(from);
            self.start_anew(now, origin);
            self.unpark(now, from);
            self.take_object(now, from, object)
        } else {
            begun
        };
        if let Err(fault) = again {
            self.end_feed(now, from, fault);
            self.handle_fault(now, origin, fault);
        }
    }

    fn take_object(&mut self, now: Time, from: From, object: ObjectHeader) -> Result<(), Fault> {
        let Some(inlet) = self.ingest.get(&from) else {
            return Ok(());
        };
        let at = Location {
            group: inlet.header.group,
            object: object.id,
        };
        let id = inlet.id;
        if self.is_left_out(inlet.origin, at) && self.publisher.fanout.pass_over(id, &object) {
            debug!("{}: {at} was said not to exist", from.0);
            return Ok(());
        }
        let fanout = &mut self.publisher.fanout;
        fanout.begin_object(now, id, object)?;
        let Some(inlet) = self.ingest.get_mut(&from) else {
            return Ok(());
        };
        inlet.header.first_object = false;
        Ok(())
    }

    pub(super) fn payload(&mut self, now: Time, from: From, bytes: &Bytes) {
        let Some(&Inlet { id, origin, .. }) = self.ingest.get(&from) else {
            return;
        };
        let is_charged = self.is_link(from.0);
        let fanout = &mut self.publisher.fanout;
        let taken = if is_charged {
            fanout.adopt(now, id, bytes)
        } else {
            fanout.payload(now, id, bytes)
        };
        match taken {
            Ok(()) => {
                if let Some(source) = self.sources.get(&origin) {
                    self.hold_back(now, source.live, id, from);
                }
            }
            Err(fault) if self.is_of_the_past(fault) => {
                self.park(from);
                self.start_anew(now, origin);
            }
            Err(fault) => {
                self.end_feed(now, from, fault);
                self.handle_fault(now, origin, fault);
            }
        }
    }

    pub(super) fn end_subgroup(&mut self, now: Time, from: From, end: StreamEnd) {
        self.forget_held(from);
        self.parked.remove(&from);
        if let Some(inlet) = self.ingest.remove(&from) {
            self.feeds.remove(&inlet.id);
            match self.publisher.fanout.end_subgroup(now, inlet.id, end) {
                Ok(()) => {}
                Err(fault) if self.is_of_the_past(fault) => self.start_anew(now, inlet.origin),
                Err(fault) => self.handle_fault(now, inlet.origin, fault),
            }
        }
    }

    pub(super) fn datagram(&mut self, now: Time, origin: Origin, object: DatagramObject) {
        self.try_source(now, origin, object.location);
        let taken = self.take_datagram(now, origin, object.clone());
        let Err(fault) = taken else {
            return;
        };
        let again = if self.is_of_the_past(fault) {
            self.start_anew(now, origin);
            self.take_datagram(now, origin, object)
        } else {
            taken
        };
        if let Err(fault) = again {
            self.handle_fault(now, origin, fault);
        }
    }

    fn take_datagram(
        &mut self,
        now: Time,
        origin: Origin,
        object: DatagramObject,
    ) -> Result<(), Fault> {
        let Some(source) = self.sources.get(&origin) else {
            return Ok(());
        };
        let (live, id, at) = (source.live, source.id, object.location);
        let is_normal = object.status == ObjectStatus::Normal;
        let fanout = &self.publisher.fanout;
        if is_normal && self.is_left_out(origin, at) && !fanout.has_received(live, at) {
            debug!("{}: {at} was said not to exist", origin.connection);
            return Ok(());
        }
        let is_charged = self.is_link(origin.connection);
        let fanout = &mut self.publisher.fanout;
        if is_charged {
            fanout.adopt_datagram(now, live, id, object)
        } else {
            fanout.datagram(now, live, id, object)
        }
    }

    /// Whether an object of a source's track is known not to exist because the answer to a FETCH left it out. That is final
    /// (§ Objects): it is neither cached nor passed on if it comes all the same, and no mistake either (§ Caching Relays).
    fn is_left_out(&self, origin: Origin, at: Location) -> bool {
        let name = self.upstreams.get(&origin);
        name.is_some_and(|name| self.fetching.is_left_out(name, at))
    }

    /// Whether a source contradicts one that is gone: it has started anew.
    fn is_of_the_past(&self, fault: Fault) -> bool {
        matches!(fault, Fault::Contradiction { older, .. } if !self.origins.contains_key(&older))
    }

    fn start_anew(&mut self, now: Time, origin: Origin) {
        if let Some(name) = self.upstreams.get(&origin).cloned() {
            self.begin_epoch(now, &name);
        }
    }

    /// The publisher's connection is gone: its streams end where they are.
    pub(super) fn end_ingest(&mut self, now: Time, connection: ConnectionId) {
        let first = (connection, StreamId::local(0));
        let flowing = self.ingest.range(first..).map(|(from, _)| *from);
        let flowing = flowing.take_while(|from| from.0 == connection);
        let parked = self.parked.range(first..).map(|(from, _)| *from);
        let parked = parked.take_while(|from| from.0 == connection);
        let streams: Vec<From> = flowing.chain(parked).collect();
        for from in streams {
            self.end_subgroup(now, from, StreamEnd::Reset(ResetCode::SessionClosed));
        }
    }

    /// The fan-out does not want a stream any more.
    pub(super) fn feed_unwanted(&mut self, now: Time, ingest: IngestId, code: ResetCode) {
        if let Some(from) = self.feeds.remove(&ingest) {
            self.forget_held(from);
            self.ingest.remove(&from);
            self.stop(now, from, code);
        }
    }

    /// A stream brought something that was not taken: no more of it.
    fn end_feed(&mut self, now: Time, from: From, fault: Fault) {
        self.forget_held(from);
        if let Some(inlet) = self.ingest.remove(&from) {
            self.feeds.remove(&inlet.id);
        }
        let code = match fault {
            Fault::Stop(code) => code,
            Fault::Malformed(_) => ResetCode::MalformedTrack,
            Fault::Gone | Fault::Contradiction { .. } | Fault::Misuse(_) => ResetCode::Cancelled,
        };
        self.stop(now, from, code);
    }

    /// What a fault means for the source as a whole.
    fn handle_fault(&mut self, now: Time, origin: Origin, fault: Fault) {
        match fault {
            Fault::Gone | Fault::Stop(_) => {}
            Fault::Malformed(rule) => self.drop_malformed(now, origin, rule),
            Fault::Contradiction { older, rule } => {
                if let Some(&older) = self.origins.get(&older) {
                    let who = self.describe(older.connection);
                    self.journal.info(
                        now,
                        Some(older.connection),
                        format_args!(
                            "{who} is contradicted by a newer publisher and dropped: {rule}"
                        ),
                    );
                    // What is cached is the older one's.
                    if let Some(name) = self.upstreams.get(&older).cloned() {
                        self.forget_past(now, &name);
                    }
                    self.drop_contradicted(now, older);
                }
            }
            Fault::Misuse(what) => {
                let who = self.describe(origin.connection);
                self.journal.warn(
                    now,
                    Some(origin.connection),
                    format_args!("{who}: an object could not be taken: {what}"),
                );
            }
        }
    }

    fn drop_contradicted(&mut self, now: Time, older: Origin) {
        if let Some(source) = self.sources.get(&older) {
            // Nobody else brings the rest of what it began.
            let fanout = &mut self.publisher.fanout;
            fanout.remove_source(now, source.live, source.id, ResetCode::Cancelled);
        }
        self.publisher_gone(now, older, &Loss::contradicted());
        self.cancel(now, older, ResetCode::Cancelled);
    }

    /// Ends a malformed track for everybody (§ Malformed Tracks).
    pub(super) fn drop_malformed(&mut self, now: Time, origin: Origin, rule: &str) {
        let name = self.upstreams.get(&origin).cloned();
        if let Some(name) = name.or_else(|| self.track_of_fill(origin)) {
            self.end_malformed(now, origin.connection, &name, rule);
        }
    }

    /// Ends a track that a peer showed to be malformed.
    pub(super) fn end_malformed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        name: &FullTrackName,
        rule: &str,
    ) {
        let who = self.describe(connection);
        self.journal.warn(
            now,
            Some(connection),
            format_args!("{who} sends a malformed track: {rule}"),
        );
        let end = TrackEnd {
            code: DoneCode::MalformedTrack,
            reason: rule,
            cancel: ResetCode::MalformedTrack,
            refusal: Refusal::new(RequestCode::MalformedTrack, "the track is malformed"),
        };
        self.end_track(now, name, &end);
        self.past_malformed(now, name);
    }

    fn stop(&mut self, now: Time, (connection, stream): From, code: ResetCode) {
        if let Some(session) = self.publisher.peers.session(connection) {
            session.stop_stream(now, stream, code);
        }
    }
}
