//! NAMESPACE, NAMESPACE_DONE and PUBLISH_BLOCKED, told and heard (§ Subscribing to Namespaces).

use std::collections::BTreeMap;

use super::Session;
use super::close::{Close, Misuse};
use super::event::Event;
use super::names::Charge;
use super::request::{Kind, Open, Side, Stage};
use crate::code::ResetCode;
use crate::draft::Discovery;
use crate::time::Time;
use crate::wire::id::RequestId;
use crate::wire::message::{Interest, Message, Namespace, PublishBlocked};
use crate::wire::name::{TrackName, TrackNamespace};

impl Session {
    /// Tells the sender of a SUBSCRIBE_NAMESPACE that a namespace exists. Telling it twice says nothing new, and nothing
    /// is sent.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] if that request was not accepted, or asks for tracks only; [`Misuse::Blocked`] after
    /// [`Limits::max_namespaces`](super::Limits::max_namespaces) or
    /// [`Limits::max_namespace_bytes`](super::Limits::max_namespace_bytes).
    pub fn namespace(
        &mut self,
        now: Time,
        id: RequestId,
        suffix: &TrackNamespace,
    ) -> Result<(), Misuse> {
        self.at(now);
        let full = self.full_namespace(id, suffix)?;
        self.check_published(&full)?;
        let told = self.told_namespaces(id)?;
        if told.contains_key(&full) {
            return Ok(());
        }
        if told.len() >= self.settings.limits.max_namespaces {
            return Err(Misuse::Blocked);
        }
        let room = self.requests.namespaces.charge(full.cost());
        let room = room.ok_or(Misuse::Blocked)?;
        let message = Message::Namespace(Namespace {
            suffix: suffix.clone(),
        });
        self.say(id, &message)?;
        if let Some(discovering) = self.requests.find_mut(id).and_then(Open::discovering_mut) {
            discovering.namespaces.insert(full, room);
        }
        self.settle(Ok(()));
        Ok(())
    }

    /// Tells the sender of a SUBSCRIBE_NAMESPACE that a namespace is gone.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] if the namespace was not told before.
    pub fn namespace_done(
        &mut self,
        now: Time,
        id: RequestId,
        suffix: &TrackNamespace,
    ) -> Result<(), Misuse> {
        self.at(now);
        let full = self.full_namespace(id, suffix)?;
        if !self.told_namespaces(id)?.contains_key(&full) {
            return Err(Misuse::WrongState("the namespace was not told before"));
        }
        let message = Message::NamespaceDone(Namespace {
            suffix: suffix.clone(),
        });
        self.say(id, &message)?;
        if let Some(discovering) = self.requests.find_mut(id).and_then(Open::discovering_mut) {
            discovering.namespaces.remove(&full);
        }
        self.settle(Ok(()));
        Ok(())
    }

