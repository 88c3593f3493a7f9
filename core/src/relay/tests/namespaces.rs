//! PUBLISH_NAMESPACE and SUBSCRIBE_NAMESPACE: who is told of what.

use super::*;

impl Rig {
    /// What a peer was told on a SUBSCRIBE_NAMESPACE: suffixes, and whether they came (or went).
    fn told(&self, connection: ConnectionId, of: RequestId) -> Vec<(TrackNamespace, bool)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Namespace { id, suffix } if *id == of => Some((suffix.clone(), true)),
                Event::NamespaceDone { id, suffix } if *id == of => Some((suffix.clone(), false)),
                _ => None,
            })
            .collect()
    }

    #[track_caller]
    fn assert_accepted(&self, connection: ConnectionId, id: RequestId) {
        let answer = self.answer(connection, id);
        assert!(matches!(answer, Some(Response::Ok(_))), "{answer:?}");
    }
}

fn came(fields: &[&str]) -> (TrackNamespace, bool) {
    (namespace(fields), true)
}

fn went(fields: &[&str]) -> (TrackNamespace, bool) {
    (namespace(fields), false)
}

// Rules: B274, B276
#[test]
fn b274_namespaces_that_exist_and_those_that_come_are_told_to_watchers_of_their_prefixes() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        rig.announce(publisher, &["a", "b"]);
        rig.announce(publisher, &["ab"]);
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["a"]);
        rig.assert_accepted(watcher, of);
        assert_eq!(rig.told(watcher, of), [came(&["b"])]);
        rig.announce(publisher, &["a", "c", "d"]);
        rig.announce(publisher, &["b"]);
        rig.announce(publisher, &["a"]);
        let expected = [came(&["b"]), came(&["c", "d"]), came(&[])];
        assert_eq!(rig.told(watcher, of), expected);
        rig.end();
    }
}

// Rules: B305
#[test]
fn b305_two_watchers_of_a_prefix_are_told_and_one_of_another_is_not() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let all = [rig.connect(drafts.1), rig.connect(drafts.0)];
        let watches = all.map(|watcher| rig.watch(watcher, &["a"]));
        let sibling = rig.connect(drafts.1);
        let other = rig.watch(sibling, &["b"]);
        let publisher = rig.connect(drafts.0);
        rig.announce(publisher, &["a", "x"]);
        for (watcher, of) in all.into_iter().zip(watches) {
            assert_eq!(rig.told(watcher, of), [came(&["x"])]);
        }
        assert_eq!(rig.told(sibling, other), []);
        rig.end();
    }
}

#[test]
fn a_publisher_that_watches_hears_of_its_own_namespace_too() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.connect(draft);
        let of = rig.watch(peer, &["live"]);
        rig.announce(peer, &["live", "mine"]);
        assert_eq!(rig.told(peer, of), [came(&["mine"])]);
        rig.end();
    }
}

#[test]
fn namespace_done_follows_when_the_announcement_is_withdrawn_or_its_session_ends() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let first = rig.announce(publisher, &["a", "b"]);
        rig.announce(publisher, &["a", "c"]);
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["a"]);
        rig.cancel(publisher, first);
        let mut expected = vec![came(&["b"]), came(&["c"]), went(&["b"])];
        assert_eq!(rig.told(watcher, of), expected);
        rig.lose(publisher);
        expected.push(went(&["c"]));
        assert_eq!(rig.told(watcher, of), expected);
        rig.end();
    }
}

#[test]
fn a_namespace_is_gone_when_the_last_of_its_publishers_is() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["a"]);
        let publishers = [rig.connect(drafts.0), rig.connect(drafts.0)];
        for publisher in publishers {
            rig.announce(publisher, &["a", "b"]);
        }
        assert_eq!(rig.told(watcher, of), [came(&["b"])]);
        rig.leave(publishers[0]);
        assert_eq!(rig.told(watcher, of), [came(&["b"])]);
        rig.leave(publishers[1]);
        assert_eq!(rig.told(watcher, of), [came(&["b"]), went(&["b"])]);
        rig.end();
    }
}

// Rules: B273
#[test]
fn b273_whoever_stops_watching_is_told_no_more() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["a"]);
        rig.cancel(watcher, of);
        let publisher = rig.connect(drafts.0);
        rig.announce(publisher, &["a", "b"]);
        assert_eq!(rig.told(watcher, of), []);
        assert!(rig.relay.watches.is_empty());
        rig.end();
    }
}

