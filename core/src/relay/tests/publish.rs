//! PUBLISH from peers: tracks that come by themselves.

use std::time::Duration;

use super::*;
use crate::wire::message::{Publish, RequestOk};
use crate::wire::property::Value;

impl Rig {
    /// PUBLISH of a track; its answer is not waited for.
    pub(super) fn publish_with(
        &mut self,
        connection: ConnectionId,
        track: FullTrackName,
        parameters: Parameters,
        properties: Properties,
    ) -> RequestId {
        let used = self.far[&connection].aliases.len();
        let alias = TrackAlias(500 + u64::try_from(used).unwrap());
        let publish = Request::Publish(Publish {
            request_id: RequestId(0),
            track,
            track_alias: alias,
            parameters,
            properties,
        });
        let id = self.request(connection, publish);
        self.far_mut(connection).aliases.insert(id, alias);
        id
    }

    /// PUBLISH of a track of the namespace `live` that has not left yet.
    fn begin_publish(&mut self, connection: ConnectionId, name: &str) -> RequestId {
        let now = self.now;
        let far = self.far_mut(connection);
        let publish = Request::Publish(publish_message(RequestId(0), name));
        let session = far.session.as_mut().unwrap();
        let id = session.request(now, publish).unwrap();
        far.aliases.insert(id, TrackAlias(7));
        id
    }

    /// PUBLISH of a track of the namespace `live`, accepted.
    pub(super) fn publish(&mut self, connection: ConnectionId, name: &str) -> RequestId {
        let (parameters, properties) = (Parameters::default(), Properties::default());
        let id = self.publish_with(connection, track(name), parameters, properties);
        self.publish_ok(connection, id);
        id
    }

    #[track_caller]
    pub(super) fn publish_ok(&self, connection: ConnectionId, id: RequestId) -> Parameters {
        match self.answer(connection, id) {
            Some(Response::Ok(ok)) => ok.parameters,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// A request of a raw client's where its draft has it. Returns the stream of the answer.
    pub(super) fn raw_request(&mut self, connection: ConnectionId, message: &Message) -> StreamId {
        let draft = self.far[&connection].draft;
        if draft == Draft::D18 {
            return self.raw_ask(connection, message);
        }
        let origin = crate::wire::message::Origin {
            profile: draft.profile(),
            sender: Role::Client,
            channel: Channel::Control,
        };
        let control = StreamId::peer(0);
        self.inject_on(connection, control, &message.encode(origin).unwrap());
        control
    }

    /// The answers to updates of a far end's.
    pub(super) fn update_answers(
        &self,
        connection: ConnectionId,
        of: RequestId,
    ) -> Vec<Result<RequestOk, Refusal>> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::UpdateResponse { id, response, .. } if *id == of => Some(response.clone()),
                _ => None,
            })
            .collect()
    }
}

/// A list of one property, as a peer of this draft writes it.
pub(super) fn property(draft: Draft, number: u64, value: u64) -> Properties {
    let list = [(number, Value::Integer(value))];
    Properties::from_list(draft.profile().integers, list).unwrap()
}

/// DYNAMIC_GROUPS
pub(super) fn dynamic(draft: Draft) -> Properties {
    property(draft, 0x30, 1)
}

fn publish_message(request_id: RequestId, name: &str) -> Publish {
    Publish {
        request_id,
        track: track(name),
        track_alias: TrackAlias(7),
        parameters: Parameters::default(),
        properties: Properties::default(),
    }
}

// Rules: B201
#[test]
fn a_publish_that_nobody_waits_for_is_accepted_and_not_forwarded() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.connect(draft);
        let id = rig.publish(publisher, "v");
        let ok = rig.publish_ok(publisher, id);
        let expected = Parameters {
            forward: Some(false),
            subscriber_priority: Some(128),
            ..Parameters::default()
        };
        assert_eq!(ok, expected);
        rig.end();
    }
}

#[test]
fn a_subscriber_of_a_published_track_is_answered_at_once_and_forwarding_follows_it() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let parameters = Parameters {
            largest_object: Some(at(4, 2)),
            ..Parameters::default()
        };
        let up = rig.publish_with(publisher, track("v"), parameters, dynamic(drafts.0));
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let ok = rig.ok(subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(4, 2)));
        assert!(ok.properties.dynamic_groups());
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.group(publisher, up, 5, 2);
        assert_eq!(rig.ids(subscriber, down), [(5, 0), (5, 1)]);
        rig.cancel(subscriber, down);
        assert_eq!(rig.updates(publisher, up), [forward(true), forward(false)]);
        assert!(!rig.withdrawn(publisher, up), "it stays published");
        let again = rig.subscribe(subscriber, "v");
        let ok = rig.ok(subscriber, again);
        assert_eq!(ok.parameters.largest_object, Some(at(5, 1)));
        rig.end();
    }
}

