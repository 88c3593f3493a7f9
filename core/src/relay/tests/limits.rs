//! Each limit of the relay, reached: what happens at it, and that there is room again afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::reservations::Reservations;
use crate::transport::{Admission, Incoming};
use crate::wire::id::Millis;
use crate::wire::message::Retry;

impl Rig {
    /// Asserts that a request was refused for now (B186).
    #[track_caller]
    fn assert_overloaded(&self, connection: ConnectionId, id: RequestId) {
        self.assert_refused(connection, id, RequestCode::ExcessiveLoad);
        let retry = self.refusal(connection, id).retry;
        assert_eq!(retry, Retry::After(Millis(1000)));
    }
}

#[test]
fn max_connections() {
    let mut rig = Rig::with(limits(|limits| limits.max_connections = 2));
    let first = rig.connect(Draft::D18);
    rig.far_mut(first).lingers = true;
    rig.connect(Draft::D16);
    assert_eq!(rig.try_accept(), None);
    rig.leave(first);
    rig.connect(Draft::D16);
    assert_eq!(rig.try_accept(), None);
    rig.end();
}

/// Settings with memory for so many connections.
fn room_for(connections: u64) -> Settings {
    let mut settings = Settings::default();
    let one = Reservations::new(0, &settings.transport, 0).cost();
    settings.limits.max_transport_bytes = connections * one;
    settings
}

#[test]
fn max_transport_bytes() {
    let mut rig = Rig::with(room_for(2));
    let first = rig.connect(Draft::D18);
    rig.connect(Draft::D16);
    let stranger = Incoming {
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 4434)),
        is_validated: false,
    };
    let now = rig.now;
    assert_eq!(rig.relay.handle_incoming(now, &stranger), Admission::Retry);
    assert_eq!(rig.try_accept(), None, "it came again");
    rig.leave(first);
    rig.connect(Draft::D16);
    assert_eq!(rig.try_accept(), None);
    rig.end();
}

// Rules: B327
#[test]
fn whoever_publishes_gets_a_wider_window_if_there_is_memory_for_it() {
    for draft in Draft::ALL {
        for (connections, wanted) in [(1000, Some(8 << 20)), (2, None)] {
            for announces in [false, true] {
                let mut rig = Rig::with(room_for(connections));
                let peers = [rig.connect(draft), rig.connect(draft)];
                if announces {
                    rig.announce(peers[0], &["a"]);
                } else {
                    rig.publish(peers[0], "v");
                }
                let windows = peers.map(|peer| {
                    let mut outputs = rig.far[&peer].outputs.iter();
                    outputs.find_map(|output| match output {
                        Output::ReceiveWindow(window) => Some(*window),
                        _ => None,
                    })
                });
                assert_eq!(windows, [wanted, None]);
                rig.end();
            }
        }
    }
}

// Rules: B325
#[test]
fn max_announcements() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_announcements = 2));
        let peers = [rig.connect(draft), rig.connect(draft)];
        let first = rig.announce(peers[0], &["a"]);
        rig.announce(peers[1], &["b"]);
        for peer in peers {
            let further = rig.try_announce(peer, &["c"]);
            rig.assert_overloaded(peer, further);
        }
        rig.cancel(peers[0], first);
        rig.announce(peers[1], &["d"]);
        rig.end();
    }
}

/// What a namespace of one field that has one letter takes.
const SHORT: usize = 256 + 128 + 1;

/// What the name of a track in the namespace `live` takes, besides the letters of its own.
const TRACK: usize = 256 + 128 + 4;

// Rules: B325
#[test]
fn max_name_bytes_of_announcements_and_prefixes() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 3 * SHORT));
        let peers = [rig.connect(draft), rig.connect(draft)];
        let first = rig.announce(peers[0], &["a"]);
        rig.watch(peers[1], &["b"]);
        let long = "c".repeat(1000);
        let longer = rig.try_announce(peers[1], &[&long]);
        rig.assert_overloaded(peers[1], longer);
        rig.announce(peers[1], &["d"]);
        let watch = rig.watch(peers[1], &["e"]);
        rig.assert_overloaded(peers[1], watch);
        let track = rig.subscribe(peers[1], "v");
        rig.assert_overloaded(peers[1], track);
        rig.cancel(peers[0], first);
        rig.announce(peers[0], &["f"]);
        assert_eq!(rig.relay.name_bytes().used(), 3 * SHORT);
        rig.end();
    }
}

