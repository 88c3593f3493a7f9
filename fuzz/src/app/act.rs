//! What the application does: requests, answers, names, and the ends of all that.

use oxymoq_core::code::{DoneCode, ResetCode};
use oxymoq_core::session::{Request, Response};
use oxymoq_core::time::Time;
use oxymoq_core::wire::id::{Location, Millis, RequestId, TrackAlias};
use oxymoq_core::wire::message::{
    Fetch, FetchOk, FetchRange, GoAway, Interest, Publish, PublishNamespace, RequestOk, Subscribe,
    SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

use super::App;
use super::arriving::Place;
use super::chosen::{some_parameters, some_refusal, some_reset, some_update};
use crate::choices::Choices;
use crate::content::{self, GROUPS, OBJECTS};

impl App {
    /// One thing.
    pub(crate) fn act(&mut self, now: Time, choices: &mut Choices<'_>) {
        match choices.below(24) {
            0..4 => self.ask(now, choices),
            4..8 => self.answer(now, choices),
            8 => {
                let id = self.some_request(choices);
                let _unfit = self.session().update(now, id, some_update(choices));
            }
            9 => {
                if let Some((id, update)) = self.updates.pop() {
                    let response = if choices.chance(3) {
                        Err(some_refusal(choices))
                    } else {
                        Ok(RequestOk::default())
                    };
                    let _over = self.session().respond_to_update(now, id, update, response);
                }
            }
            10 => {
                let id = self.some_request(choices);
                let code = some_reset(choices);
                if self.session().cancel(now, id, code).is_ok() {
                    self.feeds.retain(|feed| feed.request != id);
                    self.unanswered.retain(|(request, _)| *request != id);
                }
            }
            11 => {
                let id = self.some_request(choices);
                let code = choices.one(DoneCode::ALL).unwrap_or(DoneCode::TrackEnded);
                let _unfit = self.session().done(now, id, code, "over");
            }
            12 | 13 => self.open(now, choices),
            14..17 => self.publish(now, choices, 1),
            17 => self.publish(now, choices, 8),
            18 => self.close_feed(now, choices),
            19 => self.send_datagram(now, choices),
            20 => self.tell_names(now, choices),
            21 => self.hold_back(now, choices),
            22 => self.go_away(now, choices),
            _ => {
                let feed = self.feeds.get(choices.below(self.feeds.len()));
                if let Some(stream) = feed.map(|feed| feed.stream) {
                    let session = self.session();
                    session.subgroup_complete(now, stream);
                    let _over = session.set_publisher_priority(stream, choices.byte());
                }
            }
        }
    }

    pub(super) fn some_request(&self, choices: &mut Choices<'_>) -> RequestId {
        let at = choices.below(self.requests.len());
        self.requests.get(at).copied().unwrap_or(RequestId(0))
    }

    fn ask(&mut self, now: Time, choices: &mut Choices<'_>) {
        let request_id = RequestId(0);
        let request = match choices.below(10) {
            0..3 => Request::Subscribe(Subscribe {
                request_id,
                track: content::track(choices),
                parameters: some_parameters(choices),
            }),
            3 => Request::Publish(Publish {
                request_id,
                track: content::track(choices),
                track_alias: TrackAlias(u64::from(choices.byte() & 7)),
                parameters: some_parameters(choices),
                properties: Properties::default(),
            }),
            4 | 5 => Request::Fetch(Fetch {
                request_id,
                range: self.some_range(choices),
                parameters: some_parameters(choices),
            }),
            6 => Request::TrackStatus(TrackStatus {
                request_id,
                track: content::track(choices),
                parameters: Parameters::default(),
            }),
            7 => Request::PublishNamespace(PublishNamespace {
                request_id,
                namespace: content::namespace(choices),
                parameters: Parameters::default(),
            }),
            8 => Request::SubscribeNamespace(SubscribeNamespace {
                request_id,
                prefix: content::namespace(choices),
                interest: choices
                    .one(&[Interest::Namespaces, Interest::Tracks, Interest::Both])
                    .unwrap_or_default(),
                parameters: some_parameters(choices),
            }),
            _ => Request::SubscribeTracks(SubscribeTracks {
                request_id,
                prefix: content::namespace(choices),
                parameters: some_parameters(choices),
            }),
        };
        let alias = match &request {
            Request::Publish(publish) => Some(publish.track_alias),
            Request::Subscribe(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => None,
        };
        if let Ok(id) = self.session().request(now, request) {
            self.know(id);
            if let Some(alias) = alias {
                self.aliases.insert(id, alias);
            }
        }
    }

    fn some_range(&self, choices: &mut Choices<'_>) -> FetchRange {
        let joining_start = u64::from(choices.byte() % 6);
        let joining_request_id = self.some_request(choices);
        match choices.below(3) {
            0 => FetchRange::Standalone {
                track: content::track(choices),
                start: Location::new(joining_start, u64::from(choices.byte() % 9)),
                end: Location::new(
                    joining_start + u64::from(choices.byte() % 4),
                    u64::from(choices.byte() % 10),
                ),
            },
            1 => FetchRange::RelativeJoining {
                joining_request_id,
                joining_start,
            },
            _ => FetchRange::AbsoluteJoining {
                joining_request_id,
                joining_start,
            },
        }
    }

    fn answer(&mut self, now: Time, choices: &mut Choices<'_>) {
        let at = choices.below(self.unanswered.len());
        if at >= self.unanswered.len() {
            return;
        }
        let (id, request) = self.unanswered.swap_remove(at);
        let parameters = Parameters {
            largest_object: choices.chance(2).then(|| {
                Location::new(
                    u64::from(choices.byte()) % GROUPS,
                    u64::from(choices.byte()) % OBJECTS,
                )
            }),
            ..Parameters::default()
        };
        let alias = TrackAlias(u64::from(choices.byte() & 7));
        let response = if choices.chance(4) {
            Response::Error(some_refusal(choices))
        } else {
            match &request {
                Request::Subscribe(_) => Response::SubscribeOk(SubscribeOk {
                    request_id: None,
                    track_alias: alias,
                    parameters,
                    properties: Properties::default(),
                }),
                Request::Fetch(fetch) => Response::FetchOk(FetchOk {
                    request_id: None,
                    end_of_track: false,
                    end: end_of(&fetch.range),
                    parameters: Parameters::default(),
                    properties: Properties::default(),
                }),
                Request::TrackStatus(_) => Response::Ok(RequestOk {
                    parameters,
                    ..RequestOk::default()
                }),
                Request::Publish(_)
                | Request::PublishNamespace(_)
                | Request::SubscribeNamespace(_)
                | Request::SubscribeTracks(_) => Response::Ok(RequestOk::default()),
            }
        };
        let is_fetch = matches!(request, Request::Fetch(_));
        match self.session().respond(now, id, response.clone()) {
            Ok(()) => {
                if let Response::SubscribeOk(_) = response {
                    self.aliases.insert(id, alias);
                }
                if is_fetch && matches!(response, Response::FetchOk(_)) {
                    self.unanswered.push((id, request));
                    self.open_fetch(now, id);
                }
            }
            Err(_) => self.unanswered.push((id, request)),
        }
    }

    fn tell_names(&mut self, now: Time, choices: &mut Choices<'_>) {
        let id = self.some_request(choices);
        let suffix = content::namespace(choices);
        let _unfit = match choices.below(3) {
            0 => self.session().namespace(now, id, &suffix),
            1 => self.session().namespace_done(now, id, &suffix),
            _ => {
                let name = content::track(choices).name;
                self.session().publish_blocked(now, id, &suffix, &name)
            }
        };
    }

    /// Reads no more for a while, or not at all.
    fn hold_back(&mut self, now: Time, choices: &mut Choices<'_>) {
        let places: Vec<Place> = self.receiving.keys().copied().collect();
        let at = choices.below(places.len());
        let how = choices.below(3);
        match (places.get(at), how) {
            (Some(Place::Stream(stream)), 0) => self.session().pause_stream(*stream),
            (Some(Place::Stream(stream)), 1) => self.session().resume_stream(*stream),
            (Some(Place::Stream(stream)), _) => {
                let code = some_reset(choices);
                self.session().stop_stream(now, *stream, code);
            }
            (Some(Place::Fetch(id)), 0) => self.session().pause_fetch(*id),
            (Some(Place::Fetch(id)), _) => self.session().resume_fetch(*id),
            (None, _) => {}
        }
    }

    fn go_away(&mut self, now: Time, choices: &mut Choices<'_>) {
        if !choices.chance(4) {
            return;
        }
        let id = choices.chance(2).then(|| self.some_request(choices));
        let goaway = GoAway {
            timeout: Millis(u64::from(choices.byte())),
            ..GoAway::default()
        };
        let _unfit = self.session().go_away(now, id, goaway);
    }

    /// Ends every request that is still there.
    pub(crate) fn cancel_all(&mut self, now: Time) {
        for id in self.requests.clone() {
            let _over = self.session().cancel(now, id, ResetCode::Cancelled);
        }
    }
}

const fn end_of(range: &FetchRange) -> Location {
    match range {
        FetchRange::Standalone { end, .. } => *end,
        // The session made them absolute.
        FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => {
            Location::new(0, 0)
        }
    }
}
