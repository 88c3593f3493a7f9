//! Subscription filters, of every kind, and the ends that they have (§ Subscription Filters).

use super::*;

/// A track of which the relay knows that group 3 came as far as object 1, and a subscriber that keeps it alive.
fn begun(rig: &mut Rig, drafts: (Draft, Draft)) -> (Running, Feed) {
    let running = rig.running(drafts);
    let mut feed = rig.open(running.publisher, running.up, header(3, 0));
    rig.object(&mut feed, 0, b"a");
    rig.object(&mut feed, 1, b"b");
    (running, feed)
}

/// What a new subscriber with this filter gets of what follows in groups 3 to 6.
fn got(drafts: (Draft, Draft), filter: Option<Filter>) -> (Vec<(u64, u64)>, Option<DoneCode>) {
    let mut rig = Rig::new();
    let (running, mut feed) = begun(&mut rig, drafts);
    let subscriber = rig.connect(drafts.1);
    let parameters = Parameters {
        filter,
        ..Parameters::default()
    };
    let id = rig.subscribe_to(subscriber, track("v"), parameters);
    let ok = rig.ok(subscriber, id);
    assert_eq!(ok.parameters.largest_object, Some(at(3, 1)));
    rig.object(&mut feed, 2, b"c");
    rig.fin(&feed);
    for group in 4..=6 {
        rig.group(running.publisher, running.up, group, 2);
    }
    rig.pass(std::time::Duration::from_secs(1));
    let result = (
        rig.ids(subscriber, id),
        rig.done(subscriber, id).map(|done| done.code),
    );
    let all = rig.ids(running.subscriber, running.down);
    assert_eq!(all.len(), 9, "the others are not concerned");
    rig.end();
    result
}

// Rules: B213
#[test]
fn b213_without_a_filter_everything_from_now_on_is_delivered() {
    for drafts in DRAFT_PAIRS {
        let (ids, done) = got(drafts, None);
        assert_eq!(
            ids,
            [(3, 2), (4, 0), (4, 1), (5, 0), (5, 1), (6, 0), (6, 1)]
        );
        assert_eq!(done, None);
    }
}

// Rules: B213
#[test]
fn b213_largest_object_starts_after_the_largest() {
    for drafts in DRAFT_PAIRS {
        let (ids, done) = got(drafts, Some(Filter::LargestObject));
        assert_eq!(
            ids,
            [(3, 2), (4, 0), (4, 1), (5, 0), (5, 1), (6, 0), (6, 1)]
        );
        assert_eq!(done, None);
    }
}

// Rules: B213
#[test]
fn b213_next_group_start_starts_with_the_next_group() {
    for drafts in DRAFT_PAIRS {
        let (ids, done) = got(drafts, Some(Filter::NextGroupStart));
        assert_eq!(ids, [(4, 0), (4, 1), (5, 0), (5, 1), (6, 0), (6, 1)]);
        assert_eq!(done, None);
    }
}

// Rules: B213
#[test]
fn b213_absolute_start_starts_there() {
    for drafts in DRAFT_PAIRS {
        let (ids, done) = got(drafts, Some(Filter::AbsoluteStart(at(5, 1))));
        assert_eq!(ids, [(5, 1), (6, 0), (6, 1)]);
        assert_eq!(done, None);
        let (ids, _) = got(drafts, Some(Filter::AbsoluteStart(at(0, 0))));
        assert_eq!(ids[0], (3, 2), "objects of the past are for FETCH");
    }
}

// Rules: B213
#[test]
fn b213_absolute_range_ends_with_subscription_ended() {
    for drafts in DRAFT_PAIRS {
        let range = Filter::AbsoluteRange {
            start: at(4, 1),
            end_group: GroupId(5),
        };
        let (ids, done) = got(drafts, Some(range));
        assert_eq!(ids, [(4, 1), (5, 0), (5, 1)]);
        assert_eq!(done, Some(DoneCode::SubscriptionEnded));
    }
}

#[test]
fn the_last_subscribers_range_that_ends_also_ends_the_subscription_upstream() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let range = Filter::AbsoluteRange {
            start: at(0, 0),
            end_group: GroupId(0),
        };
        let down = rig.subscribe_to(subscriber, track("v"), filtered(range));
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.group(publisher, up, 0, 2);
        rig.group(publisher, up, 1, 1);
        rig.pass(std::time::Duration::from_secs(1));
        assert_eq!(rig.ids(subscriber, down), [(0, 0), (0, 1)]);
        assert_eq!(rig.done_code(subscriber, down), DoneCode::SubscriptionEnded);
        assert!(rig.withdrawn(publisher, up));
        rig.end();
    }
}