// Rules: B322
#[test]
fn max_name_bytes_of_tracks() {
    for drafts in DRAFT_PAIRS {
        let mut room = Rig::with(Settings::default());
        room.running(drafts);
        let used = room.relay.name_bytes().used();
        room.end();
        // One more for a subscription that waits for its answer.
        let most = used + TRACK + 1;
        let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = most));
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        let second = rig.subscribe(other, "w");
        rig.assert_overloaded(other, second);
        let published = rig.publish_with(
            other,
            track("xx"),
            Parameters::default(),
            Properties::default(),
        );
        rig.assert_overloaded(other, published);
        let same = rig.subscribe(other, "v");
        rig.ok(other, same);
        rig.cancel(other, same);
        rig.cancel(running.subscriber, running.down);
        rig.subscribe(other, "x");
        assert_eq!(rig.asked(running.publisher).len(), 2);
        rig.end();
    }
}

// Rules: B322
#[test]
fn max_name_bytes_of_those_who_wait_for_a_track() {
    for drafts in DRAFT_PAIRS {
        // The announcement, a track, and one who waits for it.
        let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 3 * TRACK + 2));
        let publisher = rig.publisher(drafts.0);
        let subscribers = [rig.connect(drafts.1), rig.connect(drafts.1)];
        let long = rig.subscribe(subscribers[0], "vv");
        rig.assert_overloaded(subscribers[0], long);
        assert!(rig.asked(publisher).is_empty());
        assert_eq!(rig.relay.name_bytes().used(), TRACK);
        let first = rig.subscribe(subscribers[0], "v");
        let second = rig.subscribe(subscribers[1], "v");
        rig.assert_overloaded(subscribers[1], second);
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(subscribers[0], first);
        assert_eq!(rig.relay.name_bytes().used(), 2 * TRACK + 1);
        // Who finds the track here does not wait.
        let again = rig.subscribe(subscribers[1], "v");
        rig.ok(subscribers[1], again);
        rig.end();
    }
}

// Rules: B322
#[test]
fn max_name_bytes_of_those_who_wait_for_a_publisher_to_come() {
    let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 2 * TRACK + 2));
    let subscribers = [rig.connect(Draft::D18), rig.connect(Draft::D18)];
    let first = rig.await_publisher(subscribers[0], "v", 1000);
    let second = rig.await_publisher(subscribers[1], "v", 1000);
    rig.assert_overloaded(subscribers[1], second);
    rig.pass(Duration::from_secs(1));
    rig.assert_refused(subscribers[0], first, RequestCode::Timeout);
    assert_eq!(rig.relay.name_bytes().used(), 0);
    let again = rig.await_publisher(subscribers[1], "v", 1000);
    assert_eq!(rig.answer(subscribers[1], again), None);
    rig.cancel(subscribers[1], again);
    assert_eq!(rig.relay.name_bytes().used(), 0);
    rig.end();
}

#[test]
fn max_name_bytes_of_offers() {
    for draft in Draft::ALL {
        // The prefix, two tracks, and the offer of one.
        let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 4 * TRACK + 3));
        let watcher = rig.connect(draft);
        let of = rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(draft);
        rig.publish(publisher, "a");
        assert_eq!(rig.offers(watcher).len(), 1);
        assert_eq!(rig.relay.name_bytes().used(), 3 * TRACK + 2);
        assert!(!rig.withdrawn(watcher, of));
        rig.publish(publisher, "b");
        assert_eq!(rig.offers(watcher).len(), 1);
        assert!(rig.withdrawn(watcher, of));
        assert_eq!(rig.relay.name_bytes().used(), 2 * TRACK + 2);
        rig.end();
    }
}

#[test]
fn offers_of_tracks_that_are_over_give_way_to_new_ones() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 3 * TRACK + 2));
        let watcher = rig.connect(draft);
        let of = rig.watch_tracks(watcher, &["live"]);
        let publisher = rig.connect(draft);
        for (number, name) in ["a", "b", "c"].iter().enumerate() {
            let up = rig.publish(publisher, name);
            assert_eq!(rig.offers(watcher).len(), number + 1);
            rig.done_with(publisher, up, DoneCode::TrackEnded);
        }
        assert!(!rig.withdrawn(watcher, of));
        rig.end();
    }
}

#[test]
fn max_name_bytes_of_offers_that_are_still_to_be_made() {
    let mut rig = Rig::with(limits(|limits| limits.max_name_bytes = 5 * TRACK + 4));
    rig.far_limits.max_requests = 1;
    let watcher = rig.connect(Draft::D16);
    let of = rig.watch_tracks(watcher, &["live"]);
    let publisher = rig.connect(Draft::D18);
    rig.publish(publisher, "a");
    rig.publish(publisher, "b");
    assert_eq!(rig.offers(watcher).len(), 1);
    assert_eq!(rig.relay.name_bytes().used(), 5 * TRACK + 4);
    rig.cancel(watcher, of);
    assert_eq!(rig.relay.name_bytes().used(), 2 * TRACK + 2);
    rig.end();
}

