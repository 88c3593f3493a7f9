//! The publishing side of a program with many peers: their sessions, and the tracks in memory that they subscribe to.

use log::debug;

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::{self, Fanout, Notice, TrackId};
use crate::fetches::{self, Fed, Fetches, Over};
use crate::ledger::Pieces;
use crate::peers::Peers;
use crate::session::{Event, Misuse, Piece, Refusal, Request, Response, Source};
use crate::time::Time;
use crate::transport::{Answer, ConnectionId, Input, Output, StreamId};
use crate::wire::id::RequestId;
use crate::wire::message::{FetchOk, Publish, RequestOk};
use crate::wire::name::FullTrackName;
use crate::wire::object::FetchEntry;
use crate::wire::param::{GroupOrder, Parameters};

/// Peers, a fan-out and the FETCHes being served, joined: what an [`Application`](crate::transport::Application) that
/// serves subscriptions forwards its calls to.
///
/// The owner answers requests, with [`Publisher::serve`] for a SUBSCRIBE to one of its tracks and
/// [`Publisher::open_fetch`] for a FETCH; everything that happens to the subscription afterwards is dealt with here, but
/// for an update, which [`Publisher::update`] answers. The objects of a FETCH come from the owner: see
/// [`fetches`].
#[derive(Debug)]
pub struct Publisher {
    /// The peers.
    pub peers: Peers,
    /// The tracks.
    pub fanout: Fanout,
    /// The FETCHes being served, to look at: to change them there are the calls below.
    pub fetches: Fetches,
    /// When something was handled last; kept by the calls below.
    pub now: Time,
}

impl Publisher {
    /// Of these peers and tracks.
    pub fn new(peers: Peers, fanout: Fanout) -> Self {
        let fetches = Fetches::new(fetches::Limits::default(), fanout.ledger().clone());
        Self {
            peers,
            fanout,
            fetches,
            now: Time::ZERO,
        }
    }

    /// With other limits for FETCHes than the defaults.
    #[must_use]
    pub fn with_fetch_limits(mut self, limits: fetches::Limits) -> Self {
        self.fetches = Fetches::new(limits, self.fanout.ledger().clone());
        self
    }

    /// Answers a SUBSCRIBE to `track`. False if it was refused.
    pub fn serve(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        track: TrackId,
        parameters: &Parameters,
    ) -> bool {
        let profile = self
            .peers
            .session(connection)
            .and_then(|session| session.profile());
        let Some(profile) = profile else {
            return false;
        };
        let granted = self
            .fanout
            .subscribe(connection, profile, request, track, parameters);
        let is_granted = granted.is_ok();
        let response = granted.map_or_else(Response::Error, Response::SubscribeOk);
        self.respond(now, connection, request, response) && is_granted
    }

    /// Offers a track to a peer with PUBLISH, and lets it have objects at once if `forward` is set. What the peer answers
    /// is dealt with here.
    ///
    /// # Errors
    /// Those of [`Session::request`](crate::session::Session::request); [`Misuse::UnknownRequest`] if the peer or the
    /// track is gone.
    pub fn offer(
        &mut self,
        now: Time,
        connection: ConnectionId,
        track: TrackId,
        name: &FullTrackName,
        forward: bool,
    ) -> Result<RequestId, Misuse> {
        let (Some(session), Some(alias), Some(properties)) = (
            self.peers.session(connection),
            self.fanout.alias(track),
            self.fanout.properties(track),
        ) else {
            return Err(Misuse::UnknownRequest);
        };
        let profile = session.profile().ok_or(Misuse::NotEstablished)?;
        let parameters = Parameters {
            forward: Some(forward),
            ..Parameters::default()
        };
        let publish = Publish {
            request_id: RequestId(0),
            track: name.clone(),
            track_alias: alias,
            parameters: Parameters {
                largest_object: self.fanout.largest(track),
                ..parameters.clone()
            },
            properties: properties.reencode(profile.integers)?,
        };
        let request = session.request(now, Request::Publish(publish))?;
        let granted = self
            .fanout
            .subscribe(connection, profile, request, track, &parameters);
        if granted.is_err()
            && let Err(misuse) = session.done(
                now,
                request,
                DoneCode::ExcessiveLoad,
                "too many subscriptions",
            )
        {
            debug!("{connection}: an offer could not be ended: {misuse}");
        }
        Ok(request)
    }

    /// The answer to an offer: what it says of delivery holds from now on.
    fn offer_answered(&mut self, connection: ConnectionId, request: RequestId, answer: &Response) {
        match answer {
            Response::Ok(ok) => {
                // The fan-out ends the subscription by itself if that cannot be.
                let _changed = self
                    .fanout
                    .update(self.now, connection, request, &ok.parameters);
            }
            Response::Error(refusal) => {
                debug!("{connection} does not want an offer: {}", refusal.code);
                self.fanout.unsubscribe(connection, request);
            }
            Response::SubscribeOk(_) | Response::FetchOk(_) => {}
        }
    }

