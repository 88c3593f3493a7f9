//! Peers that break rules: what it costs them, and that it costs nobody else anything (B314).

use std::time::Duration;

use super::*;
use crate::code::SessionCode;

impl Rig {
    #[track_caller]
    fn assert_thrown_out(&self, connection: ConnectionId, code: SessionCode) {
        let far = &self.far[&connection];
        let (sent, reason) = far.closed.clone().expect("closed");
        assert_eq!(sent, code.to_wire(far.draft), "{reason:?}");
        assert!(!reason.is_empty());
    }

    /// The track still runs.
    #[track_caller]
    fn assert_running(&mut self, running: Running, group: u64) {
        self.assert_alive(running.publisher);
        self.assert_alive(running.subscriber);
        self.group(running.publisher, running.up, group, 2);
        let ids = self.ids(running.subscriber, running.down);
        assert!(ids.ends_with(&[(group, 0), (group, 1)]), "{ids:?}");
        assert_eq!(self.done(running.subscriber, running.down), None);
    }

    /// A message on the control stream of a raw client of draft 16.
    pub(super) fn raw_say(&mut self, connection: ConnectionId, message: &Message) {
        let origin = crate::wire::message::Origin {
            profile: Draft::D16.profile(),
            sender: Role::Client,
            channel: Channel::Control,
        };
        let bytes = message.encode(origin).unwrap();
        self.inject_on(connection, StreamId::peer(0), &bytes);
    }

    /// A raw publisher of `live`/`v` in draft 16, with alias 9, and a subscriber.
    fn raw_publisher(&mut self) -> Running {
        let publisher = self.raw_d16();
        let announcement = Message::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: namespace(&["live"]),
            parameters: Parameters::default(),
        });
        self.raw_say(publisher, &announcement);
        let subscriber = self.connect(Draft::D18);
        let down = self.subscribe(subscriber, "v");
        let up = RequestId(1);
        let ok = Message::SubscribeOk(SubscribeOk {
            request_id: Some(up),
            track_alias: TrackAlias(9),
            parameters: Parameters::default(),
            properties: Properties::default(),
        });
        self.raw_say(publisher, &ok);
        self.ok(subscriber, down);
        Running {
            publisher,
            up,
            subscriber,
            down,
        }
    }

    /// PUBLISH_DONE from a raw publisher that claims to have opened three streams.
    fn raw_done(&mut self, running: Running) {
        let done = Message::PublishDone(PublishDone {
            request_id: Some(running.up),
            code: DoneCode::TrackEnded,
            stream_count: Some(3),
            reason: Bytes::from_static(b"over"),
        });
        self.raw_say(running.publisher, &done);
    }
}

/// SUBGROUP_HEADER with the default id, alias 9, this group and priority 128; object 0 with one byte.
const fn subgroup(group: u8) -> [u8; 7] {
    [0x10, 9, group, 128, 0, 1, b'x']
}

// Rules: B064, B071, B090, B091, B314
#[test]
fn b314_garbage_on_a_stream_costs_the_peer_that_sent_it_its_session_alone() {
    let violation = SessionCode::ProtocolViolation;
    let cases: [(&str, Dir, &[u8]); 6] = [
        ("B071 an unknown kind of stream", Dir::Uni, &[0x04, 0, 0, 0]),
        (
            "V68 a reserved subgroup id mode",
            Dir::Uni,
            &[0x16, 1, 0, 0],
        ),
        (
            "B064 a stream begun with an answer",
            Dir::Bi,
            &[0x07, 0, 1, 0],
        ),
        (
            "B091 a message with more than fits",
            Dir::Bi,
            &[0x50, 0, 1, 0],
        ),
        ("B090 an unknown message", Dir::Bi, &[0x3F, 0, 0]),
        ("B109 nonsense", Dir::Bi, &[0x3F, 0xFF, 0xFF, 0xFF]),
    ];
    for draft in Draft::ALL {
        for (what, dir, bytes) in cases {
            let mut rig = Rig::new();
            let running = rig.running((Draft::D18, Draft::D16));
            rig.assert_running(running, 0);
            let bad = rig.raw_of(draft);
            rig.inject(bad, dir, bytes);
            assert!(rig.far[&bad].closed.is_some(), "{what} in {draft:?}");
            rig.assert_thrown_out(bad, violation);
            rig.assert_running(running, 1);
            rig.end();
        }
    }
}

