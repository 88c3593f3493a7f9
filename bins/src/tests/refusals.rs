//! Requests that come to nothing: the program fails, with a sentence that says why.

use oxymoq_core::code::RequestCode;
use oxymoq_core::session::{
    Event, Refusal, Request, Response, Role, Session, Settings as SessionSettings,
};
use oxymoq_core::sim::{Failure, Part, Program, Stage};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;

use super::*;

const DRAFTS: [Draft; 2] = Draft::ALL;

#[test]
fn a_fetch_from_the_future_is_refused() {
    for draft in DRAFTS {
        let mut scene = Scene::direct(draft, Mode::Spg);
        let job = Job::Fetch {
            start: at(1, 0),
            end_group: None,
        };
        let client = scene.client(job, Filter::LargestObject);
        let sentence = scene.fail(client);
        assert!(
            sentence.contains("INVALID_RANGE (fetch starts in future); ask for an earlier start"),
            "{sentence}"
        );
    }
}

#[test]
fn a_fetch_of_another_track_is_refused() {
    for draft in DRAFTS {
        let mut scene = Scene::direct(draft, Mode::Spg);
        let job = Job::Fetch {
            start: at(0, 0),
            end_group: None,
        };
        let client = scene.client_for("time", job, Filter::LargestObject, |_| {});
        let sentence = scene.fail(client);
        assert!(sentence.contains("DOES_NOT_EXIST"), "{sentence}");
        let client = scene.client_for("time", Job::JoinBack(0), Filter::LargestObject, |_| {});
        let sentence = scene.fail(client);
        assert!(
            sentence.contains("the subscription to moq.2ddate--time: DOES_NOT_EXIST"),
            "{sentence}"
        );
    }
}

#[test]
fn a_joining_fetch_that_starts_ahead_leaves_the_live_objects() {
    for draft in DRAFTS {
        let mut scene = Scene::direct(draft, Mode::Spg);
        let client = scene.client(Job::JoinAt(MINUTE + 5), Filter::LargestObject);
        scene.world.run_for(3 * SECOND);
        assert_eq!(scene.lines(client), printed(at(0, 12), at(0, 14), true));
    }
}

#[test]
fn a_joining_fetch_that_overtook_its_subscribe_is_sent_again() {
    let mut scene = Scene::direct(Draft::D18, Mode::Spg);
    let client = scene.client(Job::JoinBack(0), Filter::LargestObject);
    // Before the server's answers arrive, it seems to say that it does not know the subscription.
    scene.world.run_for(SECOND / 40);
    scene.world.with(client, |client: &mut Client, now| {
        client.seem_refused(now, RequestCode::InvalidJoiningRequestId);
    });
    scene.world.run_for(3 * SECOND);
    let mut expected = printed(at(0, 0), at(0, 11), false);
    expected.push("onEndOfStream".to_owned());
    expected.extend(printed(at(0, 12), at(0, 14), true));
    assert_eq!(scene.lines(client), expected);
}

/// A server that answers every request in one way, and breaks a FETCH off after that.
#[derive(Debug)]
struct Sullen {
    answer: Option<Refusal>,
    breaks_off: bool,
}

impl Part for Sullen {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let Event::Request { id, request } = event else {
            return Ok(());
        };
        let now = stage.now();
        if let Some(refusal) = self.answer.clone() {
            let session = stage.session(connection)?;
            let answered = session.respond(now, id, Response::Error(refusal));
            assert_eq!(answered, Ok(()));
        }
        if self.breaks_off && matches!(request, Request::Fetch(_)) {
            break_off(stage.session(connection)?, now, id);
        }
        Ok(())
    }
}

fn break_off(session: &mut Session, now: Time, id: RequestId) {
    session
        .cancel(now, id, oxymoq_core::code::ResetCode::InternalError)
        .unwrap();
}

fn sullen(draft: Draft, part: Sullen) -> Scene {
    let mut world = World::new(1);
    let settings = SessionSettings {
        accepted_paths: vec![Bytes::from_static(b"/moq-date")],
        ..SessionSettings::new(Role::Server)
    };
    let program = Program::server(settings, &[draft], Box::new(part));
    let date = world.add("sullen", program, TransportSettings::default());
    world.listen(date, "server", 4433, flags::alpns(&[draft]));
    Scene {
        world,
        draft,
        date,
        transport: TransportSettings::default(),
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let fetch = Job::Fetch {
        start: at(0, 0),
        end_group: None,
    };
    let cases = [
        (Job::Subscribe, "did not answer the subscription within 20s"),
        (fetch, "did not answer the FETCH within 20s"),
        (
            Job::Publish,
            "did not answer the SUBSCRIBE_TRACKS within 20s",
        ),
    ];
    for draft in DRAFTS {
        for (job, expected) in cases {
            let mut scene = sullen(
                draft,
                Sullen {
                    answer: None,
                    breaks_off: false,
                },
            );
            let client = scene.client(job, Filter::LargestObject);
            let sentence = scene.fail(client);
            assert!(sentence.contains(expected), "{sentence}");
            assert!(
                sentence.contains("--transaction_timeout allows more"),
                "{sentence}"
            );
        }
    }
}

#[test]
fn a_subscription_refused_for_its_range_is_fetched_instead() {
    for draft in DRAFTS {
        let refusal = Refusal::new(RequestCode::InvalidRange, "all past");
        let mut scene = sullen(
            draft,
            Sullen {
                answer: Some(refusal),
                breaks_off: false,
            },
        );
        let filter = Filter::AbsoluteStart(at(0, 0));
        let client = scene.client(Job::Subscribe, filter);
        let sentence = scene.fail(client);
        assert!(
            sentence.contains("refused the FETCH of moq.2ddate--date"),
            "{sentence}"
        );
        let client = scene.client(Job::Subscribe, Filter::LargestObject);
        let sentence = scene.fail(client);
        assert!(sentence.contains("refused the subscription"), "{sentence}");
    }
}

#[test]
fn a_fetch_that_is_broken_off_fails() {
    // In draft 16 nothing tells of a FETCH that is given up before its stream began.
    let part = Sullen {
        answer: None,
        breaks_off: true,
    };
    let mut scene = sullen(Draft::D18, part);
    let job = Job::Fetch {
        start: at(0, 0),
        end_group: None,
    };
    let client = scene.client(job, Filter::LargestObject);
    let sentence = scene.fail(client);
    assert!(sentence.contains("moqt://server"), "{sentence}");
}

#[test]
fn tracks_that_are_not_published_are_a_failure() {
    for draft in DRAFTS {
        let refusal = Refusal::new(RequestCode::NotSupported, "no");
        let mut scene = sullen(
            draft,
            Sullen {
                answer: Some(refusal),
                breaks_off: false,
            },
        );
        let client = scene.client(Job::Publish, Filter::LargestObject);
        let sentence = scene.fail(client);
        assert!(
            sentence.contains("refused to publish the tracks of"),
            "{sentence}"
        );
    }
}
