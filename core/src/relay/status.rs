//! TRACK_STATUS: answered from the track if it is here, else by those who publish it.
//!
//! A track is here while a subscription to it is established upstream; then this relay knows what its SUBSCRIBE_OK would
//! say. Otherwise every publisher of the namespace is asked, once for all who want to know, and the first that knows is
//! believed (§ TRACK_STATUS).

use std::collections::{BTreeMap, BTreeSet};

use log::debug;

use super::room::no_room_for_names;
use super::routes::Origin;
use super::tracks::no_such_track;
use super::{Relay, of_connection, overloaded};
use crate::code::{RequestCode, ResetCode};
use crate::ledger::Charge;
use crate::session::{Misuse, Refusal, Request, Response};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{RequestOk, TrackStatus};
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// A question that publishers were asked, and those who wait for the answer.
#[derive(Debug)]
struct Question {
    /// Our TRACK_STATUSes that are not answered.
    asked: BTreeSet<Origin>,
    /// Our peers' TRACK_STATUSes.
    waiting: BTreeSet<Origin>,
    /// The best answer so far, if nobody knows more.
    refusal: Refusal,
    /// When those who have not answered have not understood.
    give_up: Time,
    /// What the name takes.
    _room: Charge,
}

/// Everything that publishers were asked about the status of tracks.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<FullTrackName, Question>,
    /// Which track each TRACK_STATUS is about, ours and our peers'.
    names: BTreeMap<Origin, FullTrackName>,
    deadlines: BTreeSet<(Time, FullTrackName)>,
    /// TRACK_STATUSes of peers that wait.
    waiting: usize,
}

impl Questions {
    /// When the first of them is given up.
    pub(super) fn next(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// Forgets a question.
    fn close(&mut self, name: &FullTrackName) -> Option<Question> {
        let question = self.open.remove(name)?;
        self.deadlines.remove(&(question.give_up, name.clone()));
        for origin in question.asked.iter().chain(&question.waiting) {
            self.names.remove(origin);
        }
        self.waiting = self.waiting.saturating_sub(question.waiting.len());
        Some(question)
    }

    /// Nothing is left, and the tables agreed until the end.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
            && self.names.is_empty()
            && self.deadlines.is_empty()
            && self.waiting == 0
    }
}

