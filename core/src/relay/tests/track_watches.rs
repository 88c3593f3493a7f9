//! SUBSCRIBE_TRACKS, and the PUBLISHes that it brings.

use super::publish::dynamic;
use super::*;
use crate::wire::message::{Publish, RequestOk, SubscribeTracks};
use crate::wire::param::GroupOrder;

impl Rig {
    /// SUBSCRIBE_TRACKS; in draft 16 a SUBSCRIBE_NAMESPACE for tracks only.
    pub(super) fn watch_tracks_with(
        &mut self,
        connection: ConnectionId,
        fields: &[&str],
        parameters: Parameters,
    ) -> RequestId {
        let request = Request::SubscribeTracks(SubscribeTracks {
            request_id: RequestId(0),
            prefix: namespace(fields),
            parameters,
        });
        self.request(connection, request)
    }

    /// SUBSCRIBE_TRACKS, accepted.
    pub(super) fn watch_tracks(&mut self, connection: ConnectionId, fields: &[&str]) -> RequestId {
        let id = self.watch_tracks_with(connection, fields, Parameters::default());
        assert!(matches!(self.answer(connection, id), Some(Response::Ok(_))));
        id
    }

    /// The PUBLISHes that a far end got from the relay.
    pub(super) fn offers(&self, connection: ConnectionId) -> Vec<(RequestId, Publish)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Request {
                    id,
                    request: Request::Publish(publish),
                } => Some((*id, publish.clone())),
                _ => None,
            })
            .collect()
    }

    /// The only PUBLISH that a far end got from the relay.
    #[track_caller]
    pub(super) fn only_offer(&self, connection: ConnectionId) -> (RequestId, Publish) {
        match self.offers(connection).as_slice() {
            [offer] => offer.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn offered(&self, connection: ConnectionId) -> Vec<FullTrackName> {
        let offers = self.offers(connection).into_iter();
        offers.map(|(_, publish)| publish.track).collect()
    }

    /// PUBLISH_OK
    pub(super) fn take(&mut self, connection: ConnectionId, id: RequestId, parameters: Parameters) {
        let ok = RequestOk {
            parameters,
            ..RequestOk::default()
        };
        self.respond(connection, id, Response::Ok(ok));
    }

    /// What a far end was told that it cannot be offered.
    fn blocked(&self, connection: ConnectionId, of: RequestId) -> Vec<(TrackNamespace, TrackName)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::PublishBlocked { id, suffix, name } if *id == of => {
                    Some((suffix.clone(), name.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

fn largest(location: Location) -> Parameters {
    Parameters {
        largest_object: Some(location),
        ..Parameters::default()
    }
}

// Rules: B305, B310, B315
#[test]
fn b310_tracks_that_exist_and_those_that_come_are_offered_to_watchers_of_their_prefixes() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let publish = |rig: &mut Rig, fields: &[&str], name| {
            let (parameters, properties) = (largest(at(3, 1)), dynamic(drafts.0));
            rig.publish_with(publisher, track_in(fields, name), parameters, properties)
        };
        publish(&mut rig, &["a", "b"], "old");
        publish(&mut rig, &["ab"], "other");
        let watchers: [(_, &[&str]); 4] = [
            (rig.connect(drafts.1), &["a"]),
            (rig.connect(drafts.1), &["a", "b"]),
            (rig.connect(drafts.1), &[]),
            (rig.connect(drafts.1), &["a", "c"]),
        ];
        for (watcher, prefix) in watchers {
            rig.watch_tracks(watcher, prefix);
        }
        publish(&mut rig, &["a", "b"], "new");
        let old = track_in(&["a", "b"], "old");
        let new = track_in(&["a", "b"], "new");
        let other = track_in(&["ab"], "other");
        assert_eq!(rig.offered(watchers[0].0), [old.clone(), new.clone()]);
        assert_eq!(rig.offered(watchers[1].0), [old.clone(), new.clone()]);
        assert_eq!(rig.offered(watchers[2].0), [old, other, new]);
        assert_eq!(rig.offered(watchers[3].0), []);
        for (_, offer) in rig.offers(watchers[0].0) {
            assert_eq!(offer.parameters.largest_object, Some(at(3, 1)));
            assert_eq!(offer.parameters.forward, Some(true));
            assert!(offer.properties.dynamic_groups(), "B315");
        }
        rig.end();
    }
}

#[test]
fn objects_of_an_offered_track_come_before_its_answer_and_after_it() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        assert_eq!(rig.publish_ok(publisher, up).forward, Some(true));
        let (down, _) = rig.only_offer(watcher);
        rig.group(publisher, up, 0, 2);
        assert_eq!(rig.ids(watcher, down), [(0, 0), (0, 1)]);
        rig.take(watcher, down, Parameters::default());
        rig.group(publisher, up, 1, 1);
        assert_eq!(rig.ids(watcher, down), [(0, 0), (0, 1), (1, 0)]);
        rig.done_with(publisher, up, DoneCode::TrackEnded);
        let done = rig.done(watcher, down).unwrap();
        assert_eq!(done.code, DoneCode::TrackEnded);
        assert_eq!(done.stream_count, Some(2));
        rig.end();
    }
}

#[test]
fn draft_16_may_ask_for_namespaces_and_tracks_at_once() {
    let mut rig = Rig::new();
    let watcher = rig.connect(Draft::D16);
    let request = Request::SubscribeNamespace(SubscribeNamespace {
        request_id: RequestId(0),
        prefix: namespace(&["live"]),
        interest: Interest::Both,
        parameters: forward(false),
    });
    let of = rig.request(watcher, request);
    let publisher = rig.publisher(Draft::D18);
    let up = rig.publish(publisher, "v");
    assert_eq!(rig.publish_ok(publisher, up).forward, Some(false));
    let (_, offer) = rig.only_offer(watcher);
    assert_eq!(offer.parameters.forward, Some(false));
    let told = |event: &Event| matches!(event, Event::Namespace { id, .. } if *id == of);
    assert!(rig.far[&watcher].events.iter().any(told));
    rig.cancel(watcher, of);
    rig.publish(publisher, "w");
    assert_eq!(rig.offers(watcher).len(), 1);
    rig.end();
}

#[test]
fn offers_are_paused_where_the_watcher_asks_for_that_and_so_is_the_publisher() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks_with(watcher, &["live"], forward(false));
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        assert_eq!(rig.publish_ok(publisher, up).forward, Some(false));
        let (down, offer) = rig.only_offer(watcher);
        assert_eq!(offer.parameters.forward, Some(false));
        rig.take(watcher, down, forward(false));
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), []);
        rig.update(watcher, down, forward(true));
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.group(publisher, up, 1, 1);
        assert_eq!(rig.ids(watcher, down), [(1, 0)]);
        rig.end();
    }
}

