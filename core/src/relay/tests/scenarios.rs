//! What happens to relays in the field: odd namespaces, publishers that come and go, peers that talk too late.

use super::*;
use crate::wire::message::RequestUpdate;
use crate::wire::param::GroupOrder;
use crate::wire::property::{DEFAULT_PUBLISHER_GROUP_ORDER, Value};

#[test]
fn namespaces_in_the_middle_that_nobody_announced_are_passed_over() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let [outer, inner, watcher] = [(); 3].map(|()| rig.connect(draft));
        rig.announce(outer, &["a"]);
        rig.announce(inner, &["a", "b", "c"]);
        // Nobody announced a/b: the one above it is asked, the one below is not.
        let middle = track_in(&["a", "b"], "v");
        let down = rig.subscribe_to(watcher, middle, Parameters::default());
        assert_eq!((rig.asked(outer).len(), rig.asked(inner).len()), (1, 0));
        rig.cancel(watcher, down);
        // Below the innermost one, both are asked.
        let deep = track_in(&["a", "b", "c", "d"], "v");
        rig.subscribe_to(watcher, deep, Parameters::default());
        assert_eq!((rig.asked(outer).len(), rig.asked(inner).len()), (2, 1));
        // Without the outer one, nothing is left for the middle.
        rig.leave(outer);
        let beside = rig.subscribe_to(watcher, track_in(&["a", "b"], "w"), Parameters::default());
        rig.assert_refused(watcher, beside, RequestCode::DoesNotExist);
        rig.end();
    }
}

#[test]
fn a_stream_that_one_subscriber_stops_goes_on_for_the_others() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        let down = rig.subscribe(other, "v");
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"a");
        let opened = rig.far[&running.subscriber].events.iter();
        let stream = opened.filter_map(|event| match event {
            Event::SubgroupOpened { stream, .. } => Some(*stream),
            _ => None,
        });
        let stream = stream.last().unwrap();
        rig.act(running.subscriber, |session, now| {
            session.stop_stream(now, stream, ResetCode::Cancelled);
        });
        rig.object(&mut feed, 1, b"b");
        rig.fin(&feed);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
        assert_eq!(rig.ids(other, down), [(0, 0), (0, 1)]);
        let [got] = rig.received(other, down).try_into().unwrap();
        assert_eq!(got.end, Some(StreamEnd::Fin));
        rig.end();
    }
}

#[test]
fn the_publishers_group_order_counts_where_the_subscriber_has_none() {
    let orders = [
        (None, [3, 2, 1, 0]),
        (Some(GroupOrder::Descending), [3, 2, 1, 0]),
        (Some(GroupOrder::Ascending), [0, 1, 2, 3]),
    ];
    for drafts in DRAFT_PAIRS {
        for (group_order, expected) in orders {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let subscriber = rig.connect(drafts.1);
            let parameters = Parameters {
                group_order,
                ..Parameters::default()
            };
            let down = rig.subscribe_to(subscriber, track("v"), parameters);
            let up = rig.only_asked(publisher);
            let descending = [(DEFAULT_PUBLISHER_GROUP_ORDER, Value::Integer(2))];
            let integers = drafts.0.profile().integers;
            let properties = Properties::from_list(integers, descending).unwrap();
            rig.accept_with(publisher, up, None, properties);
            let told = rig.ok(subscriber, down).properties;
            let order = told.default_publisher_group_order();
            assert_eq!(order, GroupOrder::Descending);
            rig.far_mut(subscriber).no_streams = true;
            for group in 0..4 {
                rig.group(publisher, up, group, 1);
            }
            rig.recover(subscriber);
            let groups = rig.ids(subscriber, down);
            let groups: Vec<u64> = groups.into_iter().map(|(group, _)| group).collect();
            assert_eq!(groups, expected, "{group_order:?}");
            rig.end();
        }
    }
}