// Rules: B325
#[test]
fn max_watches() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| limits.max_watches = 2));
        let peers = [rig.connect(draft), rig.connect(draft)];
        let first = rig.watch(peers[0], &["a"]);
        rig.watch(peers[1], &["a"]);
        let further = rig.watch(peers[1], &["b"]);
        rig.assert_overloaded(peers[1], further);
        rig.cancel(peers[0], first);
        let again = rig.watch(peers[1], &["c"]);
        let answer = rig.answer(peers[1], again);
        assert!(matches!(answer, Some(Response::Ok(_))));
        rig.end();
    }
}

// Rules: B322
#[test]
fn max_tracks() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::with(limits(|limits| limits.max_tracks = 1));
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        let second = rig.subscribe(other, "w");
        rig.assert_overloaded(other, second);
        let same = rig.subscribe(other, "v");
        rig.ok(other, same);
        rig.cancel(other, same);
        rig.cancel(running.subscriber, running.down);
        rig.subscribe(other, "x");
        assert_eq!(rig.asked(running.publisher).len(), 2);
        rig.end();
    }
}

#[test]
fn tracks_that_nobody_announces_take_no_room() {
    let mut rig = Rig::with(limits(|limits| limits.max_tracks = 1));
    let subscriber = rig.connect(Draft::D18);
    for name in ["a", "b", "c"] {
        let id = rig.subscribe(subscriber, name);
        rig.assert_refused(subscriber, id, RequestCode::DoesNotExist);
    }
    rig.end();
}

#[test]
fn max_tracks_of_the_fan_out() {
    for drafts in DRAFT_PAIRS {
        let mut settings = Settings::default();
        settings.fanout.max_tracks = 1;
        let mut rig = Rig::with(settings);
        let running = rig.running(drafts);
        let other = rig.subscribe(running.subscriber, "w");
        let up = rig.asked(running.publisher)[1].0;
        rig.accept(running.publisher, up);
        rig.assert_overloaded(running.subscriber, other);
        assert!(rig.withdrawn(running.publisher, up));
        rig.group(running.publisher, running.up, 0, 1);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
        rig.end();
    }
}

// Rules: B323
#[test]
fn max_subscriptions_of_the_fan_out() {
    let mut settings = Settings::default();
    settings.fanout.max_subscriptions = 1;
    let mut rig = Rig::with(settings);
    let running = rig.running((Draft::D18, Draft::D16));
    let other = rig.connect(Draft::D18);
    let id = rig.subscribe(other, "v");
    rig.assert_overloaded(other, id);
    rig.cancel(running.subscriber, running.down);
    assert!(rig.withdrawn(running.publisher, running.up));
    rig.end();
}

#[test]
fn max_publishers_per_track() {
    let mut rig = Rig::with(limits(|limits| limits.max_publishers_per_track = 2));
    let publishers = [Draft::D18, Draft::D16, Draft::D18].map(|draft| rig.publisher(draft));
    let subscriber = rig.connect(Draft::D18);
    rig.subscribe(subscriber, "v");
    let asked = |rig: &Rig| publishers.map(|publisher| rig.asked(publisher).len());
    assert_eq!(asked(&rig), [1, 1, 0]);
    // A new announcement is one too many as well.
    let late = rig.publisher(Draft::D18);
    assert_eq!(rig.asked(late), []);
    // Another track is not concerned, nor is one with room again.
    let up = rig.only_asked(publishers[0]);
    rig.refuse(publishers[0], up, RequestCode::DoesNotExist);
    let latest = rig.publisher(Draft::D16);
    rig.only_asked(latest);
    rig.end();
}

#[test]
fn max_waiting() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::with(limits(|limits| limits.max_waiting = 2));
        let publisher = rig.publisher(drafts.0);
        let all: Vec<_> = (0..3)
            .map(|_| {
                let subscriber = rig.connect(drafts.1);
                (subscriber, rig.subscribe(subscriber, "v"))
            })
            .collect();
        rig.assert_overloaded(all[2].0, all[2].1);
        // Another track has a queue of its own.
        let other = rig.subscribe(all[2].0, "w");
        assert_eq!(rig.answer(all[2].0, other), None);
        let up = rig.asked(publisher)[0].0;
        rig.accept(publisher, up);
        for (subscriber, id) in &all[..2] {
            rig.ok(*subscriber, *id);
        }
        let again = rig.subscribe(all[2].0, "v");
        rig.ok(all[2].0, again);
        rig.end();
    }
}

