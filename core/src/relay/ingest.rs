//! Objects on their way from publishers' streams and datagrams into the tracks in memory.

use bytes::Bytes;
use log::{info, warn};

use super::Relay;
use super::routes::Origin;
use super::tracks::TrackEnd;
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::{Fault, IngestId};
use crate::session::{Refusal, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::name::FullTrackName;
use crate::wire::object::{DatagramObject, ObjectHeader, SubgroupHeader};

/// A publisher's stream.
type From = (ConnectionId, StreamId);

impl Relay {
    pub(super) fn open_subgroup(
        &mut self,
        now: Time,
        origin: Origin,
        stream: StreamId,
        header: SubgroupHeader,
    ) {
        let from = (origin.connection, stream);
        let Some(&(live, source)) = self.sources.get(&origin) else {
            return self.stop(now, from, ResetCode::Cancelled);
        };
        match self
            .publisher
            .fanout
            .open_subgroup(now, live, source, header)
        {
            Ok(ingest) => {
                self.ingest.insert(from, (ingest, origin));
                self.feeds.insert(ingest, from);
            }
            Err(fault) => {
                self.stop(now, from, ResetCode::Cancelled);
                self.handle_fault(now, origin, fault);
            }
        }
    }

    pub(super) fn begin_object(&mut self, now: Time, from: From, object: ObjectHeader) {
        if let Some(&(ingest, origin)) = self.ingest.get(&from)
            && let Err(fault) = self.publisher.fanout.begin_object(now, ingest, object)
        {
            self.end_feed(now, from, fault);
            self.handle_fault(now, origin, fault);
        }
    }

    pub(super) fn payload(&mut self, now: Time, from: From, bytes: &Bytes) {
        let Some(&(ingest, origin)) = self.ingest.get(&from) else {
            return;
        };
        if let Err(fault) = self.publisher.fanout.payload(now, ingest, bytes) {
            self.end_feed(now, from, fault);
            self.handle_fault(now, origin, fault);
        } else if let Some(&(track, _)) = self.sources.get(&origin) {
            self.hold_back(now, track, ingest, from);
        }
    }

    pub(super) fn end_subgroup(&mut self, now: Time, from: From, end: StreamEnd) {
        self.forget_held(from);
        if let Some((ingest, origin)) = self.ingest.remove(&from) {
            self.feeds.remove(&ingest);
            if let Err(fault) = self.publisher.fanout.end_subgroup(now, ingest, end) {
                self.handle_fault(now, origin, fault);
            }
        }
    }

    pub(super) fn datagram(&mut self, now: Time, origin: Origin, object: DatagramObject) {
        if let Some(&(live, source)) = self.sources.get(&origin)
            && let Err(fault) = self.publisher.fanout.datagram(now, live, source, object)
        {
            self.handle_fault(now, origin, fault);
        }
    }

    /// The publisher's connection is gone: its streams end where they are.
    pub(super) fn end_ingest(&mut self, now: Time, connection: ConnectionId) {
        let first = (connection, StreamId::local(0));
        let streams: Vec<From> = self
            .ingest
            .range(first..)
            .map(|(from, _)| *from)
            .take_while(|from| from.0 == connection)
            .collect();
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
        if let Some((ingest, _)) = self.ingest.remove(&from) {
            self.feeds.remove(&ingest);
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
                    info!("{who} is contradicted by a newer publisher and dropped: {rule}");
                    // What is cached is the older one's.
                    if let Some(name) = self.upstreams.get(&older).cloned() {
                        self.forget_past(now, &name);
                    }
                    self.publisher_lost(now, older);
                    self.cancel(now, older, ResetCode::Cancelled);
                }
            }
            Fault::Misuse(what) => {
                let who = self.describe(origin.connection);
                warn!("{who}: an object could not be taken: {what}");
            }
        }
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
        warn!("{who} sends a malformed track: {rule}");
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