// Rules: B314
#[test]
fn b314_a_publisher_that_breaks_a_rule_ends_for_its_subscribers_as_if_it_had_left() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    let other = rig.connect(Draft::D16);
    rig.inject(running.publisher, Dir::Uni, &subgroup(0));
    assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
    // An object with an unknown status.
    rig.inject(running.publisher, Dir::Uni, &[0x10, 9, 1, 128, 0, 0, 7]);
    rig.assert_thrown_out(running.publisher, SessionCode::ProtocolViolation);
    rig.assert_alive(running.subscriber);
    rig.pass(Limits::default().publisher_grace);
    assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
    let got = rig.received(running.subscriber, running.down).remove(0);
    assert_eq!(got.end, Some(StreamEnd::Reset(ResetCode::InternalError)));
    let code = rig.done_code(running.subscriber, running.down);
    assert_eq!(code, DoneCode::InternalError);
    rig.assert_alive(other);
    rig.end();
}

#[test]
fn b314_a_subscriber_that_breaks_a_rule_costs_the_publisher_only_its_subscription() {
    for drafts in DRAFT_PAIRS {
        let mut rig = Rig::new();
        let running = rig.running(drafts);
        let mut feed = rig.open(running.publisher, running.up, header(0, 0));
        rig.begin(&mut feed, &object(0, 10));
        rig.inject(running.subscriber, Dir::Uni, &[0x04, 0, 0, 0]);
        rig.assert_thrown_out(running.subscriber, SessionCode::ProtocolViolation);
        rig.assert_alive(running.publisher);
        assert!(rig.withdrawn(running.publisher, running.up));
        rig.end();
    }
}

// Rules: B216
#[test]
fn b216_an_alias_used_twice_costs_that_publishers_session_alone() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    let other = rig.publisher(Draft::D18);
    let up = rig.only_asked(other);
    rig.accept(other, up);
    rig.subscribe(running.subscriber, "w");
    let ok = Message::SubscribeOk(SubscribeOk {
        request_id: Some(RequestId(3)),
        track_alias: TrackAlias(9),
        parameters: Parameters::default(),
        properties: Properties::default(),
    });
    rig.raw_say(running.publisher, &ok);
    rig.assert_thrown_out(running.publisher, SessionCode::DuplicateTrackAlias);
    assert_eq!(rig.done(running.subscriber, running.down), None);
    rig.group(other, up, 0, 1);
    assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
    rig.end();
}

#[test]
fn a_message_cut_anywhere_waits_and_a_connection_lost_then_leaves_nothing() {
    let subscribe = [
        0x03, 0, 12, 0, 1, 4, b'l', b'i', b'v', b'e', 1, b'v', 1, 0x10, 0,
    ];
    for cut in 1..subscribe.len() {
        let mut rig = Rig::new();
        let running = rig.running((Draft::D18, Draft::D18));
        let half = rig.raw_d16();
        rig.inject_on(half, StreamId::peer(0), &subscribe[..cut]);
        rig.assert_alive(half);
        rig.lose(half);
        rig.assert_running(running, 0);
        rig.end();
    }
}

