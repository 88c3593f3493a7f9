//! Answers to requests of ours, and the end of subscriptions to the peer's tracks.

use std::time::Duration;

use super::Session;
use super::answer::{Ending, is_about_namespaces};
use super::ask::is_before_start;
use super::close::Close;
use super::event::{Event, Refusal, Response};
use super::params;
use super::request::{Kind, Open, Side, Stage};
use super::timer::Timer;
use crate::code::{RequestCode, ResetCode, SessionCode};
use crate::draft::PublishOkForm;
use crate::wire::Role;
use crate::wire::id::{RequestId, TrackAlias};
use crate::wire::message::{FetchOk, PublishDone, RequestError, RequestOk, SubscribeOk};
use crate::wire::name::FullTrackName;
use crate::wire::property::Properties;

const ANSWERED: Close = Close::violation("V33: an answer to a request that was answered");
const UNFIT: Close = Close::violation("an answer that does not fit the request");

impl Session {
    fn pending(&self, id: RequestId, kind: Kind) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        if open.side != Side::Us || open.kind != kind {
            return Err(UNFIT);
        }
        if open.answered {
            return Err(ANSWERED);
        }
        Ok(())
    }

    /// SUBSCRIBE_OK
    pub(super) fn receive_subscribe_ok(
        &mut self,
        id: RequestId,
        ok: SubscribeOk,
    ) -> Result<(), Close> {
        self.pending(id, Kind::Subscribe)?;
        let Some(track) = self
            .requests
            .find(id)
            .and_then(Open::subscription)
            .map(|subscription| subscription.track.clone())
        else {
            return Ok(());
        };
        self.token_book.answered(id);
        if self.has_unknown_mandatory(&ok.properties) {
            self.refuse_track(id);
            return Ok(());
        }
        self.check_peer_alias(ok.track_alias, &track)?;
        if let Some(open) = self.requests.find_mut(id) {
            open.establish();
            if let Some(subscription) = open.subscription_mut() {
                subscription.alias = Some(ok.track_alias);
                subscription.joining = ok.parameters.largest_object;
            }
        }
        let (alias, properties) = (ok.track_alias, ok.properties.clone());
        self.events.push_back(Event::Response {
            id,
            response: Response::SubscribeOk(ok),
        });
        // After the answer: what waited for the alias follows it.
        self.bind_alias(alias, id, &properties)?;
        Ok(())
    }

    /// § Track Alias: no two tracks with one alias.
    pub(super) fn check_peer_alias(
        &self,
        alias: TrackAlias,
        track: &FullTrackName,
    ) -> Result<(), Close> {
        let other = self
            .requests
            .peer_aliases
            .get(&alias)
            .and_then(|id| self.requests.find(*id))
            .filter(|open| open.is_live())
            .and_then(Open::subscription);
        if other.is_some_and(|other| other.track != *track) {
            return Err(Close::new(
                SessionCode::DuplicateTrackAlias,
                "V40: a track alias that stands for another track",
            ));
        }
        Ok(())
    }

    pub(super) fn has_unknown_mandatory(&self, properties: &Properties) -> bool {
        properties.mandatory(self.profile).is_some()
    }

    /// § Mandatory Track Properties: the request is withdrawn; for the application it was refused.
    fn refuse_track(&mut self, id: RequestId) {
        // First the answer, then the ends of streams that overtook it.
        self.events.push_back(Event::Response {
            id,
            response: Response::Error(Refusal::new(
                RequestCode::UnsupportedExtension,
                "the track has a mandatory property that is not supported",
            )),
        });
        self.withdraw(id, ResetCode::Cancelled);
    }

    /// FETCH_OK
    pub(super) fn receive_fetch_ok(&mut self, id: RequestId, ok: FetchOk) -> Result<(), Close> {
        self.pending(id, Kind::Fetch)?;
        let Some(open) = self.requests.find_mut(id) else {
            return Ok(());
        };
        let start = open.fetching_mut().and_then(|fetching| fetching.start);
        if start.is_some_and(|start| is_before_start(ok.end, start)) {
            return Err(Close::violation(
                "V84: FETCH_OK ends before the range starts",
            ));
        }
        open.establish();
        self.token_book.answered(id);
        if self.has_unknown_mandatory(&ok.properties) {
            self.refuse_track(id);
            return Ok(());
        }
        self.events.push_back(Event::Response {
            id,
            response: Response::FetchOk(ok),
        });
        self.fetch_maybe_over(id);
        Ok(())
    }

    /// REQUEST_OK for a request, or where `named` is set for an update that has this id.
    pub(super) fn receive_ok(
        &mut self,
        id: RequestId,
        named: Option<RequestId>,
        ok: RequestOk,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        let answers_request = named.is_none() && open.side == Side::Us && !open.answered;
        if !answers_request {
            if ok.publish_ok {
                return Err(UNFIT);
            }
            let is_carried = self.profile.responses_carry_request_id;
            if is_carried && named.is_none() {
                return Err(ANSWERED);
            }
            return self.receive_update_answer(id, named, Ok(ok));
        }
        let kind = open.kind;
        let by_own_type = self.profile.publish_ok == PublishOkForm::OwnType;
        let fits = match kind {
            Kind::Subscribe | Kind::Fetch => false,
            Kind::Publish => ok.publish_ok || !by_own_type,
            Kind::TrackStatus
            | Kind::PublishNamespace
            | Kind::SubscribeNamespace
            | Kind::SubscribeTracks => !ok.publish_ok,
        };
        if !fits {
            return Err(UNFIT);
        }
        self.receive_request_ok(id, kind, ok)
    }

    fn receive_request_ok(
        &mut self,
        id: RequestId,
        kind: Kind,
        mut ok: RequestOk,
    ) -> Result<(), Close> {
        if kind != Kind::TrackStatus && !ok.properties.is_empty() {
            return Err(Close::violation(
                "V38: properties in an answer to something else than TRACK_STATUS",
            ));
        }
        ok.parameters
            .check_scope(self.profile, params::ok_scope(kind))?;
        self.token_book.answered(id);
        if kind == Kind::Publish {
            // § FORWARD Parameter: absent means 1 here, whatever the PUBLISH said.
            ok.parameters.forward.get_or_insert(true);
        }
        if let Some(open) = self.requests.find_mut(id) {
            open.establish();
            open.apply(&ok.parameters);
        }
        self.serve(id);
        self.events.push_back(Event::Response {
            id,
            response: Response::Ok(ok),
        });
        if kind == Kind::TrackStatus {
            self.finish_request(id, Ending::Fin);
            self.own_tombstones.remove(id);
        }
        Ok(())
    }

    /// REQUEST_ERROR for a request, or where `named` is set for an update that has this id.
    pub(super) fn receive_error(
        &mut self,
        id: RequestId,
        named: Option<RequestId>,
        error: RequestError,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        let (kind, side) = (open.kind, open.side);
        let answers_request = named.is_none() && side == Side::Us && !open.answered;
        if let Some(redirect) = &error.redirect {
            if self.settings.role == Role::Server && !redirect.uri.is_empty() {
                return Err(Close::violation(
                    "V58: a client redirects a server to a URI",
                ));
            }
            if is_about_namespaces(kind) && !redirect.track.name.is_empty() {
                return Err(Close::violation(
                    "V59: a request about namespaces is redirected to a track",
                ));
            }
        }
        let refusal = Refusal {
            code: error.code,
            retry: error.retry,
            reason: error.reason,
            redirect: error.redirect,
        };
        if !answers_request {
            if self.profile.responses_carry_request_id && named.is_none() {
                return Err(ANSWERED);
            }
            return self.receive_update_answer(id, named, Err(refusal));
        }
        self.events.push_back(Event::Response {
            id,
            response: Response::Error(refusal),
        });
        self.token_book.answered(id);
        self.finish_request(id, Ending::Fin);
        self.own_tombstones.remove(id);
        Ok(())
    }

    /// PUBLISH_DONE: no more will be sent, but late objects may still be on their way.
    pub(super) fn receive_done(&mut self, id: RequestId, done: PublishDone) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        if open.publisher() != Some(Side::Peer) || open.kind == Kind::Fetch {
            return Err(Close::violation(
                "PUBLISH_DONE from a subscriber, or for no subscription",
            ));
        }
        match (&open.stage, open.side) {
            (Stage::Established, _) | (Stage::Pending, Side::Peer) => {}
            (Stage::Pending, Side::Us) => {
                return Err(Close::violation("PUBLISH_DONE before SUBSCRIBE_OK"));
            }
            (Stage::Late | Stage::Ending(..), _) => {
                return Err(Close::violation("a second PUBLISH_DONE"));
            }
        }
        let wishes = &open.wishes;
        let timeout = wishes.object_timeout.max(wishes.subgroup_timeout);
        let stream = open.stream;
        self.requests.unindex(id);
        if let Some(open) = self.requests.find_mut(id) {
            open.stage = Stage::Late;
            open.stream = None;
        }
        // It need not move any more.
        self.timers.stop(Timer::RequestGoAway(id));
        // The stream is over on both sides; only objects outlive it.
        if let Some(stream) = stream {
            self.close_lane(stream);
        }
        let patience = Duration::from_millis(timeout.unwrap_or_default().0).min(MAX_LATE);
        let count = done.stream_count;
        self.events.push_back(Event::Done { id, done });
        self.incoming.done(self.now, id, count, patience);
        self.data_received()
    }
}

/// A peer cannot make us keep an ended subscription for longer than this by way of delivery timeouts.
const MAX_LATE: Duration = Duration::from_secs(60);
