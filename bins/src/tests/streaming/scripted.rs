//! The streamer with relays that do as they are told, rather than what a relay should do.

use std::collections::BTreeMap;

use oxymoq_core::code::ResetCode;
use oxymoq_core::session::{Event, Limits, Refusal, Request, Response, Role, Settings, Underlay};
use oxymoq_core::sim::{Failure, Part, Stage};
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::{Millis, RequestId};
use oxymoq_core::wire::message::{
    Fetch, FetchRange, GoAway, Interest, RequestOk, Subscribe, SubscribeNamespace, TrackStatus,
};

use super::*;

/// What becomes of the announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    /// It is accepted.
    #[default]
    Kind,
    /// It is refused.
    Rude,
    /// It is not answered.
    Mute,
    /// It is accepted, and withdrawn.
    Fickle,
    /// It is accepted, and the streamer sent elsewhere.
    Leaving,
}

/// A relay that asks its publisher for this and that.
#[derive(Debug, Default)]
struct Asker {
    manner: Manner,
    requests: Vec<Request>,
    asked: Vec<RequestId>,
    answers: BTreeMap<RequestId, Response>,
    namespaces: Vec<TrackNamespace>,
    announced: usize,
    /// Of each stream that came, whether it says that it begins with the first object of its subgroup.
    firsts: Vec<bool>,
}

impl Asker {
    fn answer(&self, number: usize) -> &Response {
        &self.answers[&self.asked[number]]
    }

    fn code(&self, number: usize) -> Option<RequestCode> {
        match self.answer(number) {
            Response::Error(refusal) => Some(refusal.code),
            Response::SubscribeOk(_) | Response::FetchOk(_) | Response::Ok(_) => None,
        }
    }

    fn announced(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
    ) -> Result<(), Failure> {
        let now = stage.now();
        self.announced += 1;
        let session = stage.session(connection)?;
        let words = |misuse: oxymoq_core::session::Misuse| misuse.to_string();
        let answer = match self.manner {
            Manner::Mute => return Ok(()),
            Manner::Rude => Response::Error(Refusal::new(RequestCode::Unauthorized, "go away")),
            Manner::Kind | Manner::Fickle | Manner::Leaving => Response::Ok(RequestOk::default()),
        };
        session.respond(now, id, answer).map_err(words)?;
        for request in self.requests.clone() {
            self.asked
                .push(session.request(now, request).map_err(words)?);
        }
        if self.manner == Manner::Fickle {
            session
                .cancel(now, id, ResetCode::Cancelled)
                .map_err(words)?;
        }
        if self.manner == Manner::Leaving {
            let goaway = GoAway {
                uri: Bytes::from_static(b"moqt://other:4433/moq-date"),
                timeout: Millis(0),
                request_id: None,
            };
            session.go_away(now, None, goaway).map_err(words)?;
        }
        Ok(())
    }
}

impl Part for Asker {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "it has no use for the others"
    )]
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Request {
                id,
                request: Request::PublishNamespace(_),
            } => self.announced(stage, connection, id)?,
            Event::Response { id, response } => {
                self.answers.insert(id, response);
            }
            Event::Namespace { suffix, .. } => self.namespaces.push(suffix),
            Event::SubgroupOpened { header, .. } => self.firsts.push(header.first_object),
            _ => {}
        }
        Ok(())
    }
}

/// Adds a scripted relay with this name.
fn add_asker(world: &mut World, host: &str, draft: Draft, asker: Asker) -> NodeId {
    let settings = Settings {
        role: Role::Server,
        underlay: Underlay::RawQuic,
        path: Bytes::new(),
        authority: Bytes::new(),
        accepted_paths: vec![Bytes::from_static(b"/moq-date")],
        implementation: Bytes::from_static(b"asker"),
        authorization_tokens: Vec::new(),
        limits: Limits::default(),
    };
    let program = Program::server(settings, &[draft], Box::new(asker));
    let node = world.add(host, program, TransportSettings::default());
    world.listen(node, host, 4433, flags::alpns(&[draft]));
    node
}

/// A world with a scripted relay and a streamer that is given 20 frames.
fn scene(draft: Draft, asker: Asker) -> (World, NodeId, NodeId) {
    let mut world = World::new(1);
    let relay = add_asker(&mut world, "server", draft, asker);
    let (streamer, input) = add_streamer(&mut world, draft, job());
    let flv = Flv::configured().frames(20).0;
    input.send(Chunk::Data(Bytes::from(flv))).unwrap();
    // It goes on as long as somebody could send more.
    std::mem::forget(input);
    (world, relay, streamer)
}

