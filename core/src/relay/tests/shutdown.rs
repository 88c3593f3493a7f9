//! The end of a relay: goodbyes, the drain, and what is refused meanwhile.

use std::time::Duration;

use super::*;
use crate::code::SessionCode;
use crate::transport::Exit;

impl Rig {
    fn shut_down(&mut self) {
        self.relay.handle_shutdown(self.now);
        self.pump();
    }

    fn was_sent_away(&self, connection: ConnectionId) -> bool {
        let goaway = |event: &Event| matches!(event, Event::GoAway { id: None, .. });
        self.far[&connection].events.iter().any(goaway)
    }

    #[track_caller]
    fn assert_closed(&self, connection: ConnectionId, code: SessionCode) {
        let far = &self.far[&connection];
        let (sent, _) = far.closed.clone().expect("closed");
        assert_eq!(sent, code.to_wire(far.draft));
    }
}

#[test]
fn peers_are_told_to_leave_subscriptions_end_and_the_relay_exits_when_all_are_gone() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.object(&mut feed, 0, b"whole");
        assert_eq!(rig.relay.poll_exit(), None);
        rig.shut_down();
        for peer in [running.publisher, running.subscriber] {
            assert!(rig.was_sent_away(peer));
            rig.assert_alive(peer);
        }
        let code = rig.done_code(running.subscriber, running.down);
        assert_eq!(code, DoneCode::GoingAway);
        assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
        assert!(rig.withdrawn(running.publisher, running.up), "B074");
        assert_eq!(rig.relay.poll_exit(), None);
        rig.leave(running.subscriber);
        assert_eq!(rig.relay.poll_exit(), None);
        rig.leave(running.publisher);
        assert_eq!(rig.relay.poll_exit(), Some(Exit::Success));
        rig.end();
    }
}

// Rules: B164
#[test]
fn b164_nothing_is_asked_of_anybody_once_they_were_told_to_leave() {
    for draft in Draft::ALL {
        let mut rig = Rig::discovering(Settings::default());
        let peer = rig.raw_of(draft);
        let subscriber = rig.connect(Draft::D18);
        let patient = Parameters {
            rendezvous_timeout: Some(crate::wire::id::Millis(10_000)),
            ..Parameters::default()
        };
        let down = rig.subscribe_to(subscriber, track("v"), patient);
        rig.shut_down();
        rig.assert_refused(subscriber, down, RequestCode::GoingAway);
        // What somebody waited for, so that the relay would ask.
        let announcement = Message::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: namespace(&["live"]),
            parameters: Parameters::default(),
        });
        let is_open = |output: &&Output| matches!(output, Output::Open { dir: Dir::Bi, .. });
        let opened = rig.far[&peer].outputs.iter().filter(is_open).count();
        let control = StreamId::peer(0);
        let said = if draft == Draft::D16 {
            // It credits more requests, too.
            let before = rig.raw_messages(peer, control).len();
            rig.raw_say(peer, &Message::MaxRequestId(1000));
            rig.raw_say(peer, &announcement);
            rig.raw_messages(peer, control).split_off(before)
        } else {
            let stream = rig.raw_ask(peer, &announcement);
            rig.raw_messages(peer, stream)
        };
        rig.pass(Duration::from_millis(100));
        let is_refused = matches!(said.as_slice(), [Message::RequestError(_)]);
        assert!(is_refused, "{draft:?}: {said:?}");
        let after = rig.far[&peer].outputs.iter().filter(is_open).count();
        assert_eq!(after, opened, "{draft:?}");
        rig.end();
    }
}

#[test]
fn those_who_stay_are_closed_after_the_drain_timeout() {
    for draft in Draft::ALL {
        let mut rig = Rig::with(limits(|limits| {
            limits.drain_timeout = Duration::from_secs(1);
        }));
        let idle = rig.connect(draft);
        let busy = rig.publisher(draft);
        rig.shut_down();
        rig.pass(Duration::from_millis(999));
        rig.assert_alive(idle);
        rig.assert_alive(busy);
        assert_eq!(rig.relay.poll_exit(), None);
        rig.pass(Duration::from_millis(1));
        rig.assert_closed(idle, SessionCode::NoError);
        // V57, B073: its PUBLISH_NAMESPACE is still open.
        rig.assert_closed(busy, SessionCode::GoAwayTimeout);
        assert_eq!(rig.relay.poll_exit(), Some(Exit::Success));
        rig.end();
    }
}

#[test]
fn a_second_shutdown_closes_at_once() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peers = [rig.connect(draft), rig.publisher(draft)];
        rig.far_mut(peers[0]).lingers = true;
        rig.shut_down();
        rig.shut_down();
        for peer in peers {
            rig.assert_closed(peer, SessionCode::NoError);
        }
        assert_eq!(
            rig.relay.poll_exit(),
            None,
            "one connection is not closed yet"
        );
        rig.lose(peers[0]);
        assert_eq!(rig.relay.poll_exit(), Some(Exit::Success));
        rig.end();
    }
}

#[test]
fn a_relay_without_peers_exits_at_once() {
    let mut rig = Rig::new();
    assert_eq!(rig.relay.poll_exit(), None);
    rig.shut_down();
    assert_eq!(rig.relay.poll_exit(), Some(Exit::Success));
    rig.end();
}

#[test]
fn nobody_is_let_in_during_a_shutdown() {
    let mut rig = Rig::new();
    rig.connect(Draft::D18);
    rig.shut_down();
    assert_eq!(rig.try_accept(), None);
    rig.end();
}

// Rules: B173
#[test]
fn b173_requests_during_the_drain_are_refused_with_going_away() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let peer = rig.raw_of(draft);
        rig.shut_down();
        let subscribe = Message::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: track("v"),
            parameters: Parameters::default(),
        });
        let stream = if draft == Draft::D18 {
            rig.raw_ask(peer, &subscribe)
        } else {
            let origin = crate::wire::message::Origin {
                profile: draft.profile(),
                sender: Role::Client,
                channel: Channel::Control,
            };
            let bytes = subscribe.encode(origin).unwrap();
            rig.inject_on(peer, StreamId::peer(0), &bytes);
            StreamId::peer(0)
        };
        let answer = rig.raw_messages(peer, stream).pop();
        let Some(Message::RequestError(error)) = answer else {
            panic!("{answer:?}");
        };
        let going_away = RequestCode::GoingAway.to_wire(draft);
        assert_eq!(error.code.to_wire(draft), going_away);
        rig.assert_alive(peer);
        rig.end();
    }
}

#[test]
fn subscriptions_that_wait_for_a_publisher_are_refused_with_going_away() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let publisher = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        let down = rig.subscribe(subscriber, "v");
        let up = rig.only_asked(publisher);
        rig.shut_down();
        rig.assert_refused(subscriber, down, RequestCode::GoingAway);
        assert!(rig.withdrawn(publisher, up));
        assert!(rig.relay.deadlines.is_empty());
        rig.end();
    }
}
