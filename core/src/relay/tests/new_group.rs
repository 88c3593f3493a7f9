//! NEW_GROUP_REQUEST: passed on once for each group that is needed.

use super::publish::dynamic;
use super::*;

fn new_group(value: u64) -> Parameters {
    Parameters {
        new_group_request: Some(value),
        ..Parameters::default()
    }
}

/// A track with dynamic groups from two publishers, and one subscriber.
struct Dynamic {
    publishers: [(ConnectionId, RequestId); 2],
    subscriber: ConnectionId,
    down: RequestId,
}

impl Rig {
    fn dynamic_track(&mut self, drafts: (Draft, Draft)) -> Dynamic {
        let announcer = self.connect(drafts.0);
        let offerer = self.connect(drafts.0);
        let properties = dynamic(drafts.0);
        let parameters = Parameters {
            largest_object: Some(at(3, 0)),
            ..Parameters::default()
        };
        let offered = self.publish_with(offerer, track("v"), parameters, properties);
        self.announce(announcer, &["live"]);
        let asked = self.only_asked(announcer);
        self.accept_with(announcer, asked, Some(at(3, 0)), dynamic(drafts.0));
        let subscriber = self.connect(drafts.1);
        let down = self.subscribe(subscriber, "v");
        Dynamic {
            publishers: [(offerer, offered), (announcer, asked)],
            subscriber,
            down,
        }
    }

    /// The groups that a publisher was asked for in updates.
    fn groups_asked(&self, connection: ConnectionId, of: RequestId) -> Vec<u64> {
        let updates = self.updates(connection, of).into_iter();
        updates
            .filter_map(|update| update.new_group_request)
            .collect()
    }
}

// Rules: B117
#[test]
fn b117_a_request_for_a_new_group_goes_to_every_source_once_until_there_is_one() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let Dynamic {
            publishers,
            subscriber,
            down,
        } = rig.dynamic_track(drafts);
        let other = rig.connect(drafts.1);
        let second = rig.subscribe(other, "v");
        let check = |rig: &Rig, expected: &[u64]| {
            for (publisher, up) in publishers {
                assert_eq!(rig.groups_asked(publisher, up), expected);
            }
        };
        // What is known is not asked for.
        rig.update(subscriber, down, new_group(3));
        check(&rig, &[]);
        rig.update(subscriber, down, new_group(4));
        check(&rig, &[4]);
        // Neither is what was asked for, by whomever.
        rig.update(other, second, new_group(4));
        rig.update(other, second, new_group(0));
        check(&rig, &[4]);
        rig.update(other, second, new_group(6));
        check(&rig, &[4, 6]);
        // Once there is a group, another one may be wanted.
        let (publisher, up) = publishers[0];
        rig.group(publisher, up, 4, 1);
        rig.update(subscriber, down, new_group(4));
        check(&rig, &[4, 6]);
        rig.update(subscriber, down, new_group(0));
        check(&rig, &[4, 6, 0]);
        rig.update(subscriber, down, new_group(5));
        check(&rig, &[4, 6, 0, 5]);
        rig.end();
    }
}

// Rules: B117
#[test]
fn b117_subscribe_and_publish_ok_ask_for_a_new_group_too() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.connect(drafts.0);
        let properties = dynamic(drafts.0);
        let up = rig.publish_with(publisher, track("v"), Parameters::default(), properties);
        let subscriber = rig.connect(drafts.1);
        rig.subscribe_to(subscriber, track("v"), new_group(0));
        assert_eq!(rig.groups_asked(publisher, up), [0]);
        rig.group(publisher, up, 0, 1);
        let watcher = rig.connect(drafts.1);
        rig.watch_tracks(watcher, &["live"]);
        let (offer, _) = rig.only_offer(watcher);
        rig.take(watcher, offer, new_group(1));
        assert_eq!(rig.groups_asked(publisher, up), [0, 1]);
        rig.end();
    }
}