#[test]
fn data_for_an_alias_that_never_comes_is_stopped_and_forgotten() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    let most = crate::session::Limits::default().max_early_streams;
    for _ in 0..most + 5 {
        rig.inject(running.publisher, Dir::Uni, &[0x10, 33, 0, 128, 0, 1, b'x']);
    }
    rig.pass(Duration::from_secs(3));
    rig.assert_alive(running.publisher);
    let outputs = rig.far[&running.publisher].outputs.iter();
    let stops = outputs.filter(|output| matches!(output, Output::Stop { .. }));
    assert_eq!(stops.count(), most + 5);
    assert_eq!(rig.received(running.subscriber, running.down), []);
    rig.inject(running.publisher, Dir::Uni, &subgroup(0));
    assert_eq!(rig.ids(running.subscriber, running.down), [(0, 0)]);
    rig.end();
}

#[test]
fn clients_that_connect_and_say_nothing_are_closed() {
    for draft in Draft::ALL {
        let mut rig = Rig::new();
        let silent = rig.raw(draft);
        rig.pass(crate::session::Limits::default().setup_timeout);
        rig.assert_thrown_out(silent, SessionCode::ControlMessageTimeout);
        rig.end();
    }
}

// Rules: B221
#[test]
fn b221_objects_that_come_after_publish_done_are_delivered_before_the_end_is_told() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    let finished = |rig: &mut Rig, group| {
        let stream = rig.inject(running.publisher, Dir::Uni, &subgroup(group));
        rig.end_injected(running.publisher, stream);
    };
    finished(&mut rig, 0);
    rig.raw_done(running);
    finished(&mut rig, 1);
    assert_eq!(rig.done(running.subscriber, running.down), None);
    finished(&mut rig, 2);
    let ids = rig.ids(running.subscriber, running.down);
    assert_eq!(ids, [(0, 0), (1, 0), (2, 0)]);
    let done = rig.done(running.subscriber, running.down).unwrap();
    assert_eq!(
        (done.code, done.stream_count),
        (DoneCode::TrackEnded, Some(3))
    );
    rig.end();
}

// Rules: B225
#[test]
fn b225_streams_that_never_come_delay_the_end_only_so_long() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    rig.inject(running.publisher, Dir::Uni, &subgroup(0));
    rig.raw_done(running);
    rig.pass(Duration::from_millis(1_999));
    assert_eq!(rig.done(running.subscriber, running.down), None);
    rig.pass(Duration::from_millis(1));
    let code = rig.done_code(running.subscriber, running.down);
    assert_eq!(code, DoneCode::TrackEnded);
    rig.end();
}

#[test]
fn a_publisher_that_leaves_after_publish_done_has_still_ended_its_track_in_order() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    rig.raw_done(running);
    rig.lose(running.publisher);
    let done = rig.done(running.subscriber, running.down).unwrap();
    assert_eq!(done.code, DoneCode::TrackEnded);
    assert_eq!(done.reason, "over");
    rig.end();
}

#[test]
fn a_track_that_is_published_anew_while_its_end_settles_is_asked_for_again() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    rig.raw_done(running);
    let other = rig.publisher(Draft::D18);
    let up = rig.only_asked(other);
    rig.accept(other, up);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.done(running.subscriber, running.down), None);
    rig.group(other, up, 5, 1);
    assert_eq!(rig.ids(running.subscriber, running.down), [(5, 0)]);
    rig.end();
}

#[test]
fn a_publisher_that_announces_anew_while_its_track_settles_is_asked_for_it_again() {
    let mut rig = Rig::new();
    let running = rig.raw_publisher();
    rig.raw_done(running);
    rig.raw_say(
        running.publisher,
        &Message::PublishNamespaceDone(RequestId(0)),
    );
    let announcement = Message::PublishNamespace(PublishNamespace {
        request_id: RequestId(2),
        namespace: namespace(&["live"]),
        parameters: Parameters::default(),
    });
    rig.raw_say(running.publisher, &announcement);
    let messages = rig.raw_messages(running.publisher, StreamId::peer(0));
    let asked: Vec<RequestId> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Subscribe(subscribe) => Some(subscribe.request_id),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [RequestId(1), RequestId(3)]);
    rig.assert_alive(running.publisher);
    rig.end();
}
