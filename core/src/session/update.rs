//! REQUEST_UPDATE, from either side, and its answers (§ REQUEST_UPDATE).

use std::collections::VecDeque;

use super::ask::{check_filter, is_backwards};
use super::auth::{Place, Resolved};
use super::close::{Close, Misuse};
use super::event::{Event, Refusal};
use super::names::Charge;
use super::params;
use super::receive::no_room_for_names;
use super::request::{Kind, Open, OwnUpdate, PeerUpdate, Side, Stage};
use super::{Session, answer};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::{ControlModel, Scope};
use crate::time::Time;
use crate::wire::id::RequestId;
use crate::wire::message::{Message, RequestOk, RequestUpdate};
use crate::wire::name::TrackNamespace;
use crate::wire::param::Parameters;

impl Session {
    /// Changes a request of ours, or our subscription to a PUBLISH of the peer's; what is absent stays as it is.
    /// Returns the update's own id; the answer is [`Event::UpdateResponse`].
    ///
    /// # Errors
    /// [`Misuse::Blocked`] without credit or with [`Limits::max_updates`](super::Limits::max_updates) unanswered.
    pub fn update(
        &mut self,
        now: Time,
        id: RequestId,
        parameters: Parameters,
    ) -> Result<RequestId, Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        let scope = params::update_scope(open.kind)
            .ok_or(Misuse::WrongState("a TRACK_STATUS cannot be updated"))?;
        if open.side == Side::Peer && open.kind != Kind::Publish {
            return Err(Misuse::WrongState(
                "only its sender can update this request",
            ));
        }
        let ready = match open.stage {
            Stage::Established => true,
            Stage::Pending => open.side == Side::Us,
            Stage::Ending(..) | Stage::Late => false,
        };
        if !ready {
            return Err(Misuse::WrongState(
                "the request is over, or not accepted yet",
            ));
        }
        if open.own_updates.len() >= self.settings.limits.max_updates {
            self.wants_request = true;
            return Err(Misuse::Blocked);
        }
        let kind = open.kind;
        let mut parameters = parameters;
        params::fit(self.profile, &mut parameters);
        parameters.expressible(self.profile, scope)?;
        check_filter(parameters.filter)?;
        if let Some(prefix) = &parameters.track_namespace_prefix {
            self.check_prefix(prefix, kind, Some(id))?;
        }
        self.send_update(id, parameters)
    }

    fn send_update(&mut self, id: RequestId, parameters: Parameters) -> Result<RequestId, Misuse> {
        let kind = self.requests.find(id).map(|open| open.kind);
        let kind = kind.ok_or(Misuse::UnknownRequest)?;
        let update = self.next_own_id()?;
        let mut message = RequestUpdate {
            request_id: update,
            existing_request_id: self.carried(id),
            parameters,
        };
        let tokens = std::mem::take(&mut message.parameters.authorization_tokens);
        let carrier = self.token_carrier(kind);
        let book = self.token_book.clone();
        message.parameters.authorization_tokens =
            self.token_book.send(&tokens, id, update, carrier)?;
        if let Err(misuse) = self.encode_for(id, &Message::RequestUpdate(message.clone())) {
            self.token_book = book;
            return Err(misuse);
        }
        let own = OwnUpdate {
            id: update,
            forward: message.parameters.forward,
            prefix: message.parameters.track_namespace_prefix.clone(),
        };
        if let Some(open) = self.requests.find_mut(id) {
            open.apply(&message.parameters);
            open.own_updates.push_back(own);
        }
        self.requests.update_owner.insert(update, id);
        self.own_ids.advance();
        self.say(id, &Message::RequestUpdate(message))?;
        self.settle(Ok(()));
        Ok(update)
    }

    /// Answers an update of the peer's. Answers leave in the order in which the updates came, after the one to the request
    /// itself: one that is given early waits. A refusal also ends what the draft says it ends: a subscription with PUBLISH_DONE, a FETCH's data, a
    /// request for namespaces; the application hears of that as [`Event::Cancelled`].
    ///
    /// # Errors
    /// [`Misuse::UnknownRequest`] if no such update waits for an answer.
    pub fn respond_to_update(
        &mut self,
        now: Time,
        id: RequestId,
        update: RequestId,
        response: Result<RequestOk, Refusal>,
    ) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        let kind = open.kind;
        if let Err(refusal) = &response {
            self.check_refusal(kind, refusal)?;
        }
        if let Ok(ok) = &response {
            if !ok.properties.is_empty() {
                return Err(Misuse::WrongState(
                    "only TRACK_STATUS is answered with properties",
                ));
            }
            ok.parameters.expressible(self.profile, Scope::UPDATE_OK)?;
            self.encode_for(id, &Message::RequestOk(self.update_ok(update, ok.clone())))?;
        }
        let open = self.requests.find_mut(id).ok_or(Misuse::UnknownRequest)?;
        let waiting = open
            .peer_updates
            .iter_mut()
            .find(|waiting| waiting.id == update && waiting.answer.is_none())
            .ok_or(Misuse::UnknownRequest)?;
        waiting.answer = Some(response);
        self.flush_update_answers(id);
        self.settle(Ok(()));
        Ok(())
    }

    fn update_ok(&self, update: RequestId, ok: RequestOk) -> RequestOk {
        RequestOk {
            request_id: self.carried(update),
            publish_ok: false,
            ..ok
        }
    }

    /// Sends the answers that no earlier unanswered update holds back.
    pub(super) fn flush_update_answers(&mut self, id: RequestId) {
        while let Some(open) = self.requests.find_mut(id)
            // On a shared stream of answers the one to the request itself comes first.
            && (open.side == Side::Us || open.answered)
            && open
                .peer_updates
                .front()
                .is_some_and(|update| update.answer.is_some())
            && let Some(update) = open.peer_updates.pop_front()
        {
            self.request_finished();
            match update.answer {
                Some(Ok(ok)) => self.grant_update(id, update.id, update.prefix, update.resumes, ok),
                Some(Err(refusal)) => self.refuse_update(id, update.id, refusal),
                None => {}
            }
        }
    }

    fn grant_update(
        &mut self,
        id: RequestId,
        update: RequestId,
        prefix: Option<(TrackNamespace, Charge)>,
        resumes: bool,
        ok: RequestOk,
    ) {
        if let Some(open) = self.requests.find_mut(id) {
            if let (Some((prefix, room)), Some(discovering)) = (prefix, open.discovering_mut()) {
                discovering.prefix = prefix;
                open.room = Some(room);
            }
            if let (true, Some(largest), Some(subscription)) = (
                resumes,
                ok.parameters.largest_object,
                open.subscription_mut(),
            ) {
                subscription.joining = Some(largest);
            }
        }
        self.serve(id);
        let message = Message::RequestOk(self.update_ok(update, ok));
        // It was encoded before it was accepted.
        let sent = self.say(id, &message);
        debug_assert!(sent.is_ok(), "{sent:?}");
    }

    /// § Updating Subscriptions: what else ends when an update is refused.
    fn refuse_update(&mut self, id: RequestId, update: RequestId, refusal: Refusal) {
        self.say_refusal(id, Some(update), refusal);
        let Some(open) = self.requests.find(id) else {
            return;
        };
        if matches!(open.stage, Stage::Ending(..) | Stage::Late) {
            return;
        }
        match (open.kind, open.publisher()) {
            (Kind::Subscribe | Kind::Publish, Some(Side::Us)) => {
                self.end_publishing(id, ResetCode::Cancelled, DoneCode::UpdateFailed, "");
                self.events.push_back(Event::Cancelled { id, code: None });
            }
            // The publisher ends it with PUBLISH_DONE.
            (Kind::Subscribe | Kind::Publish, _) => {}
            (Kind::Fetch, _) => {
                self.reset_data_of(id, ResetCode::Cancelled);
                self.finish_request(id, answer::Ending::Fin);
                self.events.push_back(Event::Cancelled { id, code: None });
            }
            (Kind::PublishNamespace | Kind::SubscribeNamespace | Kind::SubscribeTracks, _) => {
                if self.profile.control == ControlModel::StreamPerRequest {
                    self.finish_request(id, answer::Ending::Fin);
                    self.events.push_back(Event::Cancelled { id, code: None });
                }
            }
            (Kind::TrackStatus, _) => {}
        }
    }

    /// The peer sent REQUEST_UPDATE for a request that is open.
    pub(super) fn receive_update(
        &mut self,
        id: RequestId,
        update: RequestUpdate,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        if open.side == Side::Us && open.kind != Kind::Publish {
            return Err(Close::violation("V35: REQUEST_UPDATE by the wrong side"));
        }
        let kind = open.kind;
        let Some(scope) = params::update_scope(kind) else {
            return self.receive_status_update(update);
        };
        let RequestUpdate {
            request_id: update_id,
            mut parameters,
            ..
        } = update;
        // A publisher in wide use keeps its PUBLISH alive with updates that repeat the PUBLISH's own id.
        let repeats = update_id == id
            && kind == Kind::Publish
            && self.profile.control == ControlModel::StreamPerRequest;
        if !repeats {
            self.peer_id_arrives(update_id)?;
        }
        let resolved = self
            .tokens
            .resolve(&mut parameters.authorization_tokens, Place::Message)?;
        params::check_update(self.profile, scope, &mut parameters)?;
        let mut refusal = self.judge_update(id, kind, resolved, &parameters);
        let mut moved = None;
        if let (None, Some(prefix)) = (&refusal, &parameters.track_namespace_prefix) {
            let room = self.requests.room_for_prefix(prefix);
            moved = room.map(|room| (prefix.clone(), room));
            refusal = moved.is_none().then(no_room_for_names);
        }
        let Some(open) = self.requests.find_mut(id) else {
            return Ok(());
        };
        if open.peer_updates.len() >= self.settings.limits.max_updates {
            self.too_many_updates(id, update_id);
            return Ok(());
        }
        let mut resumes = false;
        if refusal.is_none() {
            let paused = open
                .subscription()
                .is_some_and(|subscription| !subscription.forward);
            resumes = parameters.forward == Some(true) && paused;
            open.apply(&parameters);
        }
        let is_asked = refusal.is_none();
        open.peer_updates.push_back(PeerUpdate {
            id: update_id,
            prefix: moved,
            resumes,
            answer: refusal.map(Err),
        });
        if is_asked {
            self.events.push_back(Event::Update {
                id,
                update: update_id,
                parameters,
            });
        } else {
            self.flush_update_answers(id);
        }
        Ok(())
    }

    /// REQUEST_UPDATE of a TRACK_STATUS that is not answered yet. Where it has a stream of its own, it must be the only
    /// message there; elsewhere it may be updated, but it has nothing that we could change (draft 16, § REQUEST_UPDATE).
    fn receive_status_update(&mut self, mut update: RequestUpdate) -> Result<(), Close> {
        if !self.shares_stream() {
            return Err(Close::violation("V35: REQUEST_UPDATE of a TRACK_STATUS"));
        }
        let scope = Scope::UPDATE_PUBLISH_NAMESPACE;
        params::check_update(self.profile, scope, &mut update.parameters)?;
        self.refuse_lone_update(
            update,
            RequestCode::NotSupported,
            "a TRACK_STATUS is not updated",
        )
    }

    /// Reasons to refuse an update that need no application.
    fn judge_update(
        &self,
        id: RequestId,
        kind: Kind,
        resolved: Resolved,
        parameters: &Parameters,
    ) -> Option<Refusal> {
        let over = self
            .requests
            .find(id)
            .is_none_or(|open| matches!(open.stage, Stage::Ending(..) | Stage::Late));
        if over {
            return Some(Refusal::new(
                RequestCode::DoesNotExist,
                "the request is over",
            ));
        }
        if resolved == Resolved::Repeated {
            return Some(Refusal::new(
                RequestCode::MalformedAuthToken,
                "a token appears twice",
            ));
        }
        if is_backwards(parameters.filter) {
            return Some(Refusal::new(
                RequestCode::InvalidRange,
                "the filter ends before it starts",
            ));
        }
        let prefix = parameters.track_namespace_prefix.as_ref()?;
        let shared = self.shares_prefixes();
        self.requests
            .overlaps(prefix, kind, Side::Peer, shared, Some(id))
            .then(|| {
                Refusal::new(
                    RequestCode::PrefixOverlap,
                    "the prefix overlaps another one",
                )
            })
    }

    /// A peer that sends updates faster than they are answered loses the request.
    fn too_many_updates(&mut self, id: RequestId, update: RequestId) {
        let unanswered = self
            .requests
            .find_mut(id)
            .map(|open| std::mem::take(&mut open.peer_updates))
            .unwrap_or_default();
        for _ in 0..=unanswered.len() {
            self.request_finished();
        }
        let refusal = Refusal::new(RequestCode::ExcessiveLoad, "too many updates at once");
        let is_pending = self
            .requests
            .find(id)
            .is_some_and(|open| !open.answered && open.side == Side::Peer);
        if is_pending {
            self.refuse(id, refusal);
            self.events.push_back(Event::Cancelled { id, code: None });
        } else {
            self.refuse_update(id, update, refusal);
        }
    }

    /// The peer answered the oldest unanswered update of this request, or the one named.
    pub(super) fn receive_update_answer(
        &mut self,
        id: RequestId,
        named: Option<RequestId>,
        response: Result<RequestOk, Refusal>,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find_mut(id) else {
            return Ok(());
        };
        let Some(update) = take_update(&mut open.own_updates, named) else {
            return Err(Close::violation(
                "V33: an answer to a request that was answered",
            ));
        };
        self.requests.update_owner.remove(&update.id);
        self.token_book.answered(update.id);
        let response = match response {
            Ok(mut ok) => {
                if !ok.properties.is_empty() {
                    return Err(Close::violation(
                        "V38: properties in an answer to an update",
                    ));
                }
                ok.parameters.check_scope(self.profile, Scope::UPDATE_OK)?;
                self.update_granted(id, &update, &ok);
                Ok(ok)
            }
            Err(refusal) => Err(refusal),
        };
        let refused = response.is_err();
        self.events.push_back(Event::UpdateResponse {
            id,
            update: update.id,
            response,
        });
        let publishes = self
            .requests
            .find(id)
            .and_then(Open::publisher)
            .is_some_and(|side| side == Side::Us);
        if refused && publishes {
            // § Updating Subscriptions: the publisher ends the subscription, whoever sent the update.
            self.end_publishing(id, ResetCode::Cancelled, DoneCode::UpdateFailed, "");
        }
        self.can_request();
        Ok(())
    }

    fn update_granted(&mut self, id: RequestId, update: &OwnUpdate, ok: &RequestOk) {
        let Some(open) = self.requests.find_mut(id) else {
            return;
        };
        if let (Some(prefix), Some(discovering)) = (&update.prefix, open.discovering_mut()) {
            discovering.prefix = prefix.clone();
        }
        if let (Some(true), Some(largest), Some(subscription)) = (
            update.forward,
            ok.parameters.largest_object,
            open.subscription_mut(),
        ) {
            subscription.joining = Some(largest);
        }
    }
}

fn take_update(updates: &mut VecDeque<OwnUpdate>, named: Option<RequestId>) -> Option<OwnUpdate> {
    match named {
        None => updates.pop_front(),
        Some(id) => {
            let at = updates.iter().position(|update| update.id == id)?;
            updates.remove(at)
        }
    }
}