    /// Tells the sender of a SUBSCRIBE_TRACKS that a track exists for which no stream is left to PUBLISH it. It must not
    /// be offered afterwards.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] if that request was not accepted; [`Misuse::NotExpressible`] in draft 16.
    pub fn publish_blocked(
        &mut self,
        now: Time,
        id: RequestId,
        suffix: &TrackNamespace,
        name: &TrackName,
    ) -> Result<(), Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        if open.side != Side::Peer
            || open.kind != Kind::SubscribeTracks
            || open.stage != Stage::Established
        {
            return Err(Misuse::WrongState(
                "not an accepted SUBSCRIBE_TRACKS of the peer",
            ));
        }
        let message = Message::PublishBlocked(PublishBlocked {
            suffix: suffix.clone(),
            name: name.clone(),
        });
        self.say(id, &message)?;
        self.settle(Ok(()));
        Ok(())
    }

    fn told_namespaces(&self, id: RequestId) -> Result<&BTreeMap<TrackNamespace, Charge>, Misuse> {
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        let discovering = open.discovering().ok_or(Misuse::UnknownRequest)?;
        Ok(&discovering.namespaces)
    }

    fn full_namespace(
        &self,
        id: RequestId,
        suffix: &TrackNamespace,
    ) -> Result<TrackNamespace, Misuse> {
        self.check_open()?;
        let open = self.requests.find(id).ok_or(Misuse::UnknownRequest)?;
        let wanted = open
            .discovering()
            .is_some_and(|discovering| discovering.interest != Interest::Tracks);
        if !wanted || open.side != Side::Peer || open.stage != Stage::Established {
            return Err(Misuse::WrongState(
                "not an accepted SUBSCRIBE_NAMESPACE of the peer",
            ));
        }
        open.discovering()
            .and_then(|discovering| discovering.prefix.join(suffix).ok())
            .ok_or(Misuse::WrongState("the whole namespace is too long"))
    }

    /// The peer says that a namespace exists, or is gone, in answer to a request of ours.
    pub(super) fn receive_namespace(
        &mut self,
        id: RequestId,
        suffix: TrackNamespace,
        exists: bool,
    ) -> Result<(), Close> {
        let limit = self.settings.limits.max_namespaces;
        let account = self.requests.namespaces.clone();
        let splits = self.profile.discovery == Discovery::SplitRequests;
        let Some(open) = self.requests.find_mut(id) else {
            return Ok(());
        };
        if open.side != Side::Us || open.discovering().is_none() {
            return Err(Close::violation(
                "NAMESPACE on the stream of another request",
            ));
        }
        if open.stage != Stage::Established {
            return Err(Close::violation(
                "V34: NAMESPACE before the request was accepted",
            ));
        }
        if splits && open.kind == Kind::SubscribeTracks {
            return Err(Close::violation("NAMESPACE in answer to SUBSCRIBE_TRACKS"));
        }
        let Some(discovering) = open.discovering_mut() else {
            return Ok(());
        };
        let full = discovering
            .prefix
            .join(&suffix)
            .map_err(|_| Close::violation("V24: a namespace that is too long with its prefix"))?;
        if !exists {
            if discovering.namespaces.remove(&full).is_none() {
                return Err(Close::violation("V86: NAMESPACE_DONE without NAMESPACE"));
            }
            self.events.push_back(Event::NamespaceDone { id, suffix });
            return Ok(());
        }
        if discovering.namespaces.contains_key(&full) {
            return Ok(());
        }
        let room = account.charge(full.cost());
        let Some(room) = room.filter(|_| discovering.namespaces.len() < limit) else {
            self.give_up(id, ResetCode::ExcessiveLoad);
            return Ok(());
        };
        discovering.namespaces.insert(full, room);
        self.events.push_back(Event::Namespace { id, suffix });
        Ok(())
    }

    /// The peer could not PUBLISH a track.
    pub(super) fn receive_publish_blocked(
        &mut self,
        id: RequestId,
        blocked: PublishBlocked,
    ) -> Result<(), Close> {
        let Some(open) = self.requests.find(id) else {
            return Ok(());
        };
        if open.side != Side::Us || open.kind != Kind::SubscribeTracks {
            return Err(Close::violation(
                "PUBLISH_BLOCKED on the stream of another request",
            ));
        }
        if open.stage != Stage::Established {
            return Err(Close::violation(
                "V34: PUBLISH_BLOCKED before the request was accepted",
            ));
        }
        self.events.push_back(Event::PublishBlocked {
            id,
            suffix: blocked.suffix,
            name: blocked.name,
        });
        Ok(())
    }

    /// All namespaces of a request of ours that is over are gone (§ SUBSCRIBE_NAMESPACE).
    pub(super) fn namespaces_gone(&mut self, id: RequestId) {
        let Some(open) = self.requests.find_mut(id) else {
            return;
        };
        if open.side != Side::Us {
            return;
        }
        let Some(discovering) = open.discovering_mut() else {
            return;
        };
        let prefix = discovering.prefix.clone();
        for full in std::mem::take(&mut discovering.namespaces).into_keys() {
            if let Some(suffix) = full.strip_prefix(&prefix) {
                self.events.push_back(Event::NamespaceDone { id, suffix });
            }
        }
    }
}