// Rules: B313
#[test]
fn b313_a_publish_of_a_track_with_subscribers_is_accepted_with_their_forward_state() {
    for wanted in [true, false] {
        for drafts in DRAFT_PAIRS {
            let mut rig = Rig::new();
            let announcer = rig.publisher(drafts.0);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe_to(subscriber, track("v"), forward(wanted));
            let asked = rig.only_asked(announcer);
            rig.accept(announcer, asked);
            let publisher = rig.connect(drafts.0);
            let up = rig.publish(publisher, "v");
            assert_eq!(rig.publish_ok(publisher, up).forward, Some(wanted));
            assert_eq!(rig.updates(publisher, up), []);
            // Whichever brings an object, it is passed on; twice brought, it is once.
            if wanted {
                rig.group(publisher, up, 0, 1);
                rig.group(announcer, asked, 0, 1);
                rig.group(announcer, asked, 1, 1);
                assert_eq!(rig.ids(subscriber, down), [(0, 0), (1, 0)]);
            }
            rig.end();
        }
    }
}

#[test]
fn subscriptions_that_wait_for_another_publisher_are_served_by_a_publish() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let silent = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        rig.only_asked(silent);
        assert_eq!(rig.answer(subscriber, down), None);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        assert_eq!(rig.publish_ok(publisher, up).forward, Some(true));
        rig.ok(subscriber, down);
        rig.group(publisher, up, 0, 2);
        assert_eq!(rig.ids(subscriber, down), [(0, 0), (0, 1)]);
        rig.end();
    }
}

#[test]
fn objects_that_come_before_the_answer_to_a_publish_are_not_lost() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let silent = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        rig.only_asked(silent);
        let publisher = rig.connect(drafts.0);
        // All in one go: the relay reads the object before its answer has left.
        let up = rig.begin_publish(publisher, "v");
        rig.group(publisher, up, 0, 2);
        rig.publish_ok(publisher, up);
        assert_eq!(rig.ids(subscriber, down), [(0, 0), (0, 1)]);
        rig.end();
    }
}

// Rules: B207
#[test]
fn b207_a_publish_takes_the_place_of_our_unanswered_subscribe() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        // The PUBLISH is on its way when the relay subscribes: peers are heard in the order of their coming.
        let subscriber = rig.connect(drafts.1);
        let publisher = rig.publisher(drafts.0);
        let up = rig.begin_publish(publisher, "v");
        let down = rig.subscribe(subscriber, "v");
        let is_subscribe = |output: &Output| matches!(output, Output::Write { bytes, .. } if bytes.first() == Some(&3));
        assert!(rig.far[&publisher].outputs.iter().any(is_subscribe));
        assert_eq!(rig.asked(publisher), [], "its own session has refused it");
        assert_eq!(rig.publish_ok(publisher, up).forward, Some(true));
        rig.ok(subscriber, down);
        assert_eq!(rig.relay.upstreams.len(), 1, "one source, not two");
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn a_publish_that_comes_after_the_refusal_of_our_subscribe_serves_who_waits() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let asked = rig.only_asked(publisher);
        rig.refuse(publisher, asked, RequestCode::DuplicateSubscription);
        assert_eq!(rig.answer(subscriber, down), None);
        let up = rig.publish(publisher, "v");
        rig.ok(subscriber, down);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        rig.pass(Duration::from_secs(11));
        assert_eq!(rig.relay.upstreams.len(), 1);
        rig.done_with(publisher, up, DoneCode::TrackEnded);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::TrackEnded);
        rig.end();
    }
}

#[test]
fn a_publish_that_was_promised_by_a_refusal_and_does_not_come_is_given_up() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let asked = rig.only_asked(publisher);
        rig.refuse(publisher, asked, RequestCode::DuplicateSubscription);
        rig.pass(Duration::from_secs(11));
        rig.assert_refused(subscriber, down, RequestCode::Timeout);
        rig.end();
    }
}