// Rules: B212
#[test]
fn b212_a_range_of_the_past_is_refused_and_harms_nobody() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (running, mut feed) = begun(&mut rig, drafts);
        let range = Filter::AbsoluteRange {
            start: at(0, 0),
            end_group: GroupId(2),
        };
        let other = rig.connect(drafts.1);
        let id = rig.subscribe_to(other, track("v"), filtered(range));
        rig.assert_refused(other, id, RequestCode::InvalidRange);
        rig.object(&mut feed, 2, b"c");
        assert_eq!(rig.ids(running.subscriber, running.down).len(), 3);
        rig.end();
    }
}

// Rules: B212
#[test]
fn b212_a_range_found_past_when_the_publisher_answers_is_refused_and_the_publisher_let_go() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let range = Filter::AbsoluteRange {
            start: at(0, 0),
            end_group: GroupId(2),
        };
        let down = rig.subscribe_to(subscriber, track("v"), filtered(range));
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, Some(at(7, 0)), Properties::default());
        rig.assert_refused(subscriber, down, RequestCode::InvalidRange);
        assert!(rig.withdrawn(publisher, up));
        rig.end();
    }
}

// Rules: B110 (16)
#[test]
fn b110_a_range_that_ends_before_it_starts_is_refused_in_draft_16() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let subscriber = rig.raw_d16();
    // SUBSCRIBE, request 0, ("live") "v", one parameter: SUBSCRIPTION_FILTER AbsoluteRange {5, 0} to group 4.
    let subscribe = [
        0x03, 0, 16, 0, 1, 4, b'l', b'i', b'v', b'e', 1, b'v', 1, 0x21, 4, 4, 5, 0, 4,
    ];
    rig.inject_on(subscriber, StreamId::peer(0), &subscribe);
    let answer = rig
        .raw_messages(subscriber, StreamId::peer(0))
        .pop()
        .unwrap();
    let Message::RequestError(error) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(error.code, RequestCode::InvalidRange);
    rig.assert_alive(subscriber);
    assert_eq!(rig.asked(publisher), []);
    rig.end();
}

// Rules: B190
#[test]
fn b190_an_update_to_a_range_that_cannot_be_ends_the_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(3, 0));
        // The publisher ends its track before the range begins.
        rig.object(&mut feed, 0, b"a");
        rig.marker(&mut feed, 1, ObjectStatus::EndOfTrack);
        let change = filtered(Filter::AbsoluteStart(at(9, 0)));
        rig.update(running.subscriber, running.down, change);
        let events = &rig.far[&running.subscriber].events;
        let refused = events.iter().find_map(|event| match event {
            Event::UpdateResponse { response, .. } => Some(response.clone()),
            _ => None,
        });
        let refusal = refused.unwrap().unwrap_err();
        assert_eq!(refusal.code, RequestCode::InvalidRange);
        let code = rig.done_code(running.subscriber, running.down);
        assert_eq!(code, DoneCode::UpdateFailed);
        assert!(rig.withdrawn(running.publisher, running.up));
        rig.end();
    }
}

#[test]
fn an_update_narrows_what_is_delivered() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        rig.group(running.publisher, running.up, 0, 1);
        let change = filtered(Filter::AbsoluteStart(at(5, 0)));
        rig.update(running.subscriber, running.down, change);
        for group in 1..=5 {
            rig.group(running.publisher, running.up, group, 1);
        }
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0), (5, 0)]);
        rig.end();
    }
}

#[test]
fn the_publisher_is_asked_from_the_next_object_on_unless_somebody_waits_for_more() {
    let absolute = Filter::AbsoluteStart(at(2, 0));
    let cases = [
        (Some(Filter::LargestObject), Some(Filter::LargestObject)),
        (Some(Filter::NextGroupStart), Some(Filter::LargestObject)),
        (None, None),
        (Some(absolute), None),
    ];
    for drafts in DRAFT_PAIRS {
        for (filter, expected) in cases {
            let mut rig = Rig::new();
            let publisher = rig.publisher(drafts.0);
            let subscriber = rig.connect(drafts.1);
            let parameters = Parameters {
                filter,
                ..Parameters::default()
            };
            rig.subscribe_to(subscriber, track("v"), parameters);
            let (_, asked) = rig.asked(publisher).remove(0);
            assert_eq!(asked.parameters.filter, expected);
            rig.end();
        }
    }
}
