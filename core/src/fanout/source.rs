//! The bytes of a connection's outgoing streams: a step of a cursor and a few reference counts each.

use super::lane::{Closed, Standing, State};
use super::subgroup::End;
use super::track::Key;
use super::{Fanout, TrackId};
use crate::session::{Piece, Source};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::RequestId;

/// Has the bytes of the streams that were opened for one connection's subscriptions.
#[derive(Debug)]
pub struct ConnectionSource<'a> {
    fanout: &'a mut Fanout,
    connection: ConnectionId,
}

impl Fanout {
    /// Where a connection's session finds the bytes of the streams that [`Fanout::pump`] opened.
    pub fn source(&mut self, connection: ConnectionId) -> ConnectionSource<'_> {
        ConnectionSource {
            fanout: self,
            connection,
        }
    }

    /// Whether a stream of a connection was opened by [`Fanout::pump`] and is not finished.
    pub fn has_stream(&self, connection: ConnectionId, stream: StreamId) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|peer| peer.outgoing.streams.contains_key(&stream))
    }

    /// The subscriber stopped a stream; the session has reset it. The subgroup is not sent on another one (B382).
    pub fn stream_stopped(&mut self, connection: ConnectionId, stream: StreamId) {
        self.end_stream(connection, stream, Closed::Stopped);
    }

    /// A delivery timeout passed for a stream; the session has reset it. The subgroup is not sent on another one (B348).
    pub fn stream_expired(&mut self, connection: ConnectionId, stream: StreamId) {
        self.end_stream(connection, stream, Closed::Late);
    }

    /// A stream of a connection ended; so does its lane.
    fn end_stream(&mut self, connection: ConnectionId, stream: StreamId, why: Closed) {
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some((request, key)) = peer.outgoing.streams.remove(&stream) else {
            return;
        };
        let Some(subscription) = peer.subscriptions.get_mut(&request) else {
            return;
        };
        let id = subscription.track;
        if let Some(track) = self.tracks.get_mut(&id) {
            let _same_stream = subscription.close_lane(track, key, why);
            self.touched.insert((id, key));
        }
        self.mark(connection, request);
    }

    /// Has a lane looked at when the connection is pumped next.
    fn attend_later(&mut self, connection: ConnectionId, request: RequestId, key: Key) {
        if let Some(subscription) = self
            .connections
            .get_mut(&connection)
            .and_then(|peer| peer.subscriptions.get_mut(&request))
        {
            subscription.attention.push(key);
        }
        self.mark(connection, request);
    }

    /// The next bytes of a stream, or the lane that must be looked at instead.
    fn peek(
        &mut self,
        now: Time,
        connection: ConnectionId,
        stream: StreamId,
    ) -> Result<Option<Piece>, Option<(RequestId, Key)>> {
        let peer = self.connections.get_mut(&connection).ok_or(None)?;
        let (request, key) = *peer.outgoing.streams.get(&stream).ok_or(None)?;
        let look = Err(Some((request, key)));
        let subscription = peer.subscriptions.get_mut(&request).ok_or(None)?;
        let track = self.tracks.get_mut(&subscription.track).ok_or(None)?;
        let late = subscription
            .lane_deadline(track, key)
            .is_some_and(|deadline| deadline <= now);
        let lane = subscription.lanes.get_mut(&key).ok_or(None)?;
        let alias = track.alias;
        let subgroup = track.subgroup_mut(key).ok_or(None)?;
        if late || lane.state != State::Open(stream) {
            return look;
        }
        match lane.standing(subgroup) {
            Standing::Idle => Ok(None),
            Standing::Finish if lane.begun => Ok(Some(Piece {
                bytes: bytes::Bytes::new(),
                fin: true,
            })),
            Standing::Ready => match lane.peek(peer.profile, alias, subgroup, &self.ledger) {
                Ok(Some((bytes, ends))) => {
                    let fin = ends
                        && subgroup.end == Some(End::Fin)
                        && subgroup.is_at_finale()
                        && lane.next + 1 == subgroup.end_index();
                    Ok(Some(Piece { bytes, fin }))
                }
                Ok(None) => Ok(None),
                Err(_) => look,
            },
            Standing::Finish | Standing::Break | Standing::Skip | Standing::CutOff(_) => look,
        }
    }

    /// Moves a cursor; returns the lane if it must be looked at.
    fn taken(
        &mut self,
        connection: ConnectionId,
        stream: StreamId,
        bytes: usize,
        fin: bool,
    ) -> Option<(RequestId, Key)> {
        let peer = self.connections.get_mut(&connection)?;
        let (request, key) = *peer.outgoing.streams.get(&stream)?;
        let subscription = peer.subscriptions.get_mut(&request)?;
        let id: TrackId = subscription.track;
        let track = self.tracks.get_mut(&id)?;
        let lane = subscription.lanes.get_mut(&key)?;
        let subgroup = track.subgroup_mut(key)?;
        let before = lane.lag;
        let mut freed = false;
        if lane.advance(subgroup, bytes) {
            freed = lane.step(subgroup);
        }
        subscription.lag = subscription.lag.saturating_sub(before) + lane.lag;
        if fin {
            let _same_stream = subscription.close_lane(track, key, Closed::Delivered);
            peer.outgoing.streams.remove(&stream);
            self.touched.insert((id, key));
            return Some((request, key));
        }
        let attend = matches!(
            lane.standing(subgroup),
            Standing::Break | Standing::Skip | Standing::CutOff(_)
        );
        if freed {
            self.touched.insert((id, key));
        }
        attend.then_some((request, key))
    }
}

impl Source for ConnectionSource<'_> {
    fn peek(&mut self, now: Time, stream: StreamId) -> Option<Piece> {
        match self.fanout.peek(now, self.connection, stream) {
            Ok(piece) => piece,
            Err(lane) => {
                if let Some((request, key)) = lane {
                    self.fanout.attend_later(self.connection, request, key);
                }
                None
            }
        }
    }

    fn taken(&mut self, _now: Time, stream: StreamId, bytes: usize, fin: bool) {
        if let Some((request, key)) = self.fanout.taken(self.connection, stream, bytes, fin) {
            self.fanout.attend_later(self.connection, request, key);
        }
    }

    fn object_began(&mut self, stream: StreamId) -> Option<Time> {
        let peer = self.fanout.connections.get(&self.connection)?;
        let (request, key) = *peer.outgoing.streams.get(&stream)?;
        let subscription = peer.subscriptions.get(&request)?;
        let subgroup = self.fanout.tracks.get(&subscription.track)?.subgroup(key)?;
        let lane = subscription.lanes.get(&key)?;
        Some(subgroup.object(lane.next)?.born(subscription.object_age))
    }
}