/// REQUEST_UPDATE of a raw client's request, where that belongs.
fn raw_update(rig: &mut Rig, connection: ConnectionId, stream: StreamId, update: u64) {
    let draft = rig.far[&connection].draft;
    let is_shared = draft == Draft::D16;
    let message = Message::RequestUpdate(RequestUpdate {
        request_id: RequestId(update),
        existing_request_id: is_shared.then_some(RequestId(0)),
        parameters: forward(false),
    });
    let origin = crate::wire::message::Origin {
        profile: draft.profile(),
        sender: Role::Client,
        channel: if is_shared {
            Channel::Control
        } else {
            Channel::Request
        },
    };
    let bytes = message.encode(origin).unwrap();
    rig.inject_on(connection, stream, &bytes);
}

#[test]
fn updates_of_requests_that_are_over_harm_nobody() {
    for draft in Draft::ALL {
        // Ended by the publisher, refused at once, and refused by a publisher that was asked.
        for (name, ends) in [("v", true), ("nowhere", false), ("v", false)] {
            let mut rig = Rig::new();
            let publisher = rig.publisher(Draft::D18);
            let raw = rig.raw_of(draft);
            let fields = if name == "v" { "live" } else { "elsewhere" };
            let message = Message::Subscribe(Subscribe {
                request_id: RequestId(0),
                track: track_in(&[fields], name),
                parameters: Parameters::default(),
            });
            let stream = match draft {
                Draft::D16 => {
                    rig.raw_say(raw, &message);
                    StreamId::peer(0)
                }
                Draft::D18 => rig.raw_ask(raw, &message),
            };
            if name == "v" {
                let up = rig.only_asked(publisher);
                if ends {
                    rig.accept(publisher, up);
                    rig.done_with(publisher, up, DoneCode::TrackEnded);
                } else {
                    rig.refuse(publisher, up, RequestCode::DoesNotExist);
                }
            }
            let before = rig.raw_messages(raw, stream).len();
            for update in [2, 4] {
                raw_update(&mut rig, raw, stream, update);
            }
            rig.assert_alive(raw);
            let answers = rig.raw_messages(raw, stream).split_off(before);
            match draft {
                // Whoever asks gets an answer on the control stream.
                Draft::D16 => {
                    assert_eq!(answers.len(), 2, "{name} {ends}");
                    let refused = |answer: &Message| matches!(answer, Message::RequestError(_));
                    assert!(answers.iter().all(refused), "{answers:?}");
                }
                // The stream of the request is over, and nobody reads what still comes on it.
                Draft::D18 => assert_eq!(answers, []),
            }
            // The track is there for others as before.
            let other = rig.connect(draft);
            rig.subscribe(other, "v");
            assert_eq!(rig.asked(publisher).len(), if name == "v" { 2 } else { 1 });
            rig.end();
        }
    }
}

#[test]
fn a_thousand_overlapping_prefixes_of_one_peer_are_refused_one_by_one() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.publisher(draft);
        let greedy = rig.connect(draft);
        let first = rig.watch(greedy, &["live"]);
        assert!(matches!(rig.answer(greedy, first), Some(Response::Ok(_))));
        // A session of ours would not even send these.
        let raw = rig.raw_of(draft);
        for n in 0..1000_u64 {
            let depth = usize::try_from(n % 32).unwrap();
            let mut fields = vec!["live".to_owned()];
            fields.extend((0..depth.min(31)).map(|field| format!("{field} {}", n / 32)));
            let prefix = match n {
                0 => namespace(&["live"]),
                1 => namespace(&[]),
                _ => TrackNamespace::new(fields).unwrap(),
            };
            let message = Message::SubscribeNamespace(SubscribeNamespace {
                request_id: RequestId(2 * n),
                prefix,
                interest: Interest::Namespaces,
                parameters: Parameters::default(),
            });
            let stream = rig.raw_ask(raw, &message);
            rig.assert_alive(raw);
            let answers = rig.raw_messages(raw, stream);
            let is_right = match (n, &answers[..]) {
                (0, [Message::RequestOk(_), Message::Namespace(_)]) => true,
                (_, [Message::RequestError(error)]) => error.code == RequestCode::PrefixOverlap,
                _ => false,
            };
            assert!(is_right, "{n}: {answers:?}");
        }
        // Others do not notice.
        rig.announce(publisher, &["live", "more"]);
        let told = rig.far[&greedy].events.iter();
        let told = told.filter(|event| matches!(event, Event::Namespace { .. }));
        assert_eq!(told.count(), 2);
        rig.end();
    }
}