#[test]
fn an_answer_without_forward_means_that_objects_are_wanted() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks_with(watcher, &["live"], forward(false));
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.take(watcher, down, Parameters::default());
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn what_the_answer_to_an_offer_asks_for_is_heeded() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        let wishes = Parameters {
            filter: Some(Filter::AbsoluteRange {
                start: at(2, 1),
                end_group: GroupId(3),
            }),
            group_order: Some(GroupOrder::Descending),
            subscriber_priority: Some(3),
            object_delivery_timeout: Some(crate::wire::id::Millis(5000)),
            ..Parameters::default()
        };
        rig.take(watcher, down, wishes);
        for group in 1..=4 {
            rig.group(publisher, up, group, 2);
        }
        assert_eq!(rig.ids(watcher, down), [(2, 1), (3, 0), (3, 1)]);
        rig.end();
    }
}

#[test]
fn an_offer_that_is_refused_is_over_and_not_repeated() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.refuse(watcher, down, RequestCode::Uninterested);
        assert_eq!(rig.updates(publisher, up), [forward(false)]);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), []);
        // Another publisher of the same track is no news.
        let second = rig.connect(drafts.0);
        rig.publish(second, "v");
        assert_eq!(rig.offers(watcher).len(), 1);
        // What is asked for is served all the same.
        let own = rig.subscribe(watcher, "v");
        rig.ok(watcher, own);
        rig.end();
    }
}