// Rules: B201, B205
#[test]
fn b205_a_second_publish_of_a_track_by_the_same_peer_is_a_duplicate() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.raw_of(draft);
        let publish = |id| Message::Publish(publish_message(RequestId(id), "v"));
        let first = rig.raw_request(peer, &publish(0));
        let second = rig.raw_request(peer, &publish(2));
        let mut answers = rig.raw_messages(peer, first);
        if first != second {
            answers.extend(rig.raw_messages(peer, second));
        }
        let [.., Message::RequestOk(_), Message::RequestError(error)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(error.code, RequestCode::DuplicateSubscription);
        assert_eq!(rig.relay.upstreams.len(), 1);
        rig.end();
    }
}

#[test]
fn a_track_lives_as_long_as_one_of_its_publishers_offers_it() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publishers = [rig.connect(drafts.0), rig.connect(drafts.0)];
        let ups = publishers.map(|publisher| rig.publish(publisher, "v"));
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        for (publisher, up) in publishers.into_iter().zip(ups) {
            assert_eq!(rig.updates(publisher, up), [forward(true)]);
        }
        rig.group(publishers[0], ups[0], 0, 1);
        rig.group(publishers[1], ups[1], 0, 1);
        rig.done_with(publishers[0], ups[0], DoneCode::TrackEnded);
        rig.group(publishers[1], ups[1], 1, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0), (1, 0)]);
        assert_eq!(rig.done(subscriber, down), None);
        rig.done_with(publishers[1], ups[1], DoneCode::TrackEnded);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::TrackEnded);
        rig.end();
    }
}

#[test]
fn a_publisher_may_publish_again_what_it_has_ended() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        for round in 0..3 {
            let up = rig.publish(publisher, "v");
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            rig.group(publisher, up, round, 1);
            assert_eq!(rig.ids(subscriber, down), [(round, 0)]);
            rig.done_with(publisher, up, DoneCode::TrackEnded);
            assert_eq!(rig.done_code(subscriber, down), DoneCode::TrackEnded);
        }
        rig.end();
    }
}

#[test]
fn subscribers_of_a_published_track_hear_of_the_loss_of_its_publisher() {
    for drafts in DRAFT_PAIRS {
        for loss in ["reset", "leave", "lose"] {
            let mut rig = Rig::new();
            let publisher = rig.connect(drafts.0);
            let up = rig.publish(publisher, "v");
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe(subscriber, "v");
            rig.ok(subscriber, down);
            match loss {
                "reset" => rig.done_with(publisher, up, DoneCode::InternalError),
                "leave" => rig.leave(publisher),
                _ => rig.lose(publisher),
            }
            rig.pass(Limits::default().publisher_grace);
            assert_eq!(rig.done_code(subscriber, down), DoneCode::InternalError);
            rig.end();
        }
    }
}

// Rules: B303
#[test]
fn b303_a_publish_announces_no_namespace_and_attracts_nothing_else() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        rig.publish(publisher, "v");
        let told = |event: &Event| matches!(event, Event::Namespace { id, .. } if *id == of);
        assert!(!rig.far[&watcher].events.iter().any(told));
        let other = rig.subscribe(watcher, "other");
        rig.assert_refused(watcher, other, RequestCode::DoesNotExist);
        assert_eq!(rig.asked(publisher), []);
        rig.end();
    }
}

// Rules: B048, B049
#[test]
fn b049_a_publish_with_an_unknown_mandatory_property_is_refused() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D18);
    let properties = property(Draft::D18, 0x4002, 1);
    let id = rig.publish_with(publisher, track("v"), Parameters::default(), properties);
    rig.assert_refused(publisher, id, RequestCode::UnsupportedExtension);
    rig.end();
}

#[test]
fn an_update_of_a_publish_by_its_publisher_is_answered_and_what_is_wanted_stays_so() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let subscriber = rig.connect(drafts.1);
        rig.subscribe(subscriber, "v");
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.update(publisher, up, Parameters::default());
        assert_eq!(rig.update_answers(publisher, up).len(), 1);
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.update(publisher, up, forward(false));
        assert_eq!(rig.update_answers(publisher, up).len(), 2);
        assert_eq!(rig.updates(publisher, up), [forward(true), forward(true)]);
        rig.end();
    }
}

#[test]
fn a_shutdown_ends_published_tracks() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let now = rig.now;
        rig.relay.handle_shutdown(now);
        rig.pump();
        assert!(rig.withdrawn(publisher, up));
        assert_eq!(rig.done_code(subscriber, down), DoneCode::GoingAway);
        let late = rig.act(publisher, |session, now| {
            let publish = publish_message(RequestId(0), "w");
            session.request(now, Request::Publish(publish))
        });
        assert!(late.is_err(), "it was told to leave");
        rig.end();
    }
}

