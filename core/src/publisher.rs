//! The publishing side of a program with many peers: their sessions, and the tracks in memory that they subscribe to.

use log::debug;

use crate::fanout::{Fanout, Notice, TrackId};
use crate::peers::Peers;
use crate::session::{Event, Refusal, Response};
use crate::time::Time;
use crate::transport::{Answer, ConnectionId, Input, Output};
use crate::wire::id::RequestId;
use crate::wire::message::RequestOk;
use crate::wire::param::Parameters;

/// Peers and a fan-out, joined: what an [`Application`](crate::transport::Application) that serves subscriptions forwards
/// its calls to.
///
/// The owner answers requests, with [`Publisher::serve`] for a SUBSCRIBE to one of its tracks; everything that happens to
/// the subscription afterwards is dealt with here, but for an update, which [`Publisher::update`] answers.
#[derive(Debug)]
pub struct Publisher {
    /// The peers.
    pub peers: Peers,
    /// The tracks.
    pub fanout: Fanout,
    /// When something was handled last; kept by the calls below.
    pub now: Time,
}

impl Publisher {
    /// Of these peers and tracks.
    pub const fn new(peers: Peers, fanout: Fanout) -> Self {
        Self {
            peers,
            fanout,
            now: Time::ZERO,
        }
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
        self.respond(now, connection, request, response);
        is_granted
    }

    /// Answers an update of a subscription that is served, or refuses it if that is none.
    pub fn update(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        update: RequestId,
        parameters: &Parameters,
    ) {
        let result = self.fanout.update(now, connection, request, parameters);
        self.respond_to_update(now, connection, request, update, result);
    }

    /// Answers a request. A peer that withdrew it, or left, needs no answer.
    pub fn respond(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        response: Response,
    ) {
        if let Some(session) = self.peers.session(connection)
            && let Err(misuse) = session.respond(now, request, response)
        {
            debug!(
                "{connection}: request {} needs no answer any more: {misuse}",
                request.0
            );
        }
    }

    /// Answers an update. A peer that withdrew the request, or left, needs no answer.
    pub fn respond_to_update(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        update: RequestId,
        response: Result<RequestOk, Refusal>,
    ) {
        if let Some(session) = self.peers.session(connection)
            && let Err(misuse) = session.respond_to_update(now, request, update, response)
        {
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
        let mut source = self.fanout.source(connection);
        self.peers
            .handle_answer(now, connection, answer, &mut source);
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
                self.fanout.stream_stopped(connection, stream);
            } else if let Event::StreamExpired { stream } = event {
                self.fanout.stream_expired(connection, stream);
            } else if let Event::CanOpenStream = event {
                self.fanout.can_open_stream(connection);
            } else {
                if let Event::Cancelled { id, .. } = event {
                    self.fanout.unsubscribe(connection, id);
                } else if let Event::Closed(_) = event {
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
        let mut source = self.fanout.source(connection);
        self.peers.poll_output(now, connection, &mut source)
    }

    /// See [`Application::poll_timeout`](crate::transport::Application::poll_timeout).
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let fanout = self.fanout.poll_timeout();
        self.peers.poll_timeout().into_iter().chain(fanout).min()
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