#[test]
fn an_offer_that_was_taken_can_be_given_up() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.take(watcher, down, Parameters::default());
        rig.cancel(watcher, down);
        assert_eq!(rig.updates(publisher, up), [forward(false)]);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), []);
        assert_eq!(rig.offers(watcher).len(), 1);
        rig.end();
    }
}

// Rules: B310 (18)
#[test]
fn a_track_is_not_offered_to_the_peer_that_publishes_it() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        rig.publish(peer, "before");
        rig.watch_tracks(peer, &["live"]);
        rig.publish(peer, "after");
        assert_eq!(rig.offers(peer), []);
        rig.end();
    }
}

// Rules: B311
#[test]
fn b311_a_peer_that_subscribed_or_waits_is_not_offered_the_track_as_well() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let silent = rig.publisher(drafts.0);
        let watcher = rig.connect(drafts.1);
        let waits = rig.subscribe(watcher, "v");
        rig.watch_tracks(watcher, &["live"]);
        rig.only_asked(silent);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        rig.ok(watcher, waits);
        assert_eq!(rig.offers(watcher), []);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, waits), [(0, 0)]);
        // The same for one that subscribed to what was there already.
        let late = rig.connect(drafts.1);
        rig.subscribe(late, "v");
        rig.watch_tracks(late, &[]);
        assert_eq!(rig.offers(late), []);
        rig.end();
    }
}

#[test]
fn b206_a_peer_that_was_offered_a_track_cannot_subscribe_to_it_as_well() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        rig.publish(publisher, "v");
        let (offer, _) = rig.only_offer(watcher);
        // Its own session would not: it is told by the wire.
        rig.take(watcher, offer, Parameters::default());
        let again = rig.act(watcher, |session, now| {
            let subscribe = Subscribe {
                request_id: RequestId(0),
                track: track("v"),
                parameters: Parameters::default(),
            };
            session.request(now, Request::Subscribe(subscribe))
        });
        assert!(again.is_err());
        rig.end();
    }
}

// Rules: B273
#[test]
fn b273_after_the_end_of_a_request_for_tracks_nothing_more_is_offered() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        let of = rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.cancel(watcher, of);
        rig.publish(publisher, "w");
        rig.only_offer(watcher);
        // What was offered before goes on.
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), [(0, 0)]);
        rig.end();
    }
}

// Rules: B204
#[test]
fn b204_nobody_is_offered_a_track_who_did_not_ask_for_tracks_of_its_namespace() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let watcher = rig.connect(drafts.1);
        rig.watch(watcher, &["live"]);
        let elsewhere = rig.connect(drafts.1);
        rig.watch_tracks(elsewhere, &["lively"]);
        let silent = rig.connect(drafts.1);
        let other = rig.publish(publisher, "w");
        rig.group(publisher, up, 0, 1);
        rig.group(publisher, other, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        for peer in [subscriber, watcher, elsewhere, silent] {
            assert_eq!(rig.offers(peer), []);
        }
        rig.end();
    }
}

#[test]
fn a_track_that_is_only_subscribed_to_is_not_offered() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        assert_eq!(rig.offers(watcher), []);
        // Once somebody publishes it, it is.
        let publisher = rig.connect(drafts.0);
        rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.group(running.publisher, running.up, 0, 1);
        assert_eq!(rig.ids(watcher, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn a_track_that_is_published_again_is_offered_again() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        for round in 1..=3 {
            let publisher = rig.connect(drafts.0);
            let up = rig.publish(publisher, "v");
            assert_eq!(rig.offers(watcher).len(), round);
            let (down, _) = rig.offers(watcher)[round - 1];
            if round == 1 {
                rig.refuse(watcher, down, RequestCode::Uninterested);
            }
            rig.done_with(publisher, up, DoneCode::TrackEnded);
        }
        rig.end();
    }
}

#[test]
fn a_track_that_is_published_again_while_its_end_is_being_delivered_is_offered_after_that() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(drafts.0);
        let up = rig.publish(publisher, "v");
        let (down, _) = rig.only_offer(watcher);
        rig.take(watcher, down, Parameters::default());
        rig.far_mut(watcher).deaf = true;
        rig.group(publisher, up, 0, 1);
        rig.done_with(publisher, up, DoneCode::TrackEnded);
        let again = rig.publish(publisher, "v");
        rig.only_offer(watcher);
        rig.recover(watcher);
        assert_eq!(rig.ids(watcher, down), [(0, 0)]);
        assert_eq!(rig.done_code(watcher, down), DoneCode::TrackEnded);
        let offers = rig.offers(watcher);
        assert_eq!(offers.len(), 2);
        rig.group(publisher, again, 0, 1);
        assert_eq!(rig.ids(watcher, offers[1].0), [(0, 0)]);
        rig.end();
    }
}

