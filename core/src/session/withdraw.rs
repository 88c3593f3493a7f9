//! The end of requests before their time: by our application, by the peer, or because a stream went away
//! (§ Request Cancellation and Rejection).

use super::Session;
use super::answer::Ending;
use super::close::{Close, Misuse};
use super::event::{Event, Refusal};
use super::request::{Kind, Open, Side, Stage};
use super::topology::Use;
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::ControlModel;
use crate::time::Time;
use crate::transport::StreamId;
use crate::wire::id::RequestId;
use crate::wire::message::{Message, PublishNamespaceCancel};

impl Session {
    /// Ends a request, whoever sent it: our own is withdrawn, the peer's is not served any more. What the draft has for
    /// it is sent (a reset of the stream, UNSUBSCRIBE, REQUEST_ERROR, PUBLISH_DONE …), data streams of it are reset or
    /// stopped, and no further event about it follows but the ends of such streams.
    ///
    /// # Errors
    /// [`Misuse::UnknownRequest`] if it is over already.
    pub fn cancel(&mut self, now: Time, id: RequestId, code: ResetCode) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        self.withdraw(id, code);
        self.settle(Ok(()));
        Ok(())
    }

    /// Ends a request of either side without an event.
    pub(super) fn withdraw(&mut self, id: RequestId, code: ResetCode) {
        if self.requests.find(id).is_none() {
            return;
        }
        self.drop_data_of(id, code);
        let Some(open) = self.requests.find(id) else {
            return;
        };
        let (kind, side) = (open.kind, open.side);
        let pending = open.stage == Stage::Pending;
        if open.stage == Stage::Late {
            self.finish_request(id, Ending::Gone);
            return;
        }
        match (open.publisher(), kind, side) {
            // A publisher says why it ends a subscription, rather than break off.
            (Some(Side::Us), Kind::Publish | Kind::Subscribe, Side::Us) => {
                self.end_publishing(id, code, done_code(code), "");
            }
            (Some(Side::Us), Kind::Publish | Kind::Subscribe, Side::Peer) if !pending => {
                self.end_publishing(id, code, done_code(code), "");
            }
            (_, _, Side::Peer) if pending => self.refuse(id, refusal(kind, code)),
            _ => {
                self.reset_data_of(id, code);
                self.break_off(id, kind, side, code);
            }
        }
    }

    /// Ends a request with what the draft has for that: a message, or the end of its stream.
    fn break_off(&mut self, id: RequestId, kind: Kind, side: Side, code: ResetCode) {
        let has_stream = self
            .requests
            .find(id)
            .is_some_and(|open| open.stream.is_some());
        if has_stream {
            self.finish_request(id, Ending::Abandon(code));
            return;
        }
        let message = match (kind, side) {
            (Kind::Subscribe, Side::Us) | (Kind::Publish, Side::Peer) => {
                Some(Message::Unsubscribe(id))
            }
            (Kind::Fetch, Side::Us) => Some(Message::FetchCancel(id)),
            (Kind::PublishNamespace, Side::Us) => Some(Message::PublishNamespaceDone(id)),
            (Kind::PublishNamespace, Side::Peer) => {
                Some(Message::PublishNamespaceCancel(PublishNamespaceCancel {
                    request_id: id,
                    code: refusal(kind, code).code,
                    reason: bytes::Bytes::new(),
                }))
            }
            // Nothing to say: an answer that still comes is ignored, a FETCH's data is reset.
            (
                Kind::TrackStatus
                | Kind::Fetch
                | Kind::Subscribe
                | Kind::Publish
                | Kind::SubscribeNamespace
                | Kind::SubscribeTracks,
                _,
            ) => None,
        };
        if let Some(message) = message {
            let sent = self.say(id, &message);
            debug_assert!(sent.is_ok(), "{sent:?}");
        }
        self.finish_request(id, Ending::Gone);
    }

    /// Ends a request of ours for which we cannot keep up, and tells the application.
    pub(super) fn give_up(&mut self, id: RequestId, code: ResetCode) {
        self.namespaces_gone(id);
        self.withdraw(id, code);
        self.events.push_back(Event::Cancelled {
            id,
            code: Some(code),
        });
    }

    /// The peer ended a request, ours or its own, or its stream went away.
    pub(super) fn cancelled(&mut self, id: RequestId, code: Option<ResetCode>, ending: Ending) {
        let Some(open) = self.requests.find(id) else {
            return;
        };
        if open.stage == Stage::Late {
            self.finish_request(id, ending);
            return;
        }
        let told = open.told || open.side == Side::Us;
        self.namespaces_gone(id);
        self.reset_data_of(id, ResetCode::Cancelled);
        self.finish_request(id, ending);
        self.peer_tombstones.remove(id);
        if told {
            self.events.push_back(Event::Cancelled { id, code });
        }
    }

    /// UNSUBSCRIBE, FETCH_CANCEL, PUBLISH_NAMESPACE_DONE or PUBLISH_NAMESPACE_CANCEL: the peer ends this kind of
    /// request of this side's.
    pub(super) fn receive_cancel(
        &mut self,
        id: RequestId,
        fits: impl Fn(&Open) -> bool,
        code: Option<ResetCode>,
    ) -> Result<(), Close> {
        let Some(open) = self.find_or_tolerate(id)? else {
            return Ok(());
        };
        if !fits(open) {
            return Err(Close::violation(
                "a request ended by the message of another kind",
            ));
        }
        self.cancelled(id, code, Ending::Gone);
        Ok(())
    }

    /// The peer ended its direction of a stream of messages.
    pub(super) fn receive_fin(&mut self, stream: StreamId) -> Result<(), Close> {
        let Some(purpose) = self.topology.purpose(stream) else {
            return Ok(());
        };
        let is_whole = self.topology.is_between_messages(stream);
        match purpose {
            Use::Control => {
                self.control_closed(stream);
                Ok(())
            }
            Use::Silent => {
                self.silent_stream_ended(stream);
                Ok(())
            }
            Use::Over => {
                self.lane_ended(stream);
                Ok(())
            }
            Use::Request(_) if !is_whole => {
                Err(Close::violation("V2: a stream ends inside a message"))
            }
            Use::Request(id) => {
                self.topology.ended_receiving(stream);
                self.request_stream_finished(id);
                Ok(())
            }
        }
    }

    /// What the end of the peer's direction means for a request: for most nothing, since nothing more needs to be said.
    fn request_stream_finished(&mut self, id: RequestId) {
        let Some(open) = self.requests.find(id) else {
            return;
        };
        let over = match (open.side, open.kind) {
            (Side::Peer, Kind::SubscribeNamespace | Kind::SubscribeTracks) => {
                self.profile.fin_cancels_namespace_requests
            }
            // A publisher says PUBLISH_DONE before it ends its direction.
            (Side::Peer, Kind::Publish) => true,
            (
                Side::Peer,
                Kind::Subscribe | Kind::Fetch | Kind::TrackStatus | Kind::PublishNamespace,
            ) => false,
            (Side::Us, Kind::Subscribe | Kind::SubscribeNamespace | Kind::SubscribeTracks) => true,
            (
                Side::Us,
                Kind::Publish | Kind::Fetch | Kind::TrackStatus | Kind::PublishNamespace,
            ) => open.stage == Stage::Pending,
        };
        if over {
            self.cancelled(id, None, Ending::Fin);
        }
    }

    /// The peer abandoned its direction of a stream of messages.
    pub(super) fn receive_reset(&mut self, stream: StreamId, code: u64) {
        let Some(purpose) = self.topology.purpose(stream) else {
            return;
        };
        match purpose {
            Use::Control => self.control_closed(stream),
            Use::Silent => self.silent_stream_ended(stream),
            Use::Over => self.lane_ended(stream),
            Use::Request(id) => {
                self.lose_updates();
                self.topology.ended_receiving(stream);
                let code = ResetCode::from_wire(self.profile.draft, code);
                self.cancelled(id, Some(code), Ending::Abandon(ResetCode::Cancelled));
            }
        }
    }

    /// The peer does not want to hear more on a stream of messages. What it said before that is read first: an answer
    /// and its end often come together with this.
    pub(super) fn receive_stop(&mut self, stream: StreamId, code: u64) {
        match self.topology.purpose(stream) {
            Some(Use::Control) => self.failing = Some(CONTROL_CLOSED),
            Some(Use::Silent | Use::Request(_) | Use::Over)
                if self.topology.stop_after_reading(stream, code) =>
            {
                self.heed_stop(stream, code);
            }
            Some(Use::Silent | Use::Request(_) | Use::Over) | None => {}
        }
    }

    pub(super) fn heed_stop(&mut self, stream: StreamId, code: u64) {
        match self.topology.purpose(stream) {
            None => {}
            Some(Use::Control) => self.failing = Some(CONTROL_CLOSED),
            Some(Use::Silent | Use::Over) => {
                let code = self.reset_number(ResetCode::Cancelled);
                self.topology.abandon_sending(stream, code);
            }
            Some(Use::Request(id)) => {
                let code = ResetCode::from_wire(self.profile.draft, code);
                self.cancelled(id, Some(code), Ending::Abandon(ResetCode::Cancelled));
            }
        }
    }

    fn silent_stream_ended(&mut self, stream: StreamId) {
        self.lose_request();
        let code = self.reset_number(ResetCode::Cancelled);
        self.topology.ended_receiving(stream);
        self.topology.abandon(stream, code);
    }

    /// A stream whose request is over is now over in the peer's direction too.
    fn lane_ended(&mut self, stream: StreamId) {
        self.topology.ended_receiving(stream);
        self.timers.stop(super::timer::Timer::Drain(stream));
    }
}