#[test]
fn publishers_of_a_track_beyond_the_limit_are_refused() {
    let mut rig = Rig::with(limits(|limits| limits.max_publishers_per_track = 2));
    for _ in 0..2 {
        let publisher = rig.connect(Draft::D18);
        rig.publish(publisher, "v");
    }
    let late = rig.connect(Draft::D16);
    let (parameters, properties) = (Parameters::default(), Properties::default());
    let id = rig.publish_with(late, track("v"), parameters, properties);
    rig.assert_refused(late, id, RequestCode::ExcessiveLoad);
    rig.end();
}

#[test]
fn published_tracks_beyond_the_limit_are_refused() {
    let known = limits(|limits| limits.max_tracks = 1);
    let mut in_memory = Settings::default();
    in_memory.fanout.max_tracks = 1;
    for settings in [known, in_memory] {
        let mut rig = Rig::with(settings);
        let publisher = rig.connect(Draft::D18);
        rig.publish(publisher, "v");
        let (parameters, properties) = (Parameters::default(), Properties::default());
        let id = rig.publish_with(publisher, track("w"), parameters, properties);
        rig.assert_refused(publisher, id, RequestCode::ExcessiveLoad);
        rig.end();
    }
}

#[test]
fn publishers_are_told_to_send_at_first_and_to_pause_when_nobody_wants_objects_for_a_while() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        rig.relay.settings.limits.forward_linger = Duration::from_secs(10);
        let offerer = rig.connect(drafts.0);
        let offered = rig.publish(offerer, "v");
        assert_eq!(rig.publish_ok(offerer, offered).forward, Some(true));
        let announcer = rig.connect(drafts.0);
        rig.announce(announcer, &["other"]);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe_to(subscriber, track_in(&["other"], "w"), forward(false));
        let asked = rig.asked(announcer);
        assert_eq!(asked[0].1.parameters.forward, Some(true));
        rig.accept(announcer, asked[0].0);
        let ups = [(offerer, offered), (announcer, asked[0].0)];
        let check = |rig: &Rig, expected: &[Parameters]| {
            for (publisher, up) in ups {
                assert_eq!(rig.updates(publisher, up), expected);
            }
        };
        rig.pass(Duration::from_secs(9));
        check(&rig, &[]);
        rig.pass(Duration::from_secs(2));
        let mut expected = vec![forward(false)];
        check(&rig, &expected);
        // Who wants objects gets them at once, and who comes back in time finds them flowing.
        let own = rig.subscribe(subscriber, "v");
        rig.ok(subscriber, own);
        rig.ok(subscriber, down);
        rig.update(subscriber, down, forward(true));
        expected.push(forward(true));
        check(&rig, &expected);
        rig.cancel(subscriber, own);
        rig.update(subscriber, down, forward(false));
        rig.pass(Duration::from_secs(9));
        let own = rig.subscribe(subscriber, "v");
        rig.update(subscriber, down, forward(true));
        rig.pass(Duration::from_secs(9));
        check(&rig, &expected);
        rig.cancel(subscriber, own);
        rig.update(subscriber, down, forward(false));
        rig.pass(Duration::from_secs(11));
        expected.push(forward(false));
        check(&rig, &expected);
        rig.end();
    }
}

// Rules: B308
#[test]
fn b308_those_who_announced_a_namespace_are_asked_too_once_somebody_wants_a_published_track() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let announcer = rig.connect(draft);
        rig.announce(announcer, &["live"]);
        let publisher = rig.connect(draft);
        let published = rig.publish(publisher, "video");
        assert_eq!(rig.asked(announcer), [], "nobody wants it yet");
        let subscriber = rig.connect(draft);
        let wanted = rig.subscribe(subscriber, "video");
        rig.ok(subscriber, wanted);
        let asked = rig.only_asked(announcer);
        assert_eq!(rig.asked(publisher), [], "it publishes by itself");
        rig.accept(announcer, asked);
        // Each brings what the other has not brought.
        rig.group(publisher, published, 0, 2);
        rig.group(announcer, asked, 0, 2);
        rig.group(announcer, asked, 1, 2);
        assert_eq!(
            rig.ids(subscriber, wanted),
            [(0, 0), (0, 1), (1, 0), (1, 1)]
        );
        // A second subscriber changes nothing.
        let another = rig.connect(draft);
        let wanted = rig.subscribe(another, "video");
        rig.ok(another, wanted);
        assert_eq!(rig.asked(announcer).len(), 1);
    }
}