#[test]
fn answer_timeout_counts_for_each_publisher_from_when_it_was_asked() {
    let mut rig = Rig::with(limits(|limits| {
        limits.answer_timeout = Duration::from_secs(4);
    }));
    let first = rig.publisher(Draft::D18);
    let subscriber = rig.connect(Draft::D16);
    let down = rig.subscribe(subscriber, "v");
    rig.pass(Duration::from_secs(3));
    let second = rig.publisher(Draft::D16);
    rig.pass(Duration::from_secs(1));
    assert!(rig.withdrawn(first, rig.only_asked(first)));
    assert_eq!(rig.answer(subscriber, down), None);
    rig.pass(Duration::from_secs(3));
    assert!(rig.withdrawn(second, rig.only_asked(second)));
    rig.assert_refused(subscriber, down, RequestCode::Timeout);
    rig.end();
}

#[test]
fn max_object_bytes_costs_the_subscriber_furthest_behind_its_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::with(limits(|limits| limits.max_object_bytes = 40_000));
        let running = rig.running(drafts);
        let slow = rig.connect(drafts.1);
        let behind = rig.subscribe(slow, "v");
        rig.far_mut(slow).deaf = true;
        rig.far_mut(slow).no_streams = true;
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        for id in 0..40 {
            rig.object(&mut feed, id, &[7; 1000]);
            assert!(rig.relay.publisher.fanout.ledger().used() <= 40_000);
            // What the far end holds would count, too.
            let far = rig.far_mut(running.subscriber);
            far.outputs.clear();
            let payload = |event: &Event| matches!(event, Event::Payload { .. });
            far.events.retain(|event| !payload(event));
        }
        assert_eq!(rig.done_code(slow, behind), DoneCode::TooFarBehind);
        rig.assert_alive(slow);
        // The subgroup that found no room ends for all; the track goes on.
        let got = rig.received(running.subscriber, running.down).remove(0);
        let Some(StreamEnd::Reset(code)) = got.end else {
            panic!("{:?}", got.end);
        };
        let overloaded = ResetCode::ExcessiveLoad.to_wire(drafts.1);
        assert_eq!(code.to_wire(drafts.1), overloaded);
        let end = got.ids().len();
        assert_eq!(
            got.ids(),
            (0..u64::try_from(end).unwrap()).collect::<Vec<_>>()
        );
        assert!((20..40).contains(&end), "{end}");
        for group in 1..4 {
            rig.group(running.publisher, running.up, group, 9);
        }
        let later = rig.ids(running.subscriber, running.down).split_off(end);
        assert_eq!(later.len(), 27);
        assert_eq!(rig.done(running.subscriber, running.down), None);
        rig.end();
    }
}

#[test]
fn more_memory_than_there_is_for_one_object_costs_that_subgroup_alone() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::with(limits(|limits| limits.max_object_bytes = 10_000));
        let running = rig.running(drafts);
        rig.far_mut(running.subscriber).deaf = true;
        rig.far_mut(running.subscriber).no_streams = true;
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.begin(&mut feed, &object(0, 30_000));
        rig.send(&feed, &[1; 30_000]);
        assert!(rig.relay.ingest.is_empty(), "the stream was stopped");
        assert!(rig.relay.publisher.fanout.ledger().used() <= 10_000);
        rig.assert_alive(running.publisher);
        rig.recover(running.subscriber);
        rig.assert_alive(running.subscriber);
        rig.end();
    }
}

#[test]
fn more_namespaces_than_a_session_may_tell_are_not_told_and_nobody_is_harmed() {
    for draft in Draft::ALL {
        let mut settings = Settings::default();
        settings.session.max_namespaces = 1;
        let mut rig = Rig::with(settings);
        let watcher = rig.connect(draft);
        rig.watch(watcher, &["a"]);
        let publisher = rig.connect(draft);
        let told = rig.announce(publisher, &["a", "b"]);
        let untold = rig.announce(publisher, &["a", "c"]);
        let namespaces = |rig: &Rig| {
            let events = rig.far[&watcher].events.iter();
            let told = |event: &&Event| {
                matches!(event, Event::Namespace { .. } | Event::NamespaceDone { .. })
            };
            events.filter(told).count()
        };
        assert_eq!(namespaces(&rig), 1);
        rig.cancel(publisher, untold);
        assert_eq!(namespaces(&rig), 1, "B283");
        rig.cancel(publisher, told);
        assert_eq!(namespaces(&rig), 2);
        rig.assert_alive(watcher);
        rig.end();
    }
}