impl Session {
    /// The peer closed the control stream, which ends the session: what arrived before that is read first, since a peer
    /// that leaves like this may have sent all that it had to.
    fn control_closed(&mut self, stream: StreamId) {
        self.topology.ended_receiving(stream);
        self.failing = Some(CONTROL_CLOSED);
    }
}

const CONTROL_CLOSED: Close = Close::violation("V3: the control stream was closed");

/// What PUBLISH_DONE says where a stream would be reset with this code.
const fn done_code(code: ResetCode) -> DoneCode {
    match code {
        ResetCode::GoingAway => DoneCode::GoingAway,
        ResetCode::TooFarBehind | ResetCode::DeliveryTimeout => DoneCode::TooFarBehind,
        ResetCode::ExpiredAuthToken => DoneCode::Unauthorized,
        ResetCode::ExcessiveLoad => DoneCode::ExcessiveLoad,
        ResetCode::MalformedTrack => DoneCode::MalformedTrack,
        ResetCode::Cancelled => DoneCode::TrackEnded,
        ResetCode::InternalError
        | ResetCode::SessionClosed
        | ResetCode::UnknownObjectStatus
        | ResetCode::Unknown(_) => DoneCode::InternalError,
    }
}

/// How a request that was not answered yet is refused where a stream would be reset with this code.
const fn refusal(kind: Kind, code: ResetCode) -> Refusal {
    let code = match code {
        ResetCode::GoingAway => RequestCode::GoingAway,
        ResetCode::DeliveryTimeout => RequestCode::Timeout,
        ResetCode::ExpiredAuthToken => RequestCode::ExpiredAuthToken,
        ResetCode::ExcessiveLoad | ResetCode::TooFarBehind => RequestCode::ExcessiveLoad,
        ResetCode::MalformedTrack => RequestCode::MalformedTrack,
        ResetCode::Cancelled => match kind {
            Kind::Publish | Kind::PublishNamespace => RequestCode::Uninterested,
            Kind::Subscribe
            | Kind::Fetch
            | Kind::TrackStatus
            | Kind::SubscribeNamespace
            | Kind::SubscribeTracks => RequestCode::DoesNotExist,
        },
        ResetCode::InternalError
        | ResetCode::SessionClosed
        | ResetCode::UnknownObjectStatus
        | ResetCode::Unknown(_) => RequestCode::InternalError,
    };
    Refusal::new(code, "cancelled")
}

impl Session {
    /// Whether requests of a shared stream are told apart by their ids.
    pub(super) fn shares_stream(&self) -> bool {
        self.profile.control == ControlModel::SharedStream
    }
}
