//! RENDEZVOUS_TIMEOUT: subscriptions that come before their publisher.

use std::time::Duration;

use super::*;
use crate::wire::id::Millis;

impl Rig {
    /// SUBSCRIBE to a track of the namespace `live` that waits so many milliseconds for a publisher.
    pub(super) fn await_publisher(
        &mut self,
        connection: ConnectionId,
        name: &str,
        millis: u64,
    ) -> RequestId {
        let parameters = Parameters {
            rendezvous_timeout: Some(Millis(millis)),
            ..Parameters::default()
        };
        self.subscribe_to(connection, track(name), parameters)
    }
}

// Rules: B319
#[test]
fn b319_a_subscription_waits_for_a_publisher_and_is_served_as_soon_as_one_announces() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let subscriber = rig.connect(Draft::D18);
        let down = rig.await_publisher(subscriber, "v", 1000);
        rig.pass(Duration::from_millis(900));
        assert_eq!(rig.answer(subscriber, down), None);
        let publisher = rig.publisher(draft);
        let up = rig.only_asked(publisher);
        rig.accept(publisher, up);
        rig.ok(subscriber, down);
        rig.group(publisher, up, 0, 1);
        assert_eq!(rig.ids(subscriber, down), [(0, 0)]);
        // The time is over, and nobody minds.
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.done(subscriber, down), None);
        rig.end();
    }
}

// Rules: B319
#[test]
fn b319_without_a_publisher_in_time_the_answer_is_timeout() {
    let mut rig = Rig::new();
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", 1000);
    rig.pass(Duration::from_millis(999));
    assert_eq!(rig.answer(subscriber, down), None);
    rig.pass(Duration::from_millis(1));
    rig.assert_refused(subscriber, down, RequestCode::Timeout);
    assert!(rig.relay.tracks.is_empty());
    rig.end();
}

// Rules: B320
#[test]
fn b320_without_patience_a_track_without_a_publisher_does_not_exist() {
    let mut rig = Rig::new();
    let subscriber = rig.connect(Draft::D18);
    let absent = rig.subscribe(subscriber, "v");
    rig.assert_refused(subscriber, absent, RequestCode::DoesNotExist);
    let none = rig.await_publisher(subscriber, "w", 0);
    rig.assert_refused(subscriber, none, RequestCode::DoesNotExist);
    rig.end();
}

#[test]
fn a_publisher_that_does_not_have_the_track_is_not_the_one_that_is_waited_for() {
    for code in [RequestCode::DoesNotExist, RequestCode::ExcessiveLoad] {
        let mut rig = Rig::new();
        let first = rig.publisher(Draft::D18);
        let subscriber = rig.connect(Draft::D18);
        let down = rig.await_publisher(subscriber, "v", 1000);
        let impatient = rig.connect(Draft::D18);
        let now = rig.subscribe(impatient, "v");
        let up = rig.only_asked(first);
        rig.refuse(first, up, code);
        rig.assert_refused(impatient, now, code);
        assert_eq!(rig.answer(subscriber, down), None);
        let second = rig.publisher(Draft::D18);
        let up = rig.only_asked(second);
        rig.accept(second, up);
        rig.ok(subscriber, down);
        rig.end();
    }
}

#[test]
fn a_publisher_that_refuses_for_another_reason_is_an_answer() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", 1000);
    let up = rig.only_asked(publisher);
    rig.refuse(publisher, up, RequestCode::Unauthorized);
    rig.assert_refused(subscriber, down, RequestCode::Unauthorized);
    rig.end();
}

#[test]
fn a_publisher_that_leaves_before_it_answers_is_not_the_one_that_is_waited_for() {
    let mut rig = Rig::new();
    let publisher = rig.publisher(Draft::D18);
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", 1000);
    rig.lose(publisher);
    assert_eq!(rig.answer(subscriber, down), None);
    let again = rig.publisher(Draft::D18);
    let up = rig.only_asked(again);
    rig.accept(again, up);
    rig.ok(subscriber, down);
    rig.end();
}

#[test]
fn while_a_publisher_is_asked_its_answer_decides_and_not_the_clock() {
    for accepts in [true, false] {
        let mut rig = Rig::new();
        let subscriber = rig.connect(Draft::D18);
        let down = rig.await_publisher(subscriber, "v", 1000);
        rig.pass(Duration::from_millis(999));
        let publisher = rig.publisher(Draft::D18);
        let up = rig.only_asked(publisher);
        rig.pass(Duration::from_millis(500));
        assert_eq!(rig.answer(subscriber, down), None);
        if accepts {
            rig.accept(publisher, up);
            rig.ok(subscriber, down);
        } else {
            rig.refuse(publisher, up, RequestCode::DoesNotExist);
            rig.assert_refused(subscriber, down, RequestCode::DoesNotExist);
        }
        rig.end();
    }
}

#[test]
fn a_subscription_that_waits_can_be_updated_and_withdrawn() {
    let mut rig = Rig::new();
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", 1000);
    rig.update(subscriber, down, forward(false));
    rig.cancel(subscriber, down);
    assert!(rig.relay.tracks.is_empty());
    let publisher = rig.publisher(Draft::D18);
    assert_eq!(rig.asked(publisher), []);
    rig.end();
}

#[test]
fn nobody_waits_longer_than_the_limit() {
    let mut rig = Rig::with(limits(|limits| {
        limits.max_rendezvous_timeout = Duration::from_secs(2);
    }));
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", u64::MAX >> 2);
    rig.pass(Duration::from_millis(1_999));
    assert_eq!(rig.answer(subscriber, down), None);
    rig.pass(Duration::from_millis(1));
    rig.assert_refused(subscriber, down, RequestCode::Timeout);
    rig.end();
}

#[test]
fn no_more_wait_at_once_than_the_limit_allows() {
    let mut rig = Rig::with(limits(|limits| limits.max_rendezvous = 2));
    let subscriber = rig.connect(Draft::D18);
    let downs = ["a", "b", "c"].map(|name| rig.await_publisher(subscriber, name, 1000));
    assert_eq!(rig.answer(subscriber, downs[1]), None);
    rig.assert_refused(subscriber, downs[2], RequestCode::DoesNotExist);
    rig.cancel(subscriber, downs[0]);
    let fourth = rig.await_publisher(subscriber, "d", 1000);
    assert_eq!(rig.answer(subscriber, fourth), None);
    rig.end();
}

#[test]
fn subscriptions_that_wait_for_a_publisher_are_refused_at_shutdown() {
    let mut rig = Rig::new();
    let subscriber = rig.connect(Draft::D18);
    let down = rig.await_publisher(subscriber, "v", 1000);
    rig.relay.handle_shutdown(rig.now);
    rig.pump();
    rig.assert_refused(subscriber, down, RequestCode::GoingAway);
    rig.end();
}

#[test]
fn a_publisher_without_credit_is_asked_once_it_grants_some() {
    let mut rig = Rig::new();
    rig.far_limits.max_requests = 1;
    let publisher = rig.publisher(Draft::D16);
    rig.far_limits = crate::session::Limits::default();
    let subscriber = rig.connect(Draft::D18);
    let first = rig.subscribe(subscriber, "v");
    let up = rig.only_asked(publisher);
    rig.accept(publisher, up);
    let second = rig.await_publisher(subscriber, "w", 1000);
    assert_eq!(rig.answer(subscriber, second), None);
    rig.cancel(subscriber, first);
    let asked = rig.asked(publisher);
    assert_eq!(asked.len(), 2);
    rig.accept(publisher, asked[1].0);
    rig.ok(subscriber, second);
    rig.end();
}
