//! Answers to requests of the peer, and the end of what we publish.

use bytes::Bytes;

use super::close::Misuse;
use super::event::{Event, Refusal, Response};
use super::request::{Kind, Offer, Open, Side, Stage, Subject};
use super::timer::Timer;
use super::topology::Use;
use super::{Session, params};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::{PublishOkForm, RequestIdOrder};
use crate::time::Time;
use crate::wire::Role;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{
    FetchOk, MAX_REASON, Message, PublishDone, RequestError, RequestOk, Retry, SubscribeOk,
};

/// When to try again what was refused with a code for now that the draft does not have.
const RETRY_INTERVAL: Millis = Millis(1000);

/// What becomes of the stream of a request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All is said: our direction ends, and what the peer still says is not looked at.
    Fin,
    /// It is abandoned in both directions.
    Abandon(ResetCode),
    /// It is gone already.
    Gone,
}

impl Session {
    /// Answers a request of the peer's, exactly once.
    ///
    /// Accepting a PUBLISH of a track for which our own SUBSCRIBE is not answered yet ends that SUBSCRIBE, with
    /// [`Event::Cancelled`]. A redirect is left out for a draft that has none, and so are properties in the answer to
    /// TRACK_STATUS. GOING_AWAY and EXCESSIVE_LOAD become INTERNAL_ERROR with a retry interval where the draft lacks them.
    ///
    /// # Errors
    /// [`Misuse::UnknownRequest`] if the request is over, [`Misuse::WrongState`] if it was answered or the answer does
    /// not fit its kind, [`Misuse::NotExpressible`] if the draft cannot say it: then it is still to be answered.
    pub fn respond(&mut self, now: Time, id: RequestId, response: Response) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        if open.side == Side::Us {
            return Err(Misuse::WrongState("the peer answers our own request"));
        }
        if open.stage != Stage::Pending {
            return Err(Misuse::WrongState("the request is answered already"));
        }
        let kind = open.kind;
        match (kind, response) {
            (_, Response::Error(refusal)) => {
                self.check_refusal(kind, &refusal)?;
                self.refuse(id, refusal);
            }
            (Kind::Subscribe, Response::SubscribeOk(ok)) => self.accept_subscribe(id, ok)?,
            (Kind::Fetch, Response::FetchOk(ok)) => self.accept_fetch(id, ok)?,
            (
                Kind::Publish
                | Kind::TrackStatus
                | Kind::PublishNamespace
                | Kind::SubscribeNamespace
                | Kind::SubscribeTracks,
                Response::Ok(ok),
            ) => self.accept(id, kind, ok)?,
            (_, Response::SubscribeOk(_) | Response::FetchOk(_) | Response::Ok(_)) => {
                return Err(Misuse::WrongState("the answer does not fit the request"));
            }
        }
        // Updates that were refused at once waited for this.
        self.flush_update_answers(id);
        self.settle(Ok(()));
        Ok(())
    }

    fn accept_subscribe(&mut self, id: RequestId, ok: SubscribeOk) -> Result<(), Misuse> {
        let track = self
            .requests
            .find(id)
            .and_then(Open::subscription)
            .map(|subscription| subscription.track.clone())
            .ok_or(Misuse::UnknownRequest)?;
        if !self.requests.is_alias_free(ok.track_alias, &track) {
            return Err(Misuse::DuplicateTrackAlias);
        }
        let (alias, largest) = (ok.track_alias, ok.parameters.largest_object);
        let offer = Offer::new(self.profile, &ok.properties);
        let message = Message::SubscribeOk(SubscribeOk {
            request_id: self.carried(id),
            ..ok
        });
        self.say(id, &message)?;
        self.requests.use_alias(alias, &track);
        let mut waiting = Vec::new();
        if let Some(open) = self.requests.find_mut(id) {
            open.establish();
            open.offer = offer;
            if let Some(subscription) = open.subscription_mut() {
                subscription.alias = Some(alias);
                subscription.joining = largest;
                waiting = std::mem::take(&mut subscription.waiting);
            }
        }
        self.serve(id);
        for fetch in waiting {
            self.resolve_waiting_join(fetch);
        }
        Ok(())
    }

    fn accept_fetch(&mut self, id: RequestId, ok: FetchOk) -> Result<(), Misuse> {
        let message = Message::FetchOk(FetchOk {
            request_id: self.carried(id),
            ..ok
        });
        self.say(id, &message)?;
        self.establish(id);
        self.fetch_maybe_over(id);
        Ok(())
    }

    fn accept(&mut self, id: RequestId, kind: Kind, ok: RequestOk) -> Result<(), Misuse> {
        let mut ok = ok;
        if kind != Kind::TrackStatus && !ok.properties.is_empty() {
            return Err(Misuse::WrongState(
                "only TRACK_STATUS is answered with properties",
            ));
        }
        if !self.profile.request_ok_has_properties {
            ok.properties = crate::wire::property::Properties::default();
        }
        params::fit(self.profile, &mut ok.parameters);
        ok.parameters
            .expressible(self.profile, params::ok_scope(kind))?;
        ok.request_id = self.carried(id);
        ok.publish_ok = kind == Kind::Publish && self.profile.publish_ok == PublishOkForm::OwnType;
        let parameters = ok.parameters.clone();
        let message = Message::RequestOk(ok);
        self.encode_for(id, &message)?;
        if kind == Kind::Publish {
            self.end_own_subscribe_for(id);
        }
        self.say(id, &message)?;
        if kind == Kind::TrackStatus {
            self.finish_request(id, Ending::Fin);
            return Ok(());
        }
        self.establish(id);
        if let Some(open) = self.requests.find_mut(id) {
            open.apply(&parameters);
        }
        self.requests.index(id);
        Ok(())
    }

    fn establish(&mut self, id: RequestId) {
        if let Some(open) = self.requests.find_mut(id) {
            open.establish();
        }
    }

    /// § Subscriptions: before a PUBLISH is accepted, our own unanswered SUBSCRIBE of its track ends.
    fn end_own_subscribe_for(&mut self, publish: RequestId) {
        let other = self
            .requests
            .find(publish)
            .and_then(Open::subscription)
            .and_then(|subscription| self.requests.subscribing.get(&subscription.track))
            .copied()
            .filter(|other| *other != publish);
        if let Some(other) = other {
            self.withdraw(other, ResetCode::Cancelled);
            self.events.push_back(Event::Cancelled {
                id: other,
                code: None,
            });
        }
    }

    pub(super) fn check_refusal(&self, kind: Kind, refusal: &Refusal) -> Result<(), Misuse> {
        let Some(redirect) = &refusal.redirect else {
            return if refusal.code == RequestCode::Redirect {
                Err(Misuse::WrongState("REDIRECT needs to say where to"))
            } else {
                Ok(())
            };
        };
        if refusal.code != RequestCode::Redirect {
            return Err(Misuse::WrongState("only REDIRECT says where to"));
        }
        if self.settings.role == Role::Client && !redirect.uri.is_empty() {
            return Err(Misuse::WrongState(
                "a client cannot redirect a server to a URI",
            ));
        }
        if is_about_namespaces(kind) && !redirect.track.name.is_empty() {
            return Err(Misuse::WrongState(
                "a request about namespaces cannot be redirected to a track",
            ));
        }
        Ok(())
    }

    /// Refuses a request of the peer's, which is then over.
    pub(super) fn refuse(&mut self, id: RequestId, refusal: Refusal) {
        self.say_refusal(id, None, refusal);
        self.reset_data_of(id, ResetCode::Cancelled);
        if self.shares_stream() {
            self.refuse_updates(id);
        }
        self.finish_request(id, Ending::Fin);
    }

    /// Updates of a request that is refused fail too. Where the request has a stream of its own, the end of that says so.
    fn refuse_updates(&mut self, id: RequestId) {
        let updates = self
            .requests
            .find_mut(id)
            .map(|open| std::mem::take(&mut open.peer_updates));
        for update in updates.unwrap_or_default() {
            let refusal = match update.answer {
                Some(Err(refusal)) => refusal,
                Some(Ok(_)) | None => {
                    Refusal::new(RequestCode::DoesNotExist, "the request is over")
                }
            };
            self.say_refusal(id, Some(update.id), refusal);
            self.request_finished();
        }
    }

    /// Sends REQUEST_ERROR for a request, or for an update of it.
    pub(super) fn say_refusal(
        &mut self,
        id: RequestId,
        update: Option<RequestId>,
        refusal: Refusal,
    ) {
        let (code, redirect) = match (refusal.code, refusal.redirect) {
            (RequestCode::Redirect, Some(redirect)) if self.profile.redirect => {
                (RequestCode::Redirect, Some(redirect))
            }
            (RequestCode::Redirect, _) => (RequestCode::DoesNotExist, None),
            (code, _) => (code, None),
        };
        let mut error = RequestError {
            request_id: self.carried(update.unwrap_or(id)),
            code,
            retry: self.retry(code, refusal.retry),
            reason: cut_reason(&refusal.reason),
            redirect,
        };
        if self
            .encode_for(id, &Message::RequestError(error.clone()))
            .is_err()
        {
            // What cannot be said is left out: a refusal has to arrive.
            error.code = RequestCode::InternalError;
            error.redirect = None;
            error.retry = Retry::Never;
        }
        let sent = self.say(id, &Message::RequestError(error));
        debug_assert!(sent.is_ok(), "{sent:?}");
    }

    /// When to try again what is refused. A code that says that it is for now only, and that the draft lacks, is not to be
    /// lost with its meaning.
    fn retry(&self, code: RequestCode, retry: Retry) -> Retry {
        let is_for_now = matches!(code, RequestCode::GoingAway | RequestCode::ExcessiveLoad);
        let draft = self.profile.draft;
        let is_told = RequestCode::from_wire(draft, code.to_wire(draft)) == code;
        if retry == Retry::Never && is_for_now && !is_told {
            return Retry::After(RETRY_INTERVAL);
        }
        retry
    }

    /// Ends a subscription in which we publish. PUBLISH_DONE leaves once all data streams of it are finished or reset,
    /// with their count filled in; then the request is over.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] if we are not the publisher, or the peer's SUBSCRIBE was not accepted yet: refuse it.
    pub fn done(
        &mut self,
        now: Time,
        id: RequestId,
        code: DoneCode,
        reason: &str,
    ) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        if open.kind == Kind::Fetch || open.publisher() != Some(Side::Us) {
            return Err(Misuse::WrongState("only the publisher ends a subscription"));
        }
        match (&open.stage, open.side) {
            (Stage::Established, _) | (Stage::Pending, Side::Us) => {}
            (Stage::Pending, Side::Peer) => {
                return Err(Misuse::WrongState("the SUBSCRIBE is to be answered first"));
            }
            (Stage::Ending(..) | Stage::Late, _) => {
                return Err(Misuse::WrongState("the subscription is over already"));
            }
        }
        let reason = cut_reason(&Bytes::copy_from_slice(reason.as_bytes()));
        self.set_ending(id, code, reason);
        self.settle(Ok(()));
        Ok(())
    }

    fn set_ending(&mut self, id: RequestId, code: DoneCode, reason: Bytes) {
        if let Some(open) = self.requests.find_mut(id) {
            open.stage = Stage::Ending(code, reason);
        }
        self.closing.insert(id);
        self.data_moved();
    }

    /// Ends a subscription at once: its data streams are reset, and PUBLISH_DONE follows.
    pub(super) fn end_publishing(
        &mut self,
        id: RequestId,
        reset: ResetCode,
        code: DoneCode,
        reason: &'static str,
    ) {
        self.reset_data_of(id, reset);
        self.set_ending(id, code, Bytes::from_static(reason.as_bytes()));
    }

    /// Sends PUBLISH_DONE for a subscription that is to end, and whose data streams are all over.
    pub(super) fn say_done_if_through(&mut self, id: RequestId) {
        let Some(open) = self.requests.find(id) else {
            return;
        };
        let (Stage::Ending(code, reason), Some(subscription)) = (&open.stage, open.subscription())
        else {
            return;
        };
        let opened = subscription
            .streams_opened
            .max(self.outgoing.streams_opened(id));
        let message = Message::PublishDone(PublishDone {
            request_id: self.carried(id),
            code: *code,
            stream_count: Some(opened),
            reason: reason.clone(),
        });
        let sent = self.say(id, &message);
        debug_assert!(sent.is_ok(), "{sent:?}");
        self.finish_request(id, Ending::Fin);
    }

    /// A request is over: it is forgotten, and its stream ends in the given way.
    pub(super) fn finish_request(&mut self, id: RequestId, ending: Ending) {
        let Some(open) = self.requests.remove(id) else {
            return;
        };
        self.closing.remove(&id);
        self.outgoing.withdraw(id, ResetCode::Cancelled);
        self.timers.stop(Timer::RequestGoAway(id));
        self.drop_data_of(id, ResetCode::Cancelled);
        match open.side {
            Side::Us => {
                let carrier = self.token_carrier(open.kind);
                self.token_book.unanswered(id, carrier);
                for update in &open.own_updates {
                    self.token_book.unanswered(update.id, carrier);
                }
                self.own_tombstones.insert(id);
                for update in &open.own_updates {
                    self.own_tombstones.insert(update.id);
                }
                self.can_request();
            }
            Side::Peer => {
                let carrier = self.token_carrier(open.kind);
                for update in &open.own_updates {
                    self.token_book.unanswered(update.id, carrier);
                    self.own_tombstones.insert(update.id);
                }
                self.peer_tombstones.insert(id);
                self.request_finished();
                self.can_request();
            }
        }
        for _ in &open.peer_updates {
            self.request_finished();
        }
        if let Some(subscription) = open.subscription() {
            for fetch in &subscription.waiting {
                let refusal = Refusal::new(
                    RequestCode::InvalidJoiningRequestId,
                    "the subscription to join is over",
                );
                self.refuse(fetch.request_id, refusal);
            }
        }
        if let Subject::Fetch(fetching) = &open.subject
            && let Some(joined) = fetching.joins
        {
            self.forget_waiting_join(joined, id);
        }
        if let Some(stream) = open.stream {
            self.end_stream(stream, ending);
        }
    }

    pub(super) fn end_stream(&mut self, stream: crate::transport::StreamId, ending: Ending) {
        // The peer waits for every request id, and later ones may have come another way: it is told of the request when it
        // allows the stream, and of its end at once.
        let in_sequence = self.profile.request_id_order != RequestIdOrder::Unique;
        let must_be_told = in_sequence && self.topology.waits_to_open(stream);
        let ending = if must_be_told { Ending::Fin } else { ending };
        if self.topology.is_receiving(stream) {
            self.lose_updates();
        }
        match ending {
            Ending::Fin => {
                self.topology.set_purpose(stream, Use::Over);
                self.topology.finish(stream);
                if self.topology.is_receiving(stream) {
                    let limit = self.settings.limits.drain_timeout;
                    self.timers.set(Timer::Drain(stream), self.now + limit);
                }
            }
            Ending::Abandon(code) => {
                let code = self.reset_number(code);
                self.topology.abandon(stream, code);
            }
            Ending::Gone => {
                self.topology.set_purpose(stream, Use::Over);
            }
        }
    }

    /// A request or update of the peer's is over: where ids are the credit, more are granted.
    pub(super) fn request_finished(&mut self) {
        if let Some(limit) = self.peer_ids.finished() {
            let sent = self.say_on_control(&Message::MaxRequestId(limit));
            debug_assert!(sent.is_ok(), "{sent:?}");
        }
    }
}

/// Whether a request is about namespaces rather than a track (§ Redirect Structure).
pub(super) const fn is_about_namespaces(kind: Kind) -> bool {
    matches!(kind, Kind::PublishNamespace | Kind::SubscribeNamespace)
}

/// At most as many bytes as a reason phrase may have, cut between characters.
fn cut_reason(reason: &Bytes) -> Bytes {
    if reason.len() <= MAX_REASON {
        return reason.clone();
    }
    let mut end = MAX_REASON;
    while end > 0 && reason.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end -= 1;
    }
    reason.slice(..end)
}