// Rules: B272
#[test]
fn b272_without_credit_draft_18_is_told_and_not_offered_later() {
    let mut rig = Rig::with(Settings {
        session: crate::session::Limits {
            max_requests_sent: 1,
            ..crate::session::Limits::default()
        },
        ..Settings::default()
    });
    let watcher = rig.connect(Draft::D18);
    let of = rig.watch_tracks(watcher, &["a"]);
    let publisher = rig.connect(Draft::D18);
    let publish = |rig: &mut Rig, name| {
        let track = track_in(&["a", "b"], name);
        rig.publish_with(
            publisher,
            track,
            Parameters::default(),
            Properties::default(),
        )
    };
    publish(&mut rig, "one");
    publish(&mut rig, "two");
    let (down, _) = rig.only_offer(watcher);
    let two = (namespace(&["b"]), TrackName::new("two").unwrap());
    assert_eq!(rig.blocked(watcher, of), std::slice::from_ref(&two));
    rig.refuse(watcher, down, RequestCode::Uninterested);
    publish(&mut rig, "three");
    assert_eq!(rig.offered(watcher).len(), 2, "the third, not the second");
    assert_eq!(rig.blocked(watcher, of), [two]);
    // The subscriber can SUBSCRIBE instead.
    let own = rig.subscribe_to(watcher, track_in(&["a", "b"], "two"), Parameters::default());
    rig.ok(watcher, own);
    rig.end();
}

#[test]
fn without_credit_draft_16_is_offered_later() {
    let mut rig = Rig::new();
    rig.far_limits.max_requests = 1;
    let watcher = rig.connect(Draft::D16);
    rig.watch_tracks(watcher, &["live"]);
    let publisher = rig.connect(Draft::D18);
    rig.publish(publisher, "one");
    let up = rig.publish(publisher, "two");
    rig.publish(publisher, "three");
    let (down, offer) = rig.only_offer(watcher);
    assert_eq!(offer.track, track("one"));
    // The last one ends before it could be offered.
    rig.refuse(watcher, down, RequestCode::Uninterested);
    let offers = rig.offers(watcher);
    assert_eq!(offers.len(), 2);
    rig.done_with(publisher, up, DoneCode::TrackEnded);
    rig.end();
}

#[test]
fn b118_a_watcher_that_moves_is_offered_what_is_there_and_nothing_twice() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D16);
    let publish = |rig: &mut Rig, fields: &[&str], name| {
        let track = track_in(fields, name);
        let (parameters, properties) = (Parameters::default(), Properties::default());
        rig.publish_with(publisher, track, parameters, properties)
    };
    publish(&mut rig, &["a"], "one");
    publish(&mut rig, &["b"], "two");
    let watcher = rig.connect(Draft::D18);
    let of = rig.watch_tracks(watcher, &["a"]);
    let (down, _) = rig.only_offer(watcher);
    rig.refuse(watcher, down, RequestCode::Uninterested);
    let to = |fields: &[&str]| Parameters {
        track_namespace_prefix: Some(namespace(fields)),
        ..Parameters::default()
    };
    rig.update(watcher, of, to(&["b"]));
    let two = [track_in(&["a"], "one"), track_in(&["b"], "two")];
    assert_eq!(rig.offered(watcher), two);
    publish(&mut rig, &["a"], "unseen");
    assert_eq!(rig.offered(watcher), two);
    rig.update(watcher, of, to(&[]));
    assert_eq!(rig.offered(watcher).len(), 3, "what was not offered before");
    assert!(rig.update_answers(watcher, of).iter().all(Result::is_ok));
    assert_eq!(rig.update_answers(watcher, of).len(), 2);
    rig.end();
}