    /// Accepts a FETCH whose groups will come in this order and opens its stream, as soon as the session has room for one;
    /// or refuses it, for lack of room or because the draft cannot say `ok`. False if it was refused or is over.
    ///
    /// Then [`Publisher::poll_hungry`] asks for its entries. A FETCH of nothing is ended at once: its stream has a header
    /// and an end.
    pub fn open_fetch(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        ok: FetchOk,
        order: GroupOrder,
    ) -> bool {
        let Some(session) = self.peers.session(connection) else {
            return false;
        };
        self.fetches
            .open(now, connection, session, request, ok, order)
    }

    /// A connection is another shard of the same relay, which asks for many peers.
    pub(crate) fn add_link(&mut self, connection: ConnectionId) {
        self.fetches.add_link(connection);
        self.fanout.allow_source();
    }

    /// The next FETCH with room for more, told once: it is told again when there is room after [`Publisher::feed_fetch`]
    /// said that there was none. Until then the owner feeds it as it can.
    pub fn poll_hungry(&mut self) -> Option<(ConnectionId, RequestId)> {
        self.fetches.poll_hungry()
    }

    /// Gives a FETCH its next entry, which is after the one before in the order of the FETCH, and the payload if it is an
    /// object (the entry's own payload length is not looked at).
    ///
    /// What the peer's draft cannot write ends the FETCH: see [`Publisher::poll_fetch_over`].
    pub fn feed_fetch(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        entry: FetchEntry,
        payload: &Pieces,
    ) -> Fed {
        let Some(session) = self.peers.session(connection) else {
            return Fed::Gone;
        };
        self.fetches
            .feed(now, connection, session, request, entry, payload)
    }

    /// Ends a FETCH: nothing follows what it was fed. Its owner hears no more of it. Harmless if it is over.
    pub fn end_fetch(&mut self, _now: Time, connection: ConnectionId, request: RequestId) {
        if let Some(session) = self.peers.session(connection) {
            self.fetches.end(connection, session, request);
        }
    }

    /// Breaks a FETCH off with this code: what it was fed may not arrive. Its owner hears no more of it. Harmless if it is
    /// over.
    pub fn fail_fetch(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        code: ResetCode,
    ) {
        if let Some(session) = self.peers.session(connection) {
            self.fetches.fail(now, connection, session, request, code);
        }
    }

    /// The next FETCH that is over although its owner did not end it, for whatever reason: the events about that
    /// ([`Event::Cancelled`], [`Event::Closed`]) need not be looked at for its sake.
    pub fn poll_fetch_over(&mut self) -> Option<Over> {
        self.fetches.poll_over()
    }

    /// Answers an update of a subscription or FETCH that is served, or refuses it if that is none.
    pub fn update(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        update: RequestId,
        parameters: &Parameters,
    ) {
        let result = if self.fetches.is_served(connection, request) {
            // Its priority is the session's business.
            Ok(RequestOk::default())
        } else {
            self.fanout.update(now, connection, request, parameters)
        };
        self.respond_to_update(now, connection, request, update, result);
    }

    /// Answers a request. A peer that withdrew it, or left, needs no answer. What the peer's draft cannot say, such as a
    /// location beyond its integers, becomes a refusal with INTERNAL_ERROR. False if `response` was not said.
    pub fn respond(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        response: Response,
    ) -> bool {
        let Some(session) = self.peers.session(connection) else {
            return false;
        };
        let Err(misuse) = session.respond(now, request, response) else {
            return true;
        };
        let number = request.0;
        if let Misuse::NotExpressible(what) = misuse {
            // Peers cause it, as often as they like: no line for the operator.
            debug!("{connection}: request {number} is refused, since the draft lacks {what}");
            let refusal = Refusal::new(RequestCode::InternalError, what.0);
            let refused = session.respond(now, request, Response::Error(refusal));
            debug_assert!(refused.is_ok(), "{refused:?}");
            self.fanout.unsubscribe(connection, request);
        } else {
            debug!("{connection}: request {number} needs no answer any more: {misuse}");
        }
        false
    }

    /// Answers an update. A peer that withdrew the request, or left, needs no answer; one whose draft cannot say the
    /// answer is refused with INTERNAL_ERROR.
    pub fn respond_to_update(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        update: RequestId,
        response: Result<RequestOk, Refusal>,
    ) {
        let Some(session) = self.peers.session(connection) else {
            return;
        };
        let mut answered = session.respond_to_update(now, request, update, response);
        if let Err(Misuse::NotExpressible(what)) = answered {
            debug!("{connection}: an update is refused, since the draft lacks {what}");
            let refusal = Refusal::new(RequestCode::InternalError, what.0);
            answered = session.respond_to_update(now, request, update, Err(refusal));
        }
        if let Err(misuse) = answered {
            debug!("{connection}: an update needs no answer any more: {misuse}");
        }
    }