#[test]
fn a_thousand_overlapping_announcements_are_one_publisher() {
    for draft in Draft::ALL {
        let mut settings = Settings::default();
        // Names of 17 fields on average are no usual ones.
        settings.session.max_request_name_bytes = 4 << 20;
        let mut rig = Rig::with(settings);
        let publisher = rig.connect(draft);
        let watcher = rig.connect(draft);
        rig.watch(watcher, &["live"]);
        let mut announced = Vec::new();
        for n in 0..1000_usize {
            let mut fields = vec!["live".to_owned()];
            fields.extend((0..n % 31).map(|field| field.to_string()));
            fields.push(format!("n{}", n / 31));
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            announced.push(rig.announce(publisher, &fields));
        }
        let count = |rig: &Rig, wanted: fn(&Event) -> bool| {
            let events = &rig.far[&watcher].events;
            events.iter().filter(|event| wanted(event)).count()
        };
        assert_eq!(
            count(&rig, |event| matches!(event, Event::Namespace { .. })),
            1000
        );
        // One track below many of them: one request.
        let mut fields: Vec<String> = vec!["live".to_owned()];
        fields.extend((0..30).map(|field| field.to_string()));
        fields.push("n0".to_owned());
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let down = rig.subscribe_to(watcher, track_in(&fields, "v"), Parameters::default());
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(watcher, down);
        for id in announced {
            rig.cancel(publisher, id);
        }
        assert_eq!(
            count(&rig, |event| matches!(event, Event::NamespaceDone { .. })),
            1000
        );
        rig.end();
    }
}

#[test]
fn a_publisher_that_announces_and_withdraws_over_and_over_leaves_nothing() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.connect(draft);
        let watcher = rig.connect(draft);
        rig.watch(watcher, &["live"]);
        for _ in 0..300 {
            let id = rig.announce(publisher, &["live"]);
            let down = rig.subscribe(watcher, "v");
            let (up, _) = rig.asked(publisher).pop().unwrap();
            rig.accept(publisher, up);
            rig.group(publisher, up, 0, 1);
            rig.cancel(publisher, id);
            rig.cancel(watcher, down);
        }
        assert_eq!(rig.asked(publisher).len(), 300);
        let events = rig.far[&watcher].events.iter();
        let changes = events
            .filter(|event| matches!(event, Event::Namespace { .. } | Event::NamespaceDone { .. }));
        assert_eq!(changes.count(), 600);
        rig.end();
    }
}

#[test]
fn a_namespace_announced_twice_by_one_peer_is_gone_only_when_both_are_withdrawn() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.connect(draft);
        let watcher = rig.connect(draft);
        rig.watch(watcher, &["live"]);
        let first = rig.announce(publisher, &["live"]);
        let second = rig.try_announce(publisher, &["live"]);
        assert!(matches!(
            rig.answer(publisher, second),
            Some(Response::Ok(_))
        ));
        rig.cancel(publisher, first);
        let down = rig.subscribe(watcher, "v");
        rig.only_asked(publisher);
        rig.cancel(watcher, down);
        rig.cancel(publisher, second);
        let down = rig.subscribe(watcher, "v");
        rig.assert_refused(watcher, down, RequestCode::DoesNotExist);
        let events = rig.far[&watcher].events.iter();
        let changes = events
            .filter(|event| matches!(event, Event::Namespace { .. } | Event::NamespaceDone { .. }));
        assert_eq!(changes.count(), 2, "it came once and went once");
        rig.assert_alive(publisher);
        rig.end();
    }
}