#[test]
fn a_watcher_that_changes_its_mind_about_forwarding_is_offered_so_from_then_on() {
    let mut rig = Rig::new();
    let watcher = rig.connect(Draft::D18);
    let of = rig.watch_tracks(watcher, &["live"]);
    let publisher = rig.connect(Draft::D18);
    rig.publish(publisher, "one");
    rig.update(watcher, of, forward(false));
    rig.publish(publisher, "two");
    let offers = rig.offers(watcher);
    assert_eq!(offers[0].1.parameters.forward, Some(true));
    assert_eq!(offers[1].1.parameters.forward, Some(false));
    assert_eq!(rig.update_answers(watcher, of).len(), 1);
    rig.end();
}

// Rules: B281
#[test]
fn b281_prefixes_of_a_session_must_not_overlap() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.raw_of(draft);
        let subscribe = |id: u64, fields: &[&str]| match draft {
            Draft::D18 => Message::SubscribeTracks(SubscribeTracks {
                request_id: RequestId(id),
                prefix: namespace(fields),
                parameters: Parameters::default(),
            }),
            Draft::D16 => Message::SubscribeNamespace(SubscribeNamespace {
                request_id: RequestId(id),
                prefix: namespace(fields),
                interest: Interest::Tracks,
                parameters: Parameters::default(),
            }),
        };
        let first = rig.raw_ask(peer, &subscribe(0, &["a"]));
        let overlap = rig.raw_ask(peer, &subscribe(2, &["a", "b"]));
        let other = rig.raw_ask(peer, &subscribe(4, &["b"]));
        let is_ok = |messages: &[Message]| matches!(messages, [Message::RequestOk(_)]);
        assert!(is_ok(&rig.raw_messages(peer, first)));
        assert!(is_ok(&rig.raw_messages(peer, other)));
        match rig.raw_messages(peer, overlap).as_slice() {
            [Message::RequestError(error)] => {
                assert_eq!(error.code, RequestCode::PrefixOverlap);
            }
            other => panic!("{other:?}"),
        }
        rig.end();
    }
}

#[test]
fn watchers_of_tracks_beyond_the_limit_are_refused() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_track_watches = 1));
        let first = rig.connect(draft);
        let of = rig.watch_tracks(first, &["a"]);
        let second = rig.connect(draft);
        let late = rig.watch_tracks_with(second, &["b"], Parameters::default());
        rig.assert_refused(second, late, RequestCode::ExcessiveLoad);
        rig.cancel(first, of);
        rig.watch_tracks(second, &["b"]);
        rig.end();
    }
}

#[test]
fn whoever_is_offered_too_many_tracks_loses_the_request_and_not_the_tracks() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_offers_per_watch = 2));
        let watcher = rig.connect(draft);
        let of = rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(draft);
        let first = rig.publish(publisher, "a");
        // One that is over does not count.
        rig.done_with(publisher, first, DoneCode::TrackEnded);
        let up = rig.publish(publisher, "b");
        rig.publish(publisher, "c");
        assert_eq!(rig.offers(watcher).len(), 3);
        assert!(!rig.withdrawn(watcher, of));
        rig.publish(publisher, "d");
        assert_eq!(rig.offers(watcher).len(), 3);
        assert!(rig.withdrawn(watcher, of));
        let (down, _) = rig.offers(watcher)[1];
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(watcher, down), [(0, 0)]);
        rig.end();
    }
}

#[test]
fn subscriptions_beyond_the_fan_outs_limit_are_offered_and_ended() {
    let mut settings = Settings::default();
    settings.fanout.max_subscriptions = 1;
    let mut rig = Rig::with(settings);
    let publisher = rig.connect(Draft::D18);
    rig.publish(publisher, "v");
    let watchers = [rig.connect(Draft::D18), rig.connect(Draft::D16)];
    for watcher in watchers {
        rig.watch_tracks(watcher, &["live"]);
    }
    let (first, _) = rig.only_offer(watchers[0]);
    let (second, _) = rig.only_offer(watchers[1]);
    assert_eq!(rig.done(watchers[0], first), None);
    let code = rig.done_code(watchers[1], second);
    let expected = DoneCode::ExcessiveLoad.to_wire(Draft::D16);
    assert_eq!(code.to_wire(Draft::D16), expected);
    rig.end();
}