fn track(track: &str) -> FullTrackName {
    FullTrackName::new(job().namespace, name(track)).unwrap()
}

fn fetch(name: &str, start: Location, end: Location) -> Request {
    Request::Fetch(Fetch {
        request_id: RequestId(0),
        range: FetchRange::Standalone {
            track: track(name),
            start,
            end,
        },
        parameters: Parameters::default(),
    })
}

// Rules: B033
#[test]
fn every_subgroup_says_that_it_begins_with_its_first_object() {
    let asker = Asker {
        requests: [VIDEO, AUDIO]
            .map(|name| {
                Request::Subscribe(Subscribe {
                    request_id: RequestId(0),
                    track: track(name),
                    parameters: Parameters::default(),
                })
            })
            .to_vec(),
        ..Asker::default()
    };
    // Only draft 18 can say it: what draft 16 does not say is read as unknown.
    let (mut world, relay, _streamer) = scene(Draft::D18, asker);
    world.run_for(5 * SECOND);
    let asker = world.node::<Program<Asker>>(relay).part();
    assert!(asker.firsts.len() > 10, "{:?}", asker.firsts);
    assert!(asker.firsts.iter().all(|first| *first));
}

#[test]
fn what_the_relay_asks_for_in_vain_is_refused_with_the_proper_code() {
    for draft in DRAFTS {
        let all = (Location::new(0, 0), Location::new(1 << 61, 0));
        let subscribe = |name| {
            Request::Subscribe(Subscribe {
                request_id: RequestId(0),
                track: name,
                parameters: Parameters::default(),
            })
        };
        let elsewhere = FullTrackName::new(namespace(), name(VIDEO)).unwrap();
        let status = Request::TrackStatus(TrackStatus {
            request_id: RequestId(0),
            track: track(AUDIO),
            parameters: Parameters::default(),
        });
        let under = Request::SubscribeNamespace(SubscribeNamespace {
            request_id: RequestId(0),
            prefix: TrackNamespace::new(["live"]).unwrap(),
            interest: Interest::Namespaces,
            parameters: Parameters::default(),
        });
        let asker = Asker {
            requests: vec![
                fetch(VIDEO, all.0, all.1),
                fetch("video7", all.0, all.1),
                fetch(catalog::TRACK_NAME, Location::new(1 << 60, 0), all.1),
                subscribe(track("video7")),
                subscribe(elsewhere),
                status,
                under,
            ],
            ..Asker::default()
        };
        let (mut world, relay, _streamer) = scene(draft, asker);
        world.run_for(SECOND);
        let asker = world.node::<Program<Asker>>(relay).part();
        let codes: Vec<Option<RequestCode>> = (0..7).map(|number| asker.code(number)).collect();
        let (gone, range) = (RequestCode::DoesNotExist, RequestCode::InvalidRange);
        let refused = [Some(range), Some(gone), Some(range), Some(gone), Some(gone)];
        assert_eq!(codes[..5], refused, "{draft:?}");
        assert_eq!(codes[5..], [None, None], "{draft:?}");
        assert_eq!(asker.namespaces, [TrackNamespace::new(["show"]).unwrap()]);
    }
}

#[test]
fn relays_that_do_not_take_the_namespace_are_told_of() {
    for (manner, words) in [
        (
            Manner::Rude,
            "refused the namespace live-show: UNAUTHORIZED (go away)",
        ),
        (
            Manner::Mute,
            "did not answer within 10s; --transaction_timeout",
        ),
        (Manner::Fickle, "withdrew the namespace live-show"),
    ] {
        for draft in DRAFTS {
            let asker = Asker {
                manner,
                ..Asker::default()
            };
            let (mut world, _relay, streamer) = scene(draft, asker);
            world.run_for(15 * SECOND);
            let Some(Exit::Failure(why)) = world.exit(streamer) else {
                panic!("{manner:?}: {:?}", world.exit(streamer));
            };
            assert!(why.contains(words), "{draft:?}: {why}");
        }
    }
}

// Rules: B166, B171
#[test]
fn a_relay_that_names_another_one_is_left_for_that() {
    for draft in DRAFTS {
        let leaving = Asker {
            manner: Manner::Leaving,
            ..Asker::default()
        };
        let (mut world, _relay, streamer) = scene(draft, leaving);
        let other = add_asker(&mut world, "other", draft, Asker::default());
        world.run_for(5 * SECOND);
        assert_eq!(world.exit(streamer), None, "{draft:?}");
        assert_eq!(world.node::<Program<Asker>>(other).part().announced, 1);
    }
}