// Rules: B280
#[test]
fn b280_overlapping_prefixes_of_one_peer_are_refused_and_siblings_are_not() {
    let cases: [(&[&str], bool); 5] = [
        (&["a", "b"], false),
        (&["a"], false),
        (&["a", "b", "c"], false),
        (&["a", "c"], true),
        (&["ab"], true),
    ];
    for draft in Draft::ALL {
        for (second, allowed) in cases {
            let mut rig = Rig::new();
            let peer = rig.raw_of(draft);
            let ask = |rig: &mut Rig, id, fields: &[&str]| {
                let message = Message::SubscribeNamespace(SubscribeNamespace {
                    request_id: RequestId(id),
                    prefix: namespace(fields),
                    interest: Interest::Namespaces,
                    parameters: Parameters::default(),
                });
                let stream = rig.raw_ask(peer, &message);
                rig.raw_messages(peer, stream).pop()
            };
            let first = ask(&mut rig, 0, &["a", "b"]);
            assert!(matches!(first, Some(Message::RequestOk(_))), "{first:?}");
            let answer = ask(&mut rig, 2, second);
            match answer {
                Some(Message::RequestOk(_)) => assert!(allowed, "{second:?}"),
                Some(Message::RequestError(error)) => {
                    assert!(!allowed, "{second:?}");
                    assert_eq!(error.code, RequestCode::PrefixOverlap);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(rig.relay.watches.len(), 1 + usize::from(allowed));
            // Another peer is not concerned.
            let other = rig.connect(draft);
            let id = rig.watch(other, &["a"]);
            rig.assert_accepted(other, id);
            rig.end();
        }
    }
}

// Rules: B018, B020, B021, B022
#[test]
fn b018_b022_reserved_namespaces_are_nobodys() {
    for (fields, name) in [(&["."][..], "v"), (&[".session"], "v"), (&[".session"], "")] {
        let mut rig = Rig::new();
        let publisher = rig.connect(Draft::D18);
        rig.announce(publisher, &[]);
        let subscriber = rig.connect(Draft::D18);
        let down = rig.subscribe_to(subscriber, track_in(fields, name), Parameters::default());
        rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
        assert_eq!(rig.asked(publisher), [], "B020");
        rig.end();
    }
}

// Rules: B017
#[test]
fn b017_an_unknown_reserved_namespace_is_one_like_any_other() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D18);
    rig.announce(publisher, &[]);
    let subscriber = rig.connect(Draft::D18);
    rig.subscribe_to(subscriber, track_in(&[".foo"], "v"), Parameters::default());
    rig.only_asked(publisher);
    rig.end();
}

#[test]
fn draft_16_namespaces_and_tracks_at_once_is_told_namespaces() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D18);
    let watcher = rig.connect(Draft::D16);
    let request = Request::SubscribeNamespace(SubscribeNamespace {
        request_id: RequestId(0),
        prefix: namespace(&["a"]),
        interest: Interest::Both,
        parameters: Parameters::default(),
    });
    let of = rig.request(watcher, request);
    rig.assert_accepted(watcher, of);
    rig.announce(publisher, &["a", "b"]);
    assert_eq!(rig.told(watcher, of), [came(&["b"])]);
    rig.end();
}

#[test]
fn b188_an_update_of_an_announcement_changes_nothing() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let announcement = rig.announce(publisher, &["a"]);
        let watcher = rig.connect(drafts.1);
        let of = rig.watch(watcher, &["a"]);
        for _ in 0..3 {
            rig.update(publisher, announcement, Parameters::default());
        }
        let events = rig.far[&publisher].events.iter();
        let granted = |event: &&Event| {
            matches!(
                event,
                Event::UpdateResponse {
                    response: Ok(_),
                    ..
                }
            )
        };
        assert_eq!(events.filter(granted).count(), 3);
        assert_eq!(rig.told(watcher, of), [came(&[])]);
        rig.end();
    }
}

#[test]
fn b118_a_watcher_moves_to_another_prefix() {
    let mut rig = Rig::new();
    let publisher = rig.connect(Draft::D16);
    rig.announce(publisher, &["a", "x"]);
    rig.announce(publisher, &["b", "y"]);
    let watcher = rig.connect(Draft::D18);
    let of = rig.watch(watcher, &["a"]);
    let change = Parameters {
        track_namespace_prefix: Some(namespace(&["b"])),
        ..Parameters::default()
    };
    rig.update(watcher, of, change);
    let events = &rig.far[&watcher].events;
    let granted = |event: &Event| {
        matches!(
            event,
            Event::UpdateResponse {
                response: Ok(_),
                ..
            }
        )
    };
    assert!(events.iter().any(granted));
    rig.announce(publisher, &["a", "z"]);
    rig.announce(publisher, &["b", "z"]);
    assert_eq!(
        rig.told(watcher, of),
        [came(&["x"]), came(&["y"]), came(&["z"])]
    );
    rig.cancel(watcher, of);
    assert!(rig.relay.watches.is_empty());
    rig.end();
}