impl Relay {
    /// TRACK_STATUS
    pub(super) fn status(&mut self, now: Time, origin: Origin, request: TrackStatus) {
        let name = request.track;
        let live = self.tracks.get(&name).and_then(|track| track.live);
        // If it only comes from other shards, and is not wanted here, they know better.
        let is_known = |_: &_| self.links_offering(&name).is_empty() || !self.is_behind(&name);
        if let Some(live) = live.filter(is_known) {
            let fanout = &self.publisher.fanout;
            let largest = fanout.largest(live);
            let properties = fanout.properties(live).cloned().unwrap_or_default();
            return self.tell_status(now, origin, largest, &properties);
        }
        if self.questions.waiting >= self.settings.limits.max_statuses {
            let refusal = overloaded("too many questions about tracks");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let is_new = !self.questions.open.contains_key(&name);
        let refusal = if is_new {
            match self.room_for_track(origin.connection, &name) {
                Some(room) => self.ask_status(now, &name, origin.connection, room),
                None => no_room_for_names(),
            }
        } else {
            no_such_track()
        };
        let Some(question) = self.questions.open.get_mut(&name) else {
            return self.respond(now, origin, Response::Error(refusal));
        };
        question.waiting.insert(origin);
        self.questions.names.insert(origin, name);
        self.questions.waiting += 1;
    }

    /// Asks the publishers of a track about it. Returns what to say if there is none.
    fn ask_status(
        &mut self,
        now: Time,
        name: &FullTrackName,
        asker: ConnectionId,
        room: Charge,
    ) -> Refusal {
        let mut refusal = no_such_track();
        let mut asked: BTreeSet<Origin> = BTreeSet::new();
        let announced = self.routes.publishers_of(&name.namespace).into_iter();
        let announced = announced.map(|route| (route.connection, self.discovery.is_learned(route)));
        let offering = self.links_offering(name).into_iter();
        let publishers: Vec<_> = announced.chain(offering.map(|link| (link, true))).collect();
        for (connection, is_learned) in publishers {
            if connection == asker && is_learned {
                continue; // A relay that asks us does not know it.
            }
            let is_link = self.is_link(connection);
            if is_link && self.is_link(asker) {
                continue; // What is asked over a link is answered from here.
            }
            let limits = &self.settings.limits;
            let is_asked = asked.iter().any(|origin| origin.connection == connection);
            let is_full = asked.len() >= limits.max_publishers_per_track && !is_link;
            if is_asked || is_full {
                continue;
            }
            let Some(session) = self.publisher.peers.session(connection) else {
                continue;
            };
            let question = Request::TrackStatus(TrackStatus {
                request_id: RequestId(0),
                track: name.clone(),
                parameters: Parameters::default(),
            });
            match session.request(now, question) {
                Ok(request) => {
                    asked.insert(Origin {
                        connection,
                        request,
                    });
                }
                Err(Misuse::Blocked) => {
                    refusal = overloaded("the publisher takes no more requests");
                }
                Err(misuse) => debug!("{connection}: cannot ask about {name}: {misuse}"),
            }
        }
        if !asked.is_empty() {
            let give_up = now + self.settings.limits.answer_timeout;
            let names = asked.iter().map(|origin| (*origin, name.clone()));
            self.questions.names.extend(names);
            self.questions.deadlines.insert((give_up, name.clone()));
            let question = Question {
                asked,
                waiting: BTreeSet::new(),
                refusal: refusal.clone(),
                give_up,
                _room: room,
            };
            self.questions.open.insert(name.clone(), question);
        }
        refusal
    }

    /// A publisher knows the track.
    pub(super) fn status_known(&mut self, now: Time, origin: Origin, ok: &RequestOk) {
        let Some(name) = self.questions.names.get(&origin).cloned() else {
            return;
        };
        let Some(mut question) = self.questions.close(&name) else {
            return;
        };
        question.asked.remove(&origin);
        for other in question.asked {
            self.cancel(now, other, ResetCode::Cancelled);
        }
        for waiting in question.waiting {
            let largest = ok.parameters.largest_object;
            self.tell_status(now, waiting, largest, &ok.properties);
        }
    }

    /// A publisher does not know the track, or does not tell. False if it was not asked.
    pub(super) fn status_unknown(
        &mut self,
        now: Time,
        origin: Origin,
        refusal: Option<&Refusal>,
    ) -> bool {
        let Some(name) = self.questions.names.get(&origin).cloned() else {
            return false;
        };
        let Some(question) = self.questions.open.get_mut(&name) else {
            return false;
        };
        if question.waiting.remove(&origin) {
            self.questions.names.remove(&origin);
            self.questions.waiting = self.questions.waiting.saturating_sub(1);
            return self.forget_question_if_idle(now, &name);
        }
        question.asked.remove(&origin);
        self.questions.names.remove(&origin);
        if let Some(refusal) = refusal
            && says_more(refusal, &question.refusal)
        {
            question.refusal = refusal.clone();
        }
        if question.asked.is_empty() {
            self.refuse_status(now, &name, None);
        }
        true
    }

    /// Nobody wants to know any more: nor do we.
    fn forget_question_if_idle(&mut self, now: Time, name: &FullTrackName) -> bool {
        let is_idle = |question: &Question| question.waiting.is_empty();
        if self.questions.open.get(name).is_some_and(is_idle)
            && let Some(question) = self.questions.close(name)
        {
            for asked in question.asked {
                self.cancel(now, asked, ResetCode::Cancelled);
            }
        }
        true
    }

    fn refuse_status(&mut self, now: Time, name: &FullTrackName, refusal: Option<Refusal>) {
        let Some(question) = self.questions.close(name) else {
            return;
        };
        for asked in question.asked {
            self.cancel(now, asked, ResetCode::Cancelled);
        }
        let refusal = refusal.unwrap_or(question.refusal);
        for waiting in question.waiting {
            self.respond(now, waiting, Response::Error(refusal.clone()));
        }
    }

    /// Gives up questions that were not answered in time.
    pub(super) fn expire_questions(&mut self, now: Time) {
        while let Some((deadline, name)) = self.questions.deadlines.first().cloned()
            && deadline <= now
        {
            let refusal = Refusal::new(RequestCode::Timeout, "the publisher did not answer");
            self.refuse_status(now, &name, Some(refusal));
        }
    }

    /// A peer is gone: it neither asks nor answers any more.
    pub(super) fn forget_questions(&mut self, now: Time, connection: ConnectionId) {
        for origin in of_connection(&self.questions.names, connection) {
            self.status_unknown(now, origin, None);
        }
    }

    /// TRACK_STATUS_OK: what SUBSCRIBE_OK would have said.
    fn tell_status(
        &mut self,
        now: Time,
        origin: Origin,
        largest_object: Option<Location>,
        properties: &Properties,
    ) {
        let session = self.publisher.peers.session(origin.connection);
        let Some(profile) = session.and_then(|session| session.profile()) else {
            return;
        };
        let response = match properties.reencode(profile.integers) {
            Ok(properties) => Response::Ok(RequestOk {
                parameters: Parameters {
                    largest_object,
                    ..Parameters::default()
                },
                properties,
                ..RequestOk::default()
            }),
            Err(error) => Response::Error(Refusal::new(RequestCode::InternalError, error.0)),
        };
        self.respond(now, origin, response);
    }
}

/// Whether a refusal tells more than another one: that a track does not exist is what is said when nothing is known.
fn says_more(new: &Refusal, old: &Refusal) -> bool {
    const fn rank(code: RequestCode) -> u8 {
        if matches!(code, RequestCode::Redirect) {
            0 // Where to is not for those who asked us.
        } else if matches!(code, RequestCode::DoesNotExist) {
            1
        } else if matches!(code, RequestCode::NotSupported) {
            2
        } else {
            3
        }
    }
    rank(new.code) > rank(old.code)
}