    /// See [`Application::handle_input`](crate::transport::Application::handle_input).
    pub fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.now = now;
        self.peers.handle_input(now, connection, input);
    }

    /// See [`Application::handle_answer`](crate::transport::Application::handle_answer).
    pub fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        let mut source = Sources {
            fanout: self.fanout.source(connection),
            fetches: self.fetches.source(connection),
        };
        self.peers
            .handle_answer(now, connection, answer, &mut source);
        while let Some(connection) = self.fetches.next_turn() {
            let session = self.peers.session_quietly(connection);
            self.fetches.take_turn(now, session);
        }
    }

    /// See [`Application::handle_timeout`](crate::transport::Application::handle_timeout).
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.peers.handle_timeout(now);
        self.fanout.handle_timeout(now);
    }

    /// The next thing that a peer has to tell and that is not dealt with here.
    pub fn poll_event(&mut self) -> Option<(ConnectionId, Event)> {
        while let Some((connection, event)) = self.peers.poll_event() {
            if let Event::StreamStopped { stream, .. } = event {
                if !self.fetches.stream_stopped(connection, stream) {
                    self.fanout.stream_stopped(connection, stream);
                }
            } else if let Event::StreamExpired { stream } = event {
                self.fanout.stream_expired(connection, stream);
            } else if let Event::CanOpenStream = event {
                if let Some(session) = self.peers.session(connection) {
                    self.fetches.can_open_stream(self.now, connection, session);
                }
                self.fanout.can_open_stream(connection);
            } else {
                if let Event::Cancelled { id, .. } = event {
                    self.fetches.cancelled(connection, id);
                    self.fanout.unsubscribe(connection, id);
                } else if let Event::Response { id, response } = &event
                    && self.fanout.track_of(connection, *id).is_some()
                {
                    self.offer_answered(connection, *id, response);
                } else if let Event::Closed(_) = event {
                    self.fetches.remove_connection(connection);
                    self.fanout.remove_connection(connection);
                }
                return Some((connection, event));
            }
        }
        None
    }

    /// Something that the fan-out has to tell.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.fanout.poll_notice()
    }

    /// Whether there are events, notices, or FETCHes that are over or want more.
    pub(crate) fn has_news(&self) -> bool {
        self.peers.has_events() || self.fanout.has_news() || self.fetches.has_news()
    }

    /// See [`Application::poll_dirty`](crate::transport::Application::poll_dirty).
    pub fn poll_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(connection) = self.fanout.poll_dirty() {
            match self.peers.session(connection) {
                Some(session) => self.fanout.pump(self.now, connection, session),
                None => self.fanout.remove_connection(connection),
            }
        }
        self.peers.poll_dirty()
    }

    /// See [`Application::poll_output`](crate::transport::Application::poll_output).
    pub fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.now = now;
        let mut source = Sources {
            fanout: self.fanout.source(connection),
            fetches: self.fetches.source(connection),
        };
        self.peers.poll_output(now, connection, &mut source)
    }

    /// See [`Application::poll_timeout`](crate::transport::Application::poll_timeout).
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let fanout = self.fanout.poll_timeout();
        self.peers.poll_timeout().into_iter().chain(fanout).min()
    }
}

/// Has the bytes of all streams of one connection.
struct Sources<'a> {
    fanout: fanout::ConnectionSource<'a>,
    fetches: fetches::ConnectionSource<'a>,
}

impl Source for Sources<'_> {
    fn peek(&mut self, now: Time, stream: StreamId) -> Option<Piece> {
        if self.fetches.has_stream(stream) {
            self.fetches.peek(now, stream)
        } else {
            self.fanout.peek(now, stream)
        }
    }

    fn taken(&mut self, now: Time, stream: StreamId, bytes: usize, fin: bool) {
        if self.fetches.has_stream(stream) {
            self.fetches.taken(now, stream, bytes, fin);
        } else {
            self.fanout.taken(now, stream, bytes, fin);
        }
    }

    fn object_began(&mut self, stream: StreamId) -> Option<Time> {
        self.fanout.object_began(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::RequestCode;
    use crate::draft::Draft;
    use crate::fanout::Limits;
    use crate::ledger::Ledger;
    use crate::wire::property::Properties;

    #[test]
    fn a_peer_that_is_gone_is_neither_served_nor_answered() {
        let fanout = Fanout::new(Limits::default(), Ledger::new(1000));
        let mut publisher = Publisher::new(Peers::default(), fanout);
        let track = publisher
            .fanout
            .open_track(Draft::D18, Properties::default(), None)
            .unwrap();
        let (connection, request) = (ConnectionId(7), RequestId(0));
        let parameters = Parameters::default();
        assert!(!publisher.serve(Time::ZERO, connection, request, track, &parameters));
        assert!(publisher.fanout.is_idle(track));
        let refusal = Response::Error(Refusal::new(RequestCode::InternalError, "late"));
        publisher.respond(Time::ZERO, connection, request, refusal);
        publisher.update(Time::ZERO, connection, request, RequestId(2), &parameters);
        assert_eq!(publisher.poll_dirty(), None);
        assert_eq!(publisher.poll_notice(), None);
    }
}