// Rules: B114
#[test]
fn a_track_without_dynamic_groups_is_not_asked_for_one() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let other = rig.connect(drafts.1);
        rig.subscribe_to(other, track("v"), new_group(0));
        rig.update(running.subscriber, running.down, new_group(9));
        assert_eq!(
            rig.update_answers(running.subscriber, running.down).len(),
            1
        );
        assert_eq!(rig.groups_asked(running.publisher, running.up), []);
        rig.end();
    }
}

// Rules: B116
#[test]
fn b116_before_there_is_a_subscription_the_request_goes_with_our_own() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        rig.subscribe_to(subscriber, track("v"), new_group(0));
        let asked = rig.asked(publisher);
        assert_eq!(asked[0].1.parameters.new_group_request, Some(0));
        // One that comes before the answer wants more, another one as much.
        let others = [new_group(8), new_group(0)].map(|parameters| {
            let other = rig.connect(drafts.1);
            rig.subscribe_to(other, track("v"), parameters)
        });
        assert_eq!(others.len(), 2);
        let up = asked[0].0;
        rig.accept_with(publisher, up, Some(at(3, 0)), dynamic(drafts.0));
        assert_eq!(rig.groups_asked(publisher, up), [8]);
        rig.end();
    }
}

#[test]
fn a_request_that_came_with_our_subscribe_is_not_repeated() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe_to(subscriber, track("v"), new_group(5));
        let up = rig.only_asked(publisher);
        rig.accept_with(publisher, up, Some(at(4, 0)), dynamic(drafts.0));
        rig.update(subscriber, down, new_group(5));
        assert_eq!(rig.groups_asked(publisher, up), []);
        rig.group(publisher, up, 5, 1);
        rig.update(subscriber, down, new_group(6));
        assert_eq!(rig.groups_asked(publisher, up), [6]);
        rig.end();
    }
}

#[test]
fn a_source_that_comes_while_a_group_is_outstanding_is_asked_for_it_too() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let first = rig.connect(drafts.0);
        let properties = dynamic(drafts.0);
        let up = rig.publish_with(first, track("v"), Parameters::default(), properties.clone());
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        rig.update(subscriber, down, new_group(1));
        let second = rig.connect(drafts.0);
        let other = rig.publish_with(
            second,
            track("v"),
            Parameters::default(),
            properties.clone(),
        );
        assert_eq!(rig.groups_asked(second, other), [1]);
        // Not once there is one.
        rig.group(first, up, 1, 1);
        let third = rig.connect(drafts.0);
        let late = rig.publish_with(third, track("v"), Parameters::default(), properties);
        assert_eq!(rig.groups_asked(third, late), []);
        rig.end();
    }
}

#[test]
fn a_request_for_which_a_publisher_has_no_credit_is_made_later() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let publisher = rig.connect(draft);
        let up = rig.publish_with(publisher, track("v"), Parameters::default(), dynamic(draft));
        let subscriber = rig.connect(Draft::D18);
        let down = rig.subscribe(subscriber, "v");
        // It answered that it sends objects; from now on it does not answer.
        rig.far_mut(publisher).sulks = true;
        let most = crate::session::Limits::default().max_updates;
        for value in 1..=u64::try_from(most).unwrap() + 1 {
            rig.update(subscriber, down, new_group(value));
        }
        assert_eq!(rig.groups_asked(publisher, up).len(), most);
        let first = rig.far[&publisher]
            .events
            .iter()
            .filter(|event| matches!(event, Event::Update { .. }))
            .nth(1)
            .and_then(|event| match event {
                Event::Update { id, update, .. } if *id == up => Some(*update),
                _ => None,
            });
        rig.act(publisher, |session, now| {
            let ok = Ok(crate::wire::message::RequestOk::default());
            session
                .respond_to_update(now, up, first.unwrap(), ok)
                .unwrap();
        });
        assert_eq!(rig.groups_asked(publisher, up).len(), most + 1);
        rig.end();
    }
}
