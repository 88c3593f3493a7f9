//! Sources that paused and are to send again.

use super::*;
use crate::wire::message::RequestOk;

/// A publisher that was told to pause, at {4, 2}, and does not answer updates by itself; and what it publishes.
fn paused(rig: &mut Rig, draft: Draft) -> (ConnectionId, RequestId) {
    let publisher = rig.connect(draft);
    let parameters = Parameters {
        largest_object: Some(at(4, 2)),
        ..Parameters::default()
    };
    let up = rig.publish_with(publisher, track("v"), parameters, Properties::default());
    assert_eq!(rig.publish_ok(publisher, up).forward, Some(false));
    rig.far_mut(publisher).sulks = true;
    (publisher, up)
}

/// The publisher answers the update that it got last.
fn answer_update(rig: &mut Rig, publisher: ConnectionId, up: RequestId, largest: Location) {
    let ok = RequestOk {
        parameters: Parameters {
            largest_object: Some(largest),
            ..Parameters::default()
        },
        ..RequestOk::default()
    };
    let mut events = rig.far[&publisher].events.iter().rev();
    let update = events.find_map(|event| match event {
        Event::Update { id, update, .. } if *id == up => Some(*update),
        _ => None,
    });
    rig.act(publisher, |session, now| {
        session
            .respond_to_update(now, up, update.unwrap(), Ok(ok))
            .unwrap();
    });
}

#[test]
fn subscribers_of_a_paused_track_are_told_how_far_it_is_by_now() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (publisher, up) = paused(&mut rig, drafts.0);
        let subscribers = [(); 2].map(|()| rig.connect(drafts.1));
        let downs = subscribers.map(|subscriber| rig.subscribe(subscriber, "v"));
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        for (subscriber, down) in subscribers.into_iter().zip(downs) {
            assert_eq!(rig.answer(subscriber, down), None);
        }
        answer_update(&mut rig, publisher, up, at(9, 5));
        for (subscriber, down) in subscribers.into_iter().zip(downs) {
            let ok = rig.ok(subscriber, down);
            assert_eq!(ok.parameters.largest_object, Some(at(9, 5)));
        }
        rig.group(publisher, up, 10, 2);
        for (subscriber, down) in subscribers.into_iter().zip(downs) {
            assert_eq!(rig.ids(subscriber, down), [(10, 0), (10, 1)]);
        }
        // Now that it sends, whoever comes is answered at once.
        let third = rig.connect(drafts.1);
        let down = rig.subscribe(third, "v");
        let ok = rig.ok(third, down);
        assert_eq!(ok.parameters.largest_object, Some(at(10, 1)));
        rig.end();
    }
}

#[test]
fn a_subscriber_that_wants_no_objects_is_answered_at_once() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (publisher, up) = paused(&mut rig, drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe_to(subscriber, track("v"), forward(false));
        let ok = rig.ok(subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(4, 2)));
        assert_eq!(rig.updates(publisher, up), []);
        rig.end();
    }
}

#[test]
fn a_publisher_that_does_not_tell_costs_its_subscribers_only_time() {
    let patience = Settings::default().limits.answer_timeout;
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        paused(&mut rig, drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        assert_eq!(rig.answer(subscriber, down), None);
        rig.pass(patience);
        let ok = rig.ok(subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(4, 2)));
        rig.end();
    }
}

#[test]
fn a_subscriber_that_leaves_meanwhile_leaves_nothing_behind() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (publisher, up) = paused(&mut rig, drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        rig.cancel(subscriber, down);
        answer_update(&mut rig, publisher, up, at(9, 5));
        assert_eq!(rig.answer(subscriber, down), None);
        rig.end();
    }
}

#[test]
fn a_publisher_that_leaves_meanwhile_is_waited_for_like_any_other() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (publisher, _) = paused(&mut rig, drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        rig.leave(publisher);
        rig.pass(Settings::default().limits.publisher_grace);
        assert!(
            rig.answer(subscriber, down).is_some(),
            "it is not forgotten"
        );
        rig.end();
    }
}

// Rules: B203 (18)
#[test]
fn an_update_that_wants_a_paused_track_is_answered_with_how_far_it_is_by_now() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let (publisher, up) = paused(&mut rig, drafts.0);
        let subscriber = rig.connect(drafts.1);
        let parameters = Parameters {
            forward: Some(false),
            ..filtered(Filter::LargestObject)
        };
        let down = rig.subscribe_to(subscriber, track("v"), parameters);
        let ok = rig.ok(subscriber, down);
        assert_eq!(ok.parameters.largest_object, Some(at(4, 2)));
        rig.update(subscriber, down, forward(true));
        // One more, to which the same goes.
        rig.update(subscriber, down, forward(true));
        assert_eq!(rig.updates(publisher, up), [forward(true)]);
        assert_eq!(rig.update_answers(subscriber, down), []);
        answer_update(&mut rig, publisher, up, at(9, 5));
        let answers = rig.update_answers(subscriber, down);
        assert_eq!(answers.len(), 2);
        for answer in answers {
            let largest = answer.unwrap().parameters.largest_object;
            assert_eq!(largest, Some(at(9, 5)));
        }
        rig.group(publisher, up, 10, 1);
        assert_eq!(rig.ids(subscriber, down), [(10, 0)]);
        // Now that it sends, an update is answered at once.
        rig.update(subscriber, down, forward(true));
        assert_eq!(rig.update_answers(subscriber, down).len(), 3);
        rig.end();
    }
}

#[test]
fn an_update_of_a_paused_track_is_answered_though_its_publisher_does_not_tell_or_leaves() {
    for drafts in DRAFT_PAIRS {
        for leaves in [true, false] {
            let mut rig = Rig::new();
            let (publisher, _) = paused(&mut rig, drafts.0);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe_to(subscriber, track("v"), forward(false));
            rig.update(subscriber, down, forward(true));
            if leaves {
                rig.leave(publisher);
            } else {
                rig.pass(Settings::default().limits.answer_timeout);
            }
            let answers = rig.update_answers(subscriber, down);
            let [Ok(ok)] = answers.as_slice() else {
                panic!("{answers:?}");
            };
            assert_eq!(ok.parameters.largest_object, Some(at(4, 2)));
            rig.end();
        }
    }
}

#[test]
fn an_update_of_a_paused_track_whose_subscriber_leaves_meanwhile_leaves_nothing_behind() {
    for drafts in DRAFT_PAIRS {
        for politely in [true, false] {
            let mut rig = Rig::new();
            let (publisher, up) = paused(&mut rig, drafts.0);
            let subscriber = rig.connect(drafts.1);
            let down = rig.subscribe_to(subscriber, track("v"), forward(false));
            rig.update(subscriber, down, forward(true));
            if politely {
                rig.cancel(subscriber, down);
            } else {
                rig.lose(subscriber);
            }
            answer_update(&mut rig, publisher, up, at(9, 5));
            assert!(rig.relay.resumed_updates.is_empty());
            rig.end();
        }
    }
}
