//! TRACK_STATUS.

use std::time::Duration;

use super::publish::{dynamic, property};
use super::*;
use crate::wire::message::{RequestOk, TrackStatus};

impl Rig {
    fn ask_status(&mut self, connection: ConnectionId, name: &str) -> RequestId {
        let request = Request::TrackStatus(TrackStatus {
            request_id: RequestId(0),
            track: track(name),
            parameters: Parameters::default(),
        });
        self.request(connection, request)
    }

    /// The TRACK_STATUSes that a far end got from the relay.
    fn status_asked(&self, connection: ConnectionId) -> Vec<RequestId> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Request {
                    id,
                    request: Request::TrackStatus(_),
                } => Some(*id),
                _ => None,
            })
            .collect()
    }

    fn tell_status(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        largest: Location,
        properties: Properties,
    ) {
        let ok = RequestOk {
            parameters: Parameters {
                largest_object: Some(largest),
                ..Parameters::default()
            },
            properties,
            ..RequestOk::default()
        };
        self.respond(connection, id, Response::Ok(ok));
    }

    #[track_caller]
    fn status(&self, connection: ConnectionId, id: RequestId) -> RequestOk {
        match self.answer(connection, id) {
            Some(Response::Ok(ok)) => ok,
            other => panic!("not told: {other:?}"),
        }
    }
}

// Rules: B315 (18)
#[test]
fn the_status_of_a_track_that_is_here_is_what_subscribe_ok_would_say() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let properties = dynamic(drafts.0);
        let up = rig.publish_with(publisher, track("v"), Parameters::default(), properties);
        let peer = rig.connect(drafts.1);
        let before = rig.ask_status(peer, "v");
        assert_eq!(rig.status(peer, before).parameters, Parameters::default());
        rig.subscribe(peer, "v");
        rig.group(publisher, up, 3, 2);
        let after = rig.ask_status(peer, "v");
        let ok = rig.status(peer, after);
        assert_eq!(ok.parameters.largest_object, Some(at(3, 1)));
        // Draft 16 has no room for properties there.
        assert_eq!(ok.properties.dynamic_groups(), drafts.1 == Draft::D18);
        assert_eq!(rig.status_asked(publisher), []);
        rig.end();
    }
}

#[test]
fn the_status_of_a_track_that_is_not_here_is_asked_once_for_all_and_no_subscription_is_made() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let peers = [rig.connect(drafts.1), rig.connect(drafts.1)];
        let ids = peers.map(|peer| rig.ask_status(peer, "v"));
        let [asked] = rig.status_asked(publisher)[..] else {
            panic!("not asked once");
        };
        rig.tell_status(publisher, asked, at(7, 1), property(drafts.0, 0x3F00, 5));
        for (peer, id) in peers.into_iter().zip(ids) {
            let ok = rig.status(peer, id);
            assert_eq!(ok.parameters.largest_object, Some(at(7, 1)));
            let told = drafts == (Draft::D18, Draft::D18);
            assert_eq!(ok.properties.integer(0x3F00), told.then_some(5));
        }
        assert_eq!(rig.asked(publisher), []);
        assert!(rig.relay.tracks.is_empty());
        rig.end();
    }
}

#[test]
fn the_first_publisher_that_knows_a_track_is_believed() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [0, 1, 2].map(|_| rig.publisher(drafts.0));
        let peer = rig.connect(drafts.1);
        let id = rig.ask_status(peer, "v");
        let asked = publishers.map(|publisher| rig.status_asked(publisher)[0]);
        rig.refuse(publishers[0], asked[0], RequestCode::Unauthorized);
        assert_eq!(rig.answer(peer, id), None);
        rig.tell_status(publishers[1], asked[1], at(1, 1), Properties::default());
        let ok = rig.status(peer, id);
        assert_eq!(ok.parameters.largest_object, Some(at(1, 1)));
        if drafts.0 == Draft::D18 {
            assert!(rig.withdrawn(publishers[2], asked[2]));
        } else {
            // Draft 16 cannot withdraw it: a late answer is not heard.
            rig.tell_status(publishers[2], asked[2], at(2, 2), Properties::default());
            rig.status(peer, id);
        }
        rig.end();
    }
}

#[test]
fn if_no_publisher_knows_a_track_the_refusal_that_says_most_is_passed_on() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [0, 1, 2].map(|_| rig.publisher(drafts.0));
        let peer = rig.connect(drafts.1);
        let id = rig.ask_status(peer, "v");
        let codes = [
            RequestCode::NotSupported,
            RequestCode::Unauthorized,
            RequestCode::DoesNotExist,
        ];
        for (publisher, code) in publishers.into_iter().zip(codes) {
            let asked = rig.status_asked(publisher)[0];
            rig.refuse(publisher, asked, code);
        }
        rig.assert_refused(peer, id, RequestCode::Unauthorized);
        rig.end();
    }
}

#[test]
fn the_status_of_a_track_that_nobody_announces_is_that_it_does_not_exist() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        let id = rig.ask_status(peer, "v");
        rig.assert_refused(peer, id, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_publisher_that_does_not_answer_is_given_up() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        rig.publisher(drafts.0);
        let peer = rig.connect(drafts.1);
        let id = rig.ask_status(peer, "v");
        rig.pass(Duration::from_secs(9));
        assert_eq!(rig.answer(peer, id), None);
        rig.pass(Duration::from_secs(2));
        rig.assert_refused(peer, id, RequestCode::Timeout);
        rig.end();
    }
}

#[test]
fn a_publisher_that_leaves_knows_nothing_and_a_peer_that_leaves_asks_nothing() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let leaving = rig.publisher(drafts.0);
        let publisher = rig.publisher(drafts.0);
        let peers = [rig.connect(drafts.1), rig.connect(drafts.1)];
        let ids = peers.map(|peer| rig.ask_status(peer, "v"));
        rig.leave(leaving);
        rig.lose(peers[0]);
        assert_eq!(rig.answer(peers[1], ids[1]), None);
        let asked = rig.status_asked(publisher)[0];
        rig.lose(peers[1]);
        if drafts.0 == Draft::D18 {
            assert!(rig.withdrawn(publisher, asked));
        }
        assert!(rig.relay.questions.is_empty());
        let peer = rig.connect(drafts.1);
        let id = rig.ask_status(peer, "v");
        rig.lose(publisher);
        rig.assert_refused(peer, id, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_question_about_a_track_can_be_withdrawn() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let id = rig.ask_status(peer, "v");
    rig.cancel(peer, id);
    assert!(rig.relay.questions.is_empty());
    let asked = rig.status_asked(publisher)[0];
    assert!(rig.withdrawn(publisher, asked));
    rig.end();
}

#[test]
fn questions_about_tracks_beyond_the_limit_are_refused() {
    let mut rig = Rig::with(limits(|limits| limits.max_statuses = 1));
    let publisher = rig.publisher(Draft::D18);
    let peer = rig.connect(Draft::D18);
    let first = rig.ask_status(peer, "v");
    let second = rig.ask_status(peer, "v");
    rig.assert_refused(peer, second, RequestCode::ExcessiveLoad);
    let asked = rig.status_asked(publisher)[0];
    rig.refuse(publisher, asked, RequestCode::DoesNotExist);
    rig.assert_refused(peer, first, RequestCode::DoesNotExist);
    rig.ask_status(peer, "v");
    assert_eq!(rig.status_asked(publisher).len(), 2);
    rig.end();
}
