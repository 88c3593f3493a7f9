mod random;

use super::*;
use crate::session::source::Piece;
use crate::wire::id::ObjectId;

const SECOND: Duration = Duration::from_secs(1);

const DELIVERY: Delivery = Delivery {
    subscriber_priority: 128,
    group_order: GroupOrder::Ascending,
    object_timeout: None,
    subgroup_timeout: None,
};

/// Has what it was given.
#[derive(Debug, Default)]
struct Store {
    streams: BTreeMap<StreamId, (Vec<u8>, bool)>,
    began: Option<Time>,
}

impl Store {
    fn put(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        let (all, end) = self.streams.entry(stream).or_default();
        all.extend_from_slice(bytes);
        *end |= fin;
    }
}

impl Source for Store {
    fn peek(&mut self, _: Time, stream: StreamId) -> Option<Piece> {
        let (bytes, fin) = self.streams.get(&stream)?;
        (!bytes.is_empty() || *fin).then(|| Piece {
            bytes: bytes.clone().into(),
            fin: *fin,
        })
    }

    fn taken(&mut self, _: Time, stream: StreamId, bytes: usize, fin: bool) {
        self.streams.get_mut(&stream).unwrap().0.drain(..bytes);
        if fin {
            self.streams.remove(&stream);
        }
    }

    fn object_began(&mut self, _: StreamId) -> Option<Time> {
        self.began
    }
}

struct Bench {
    outgoing: Outgoing,
    store: Store,
    now: Time,
}

const fn stream(n: u64) -> StreamId {
    StreamId::local(n)
}

const fn request(n: u64) -> RequestId {
    RequestId(n)
}

fn bench() -> Bench {
    let limits = Limits {
        max_open_data_streams: 3,
        max_datagram_backlog: 2,
        ..Limits::default()
    };
    let mut outgoing = Outgoing::new(&limits);
    outgoing.serve(request(0), DELIVERY);
    outgoing.serve(request(2), DELIVERY);
    Bench {
        outgoing,
        store: Store::default(),
        now: Time::ZERO,
    }
}

impl Bench {
    fn open(&mut self, n: u64, of: u64, group: u64) {
        let content = Content::Subgroup(GroupId(group), SubgroupId(0));
        self.outgoing
            .open(stream(n), request(of), content, 128)
            .unwrap();
    }

    /// Opens a stream and hands over a first byte.
    fn opened(&mut self, n: u64, of: u64, group: u64) {
        self.open(n, of, group);
        self.put(n, b"h", false);
        assert_eq!(self.next(), format!("open {n}"));
        self.answer(Answer::Done);
        assert_eq!(self.next(), format!("write {n} h"));
        self.wrote(1, Room::More);
        assert_eq!(self.next(), "nothing");
        while self.outgoing.poll_urgent().is_some() {}
    }

    fn put(&mut self, n: u64, bytes: &[u8], fin: bool) {
        self.store.put(stream(n), bytes, fin);
        assert!(self.outgoing.ready(stream(n)));
    }

    fn next(&mut self) -> String {
        match self.outgoing.poll_data(self.now, &mut self.store) {
            None => "nothing".to_owned(),
            Some(Output::Open { stream, dir }) => {
                assert_eq!(dir, Dir::Uni);
                format!("open {}", stream.index())
            }
            Some(Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            }) => {
                assert!(!urgent);
                let end = if fin { " fin" } else { "" };
                format!("write {} {}{end}", stream.index(), bytes.escape_ascii())
            }
            Some(Output::Datagram(bytes)) => format!("datagram {}", bytes.escape_ascii()),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.outgoing.answered(self.now, &answer, &mut self.store);
    }

    fn wrote(&mut self, taken: usize, room: Room) {
        self.answer(Answer::Wrote { taken, room });
    }

    fn datagram(&mut self, of: u64, object: u64, bytes: &'static [u8]) {
        let location = Location {
            group: GroupId(0),
            object: ObjectId(object),
        };
        let began = Some(self.now);
        let bytes = Bytes::from_static(bytes);
        assert!(
            self.outgoing
                .datagram(request(of), 128, location, began, bytes)
        );
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.outgoing.poll_event()).collect()
    }

    fn urgent(&mut self) -> Vec<Urgent> {
        std::iter::from_fn(|| self.outgoing.poll_urgent()).collect()
    }
}

fn reset(n: u64, code: ResetCode) -> Urgent {
    Urgent::Reset {
        stream: stream(n),
        code,
    }
}

#[test]
fn stream_is_opened_only_when_it_has_something() {
    let mut bench = bench();
    bench.open(7, 0, 0);
    assert_eq!(bench.next(), "nothing");
    assert_eq!(bench.outgoing.streams_opened(request(0)), 0);
    bench.put(7, b"ab", true);
    assert_eq!(bench.next(), "open 7");
    bench.answer(Answer::Done);
    assert_eq!(
        bench.urgent(),
        [Urgent::Priority {
            stream: stream(7),
            priority: -1 - 128 * 256 - 128
        }]
    );
    assert_eq!(bench.outgoing.streams_opened(request(0)), 1);
    assert_eq!(bench.next(), "write 7 ab fin");
    bench.wrote(2, Room::More);
    assert_eq!(bench.next(), "nothing");
    assert!(bench.outgoing.is_idle(request(0)));
    assert!(bench.events().is_empty());
    bench.outgoing.acked(stream(7));
    let delivered = Event::StreamDelivered { stream: stream(7) };
    assert_eq!(bench.events(), [delivered]);
    assert!(!bench.outgoing.owns(stream(7)));
}

#[test]
fn lack_of_stream_credit_stops_openings_but_not_open_streams() {
    let mut bench = bench();
    bench.opened(1, 0, 5);
    bench.open(2, 0, 0);
    bench.put(2, b"b", false);
    assert_eq!(bench.next(), "open 2");
    bench.answer(Answer::Blocked);
    assert_eq!(bench.next(), "nothing");
    bench.put(1, b"a", false);
    assert_eq!(bench.next(), "write 1 a");
    bench.wrote(1, Room::More);
    assert_eq!(bench.next(), "nothing");
    bench.outgoing.can_open();
    assert_eq!(bench.next(), "open 2");
}

#[test]
fn what_was_not_taken_is_offered_again_with_its_end() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.put(1, b"abc", true);
    assert_eq!(bench.next(), "write 1 abc fin");
    bench.wrote(1, Room::More);
    assert!(!bench.outgoing.is_idle(request(0)));
    assert_eq!(bench.next(), "write 1 bc fin");
    bench.wrote(2, Room::More);
    assert!(bench.outgoing.is_idle(request(0)));
}

#[test]
fn full_stream_waits_for_its_room_while_others_go_on() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.opened(2, 0, 1);
    bench.put(1, b"abc", false);
    bench.put(2, b"xyz", false);
    assert_eq!(bench.next(), "write 1 abc");
    bench.wrote(1, Room::StreamFull);
    assert_eq!(bench.next(), "write 2 xyz");
    bench.wrote(3, Room::More);
    assert_eq!(bench.next(), "nothing");
    bench.put(1, b"d", false);
    bench.outgoing.new_turn();
    assert_eq!(bench.next(), "nothing", "still full");
    bench.outgoing.writable(stream(1));
    assert_eq!(bench.next(), "write 1 bcd");
}

#[test]
fn full_connection_takes_nothing_until_its_next_input() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.opened(2, 0, 1);
    bench.put(1, b"a", false);
    bench.put(2, b"x", false);
    assert_eq!(bench.next(), "write 1 a");
    bench.wrote(0, Room::ConnectionFull);
    assert_eq!(bench.next(), "nothing");
    bench.outgoing.new_turn();
    assert_eq!(bench.next(), "write 1 a");
}

#[test]
fn many_full_streams_count_as_a_full_connection() {
    let limits = Limits {
        max_open_data_streams: 20,
        ..Limits::default()
    };
    let mut bench = Bench {
        outgoing: Outgoing::new(&limits),
        ..bench()
    };
    bench.outgoing.serve(request(0), DELIVERY);
    for n in 0..10 {
        bench.opened(n, 0, n);
    }
    for n in 0..10 {
        bench.put(n, b"a", false);
    }
    for n in 0..8 {
        assert_eq!(bench.next(), format!("write {n} a"));
        bench.wrote(0, Room::StreamFull);
    }
    assert_eq!(bench.next(), "nothing");
    bench.outgoing.new_turn();
    assert_eq!(
        bench.next(),
        "write 8 a",
        "the full ones are not tried again"
    );
}

// Rules: B340
#[test]
fn streams_leave_in_the_order_of_priorities_even_when_they_change() {
    let mut bench = bench();
    for (n, of) in [(1, 0), (2, 2)] {
        bench.opened(n, of, 0);
    }
    bench.put(1, b"a", false);
    bench.put(2, b"b", false);
    let urgent = Delivery {
        subscriber_priority: 1,
        ..DELIVERY
    };
    bench.outgoing.serve(request(2), urgent);
    assert_eq!(bench.next(), "write 2 b");
    bench.wrote(0, Room::More);
    bench.outgoing.serve(request(2), DELIVERY);
    assert!(bench.outgoing.set_publisher_priority(stream(1), 3));
    assert_eq!(bench.next(), "write 1 a");
}

#[test]
fn more_streams_than_allowed_must_wait() {
    let mut bench = bench();
    for n in 0..3 {
        bench.open(n, 0, n);
    }
    let content = Content::Fetch;
    let refused = bench.outgoing.open(stream(3), request(2), content, 1);
    assert_eq!(refused, Err(OpenError::Full));
    assert!(bench.events().is_empty());
    bench.outgoing.reset(stream(0), ResetCode::Cancelled);
    assert_eq!(bench.events(), [Event::CanOpenStream]);
    assert_eq!(bench.urgent(), [], "it was never opened");
    bench
        .outgoing
        .open(stream(3), request(2), content, 1)
        .unwrap();
    let unknown = bench.outgoing.open(stream(4), request(9), content, 1);
    assert_eq!(unknown, Err(OpenError::UnknownRequest));
}

#[test]
fn finished_streams_are_bounded_too() {
    let mut bench = bench();
    for n in 0..5 {
        bench.opened(n, 0, n);
        bench.put(n, b"", true);
        assert_eq!(bench.next(), format!("write {n}  fin"));
        bench.wrote(0, Room::More);
    }
    assert!(!bench.outgoing.owns(stream(0)) && !bench.outgoing.owns(stream(1)));
    for n in 2..5 {
        assert!(bench.outgoing.owns(stream(n)));
    }
    assert_eq!(bench.outgoing.streams_opened(request(0)), 5);
}

// Rules: B381
#[test]
fn stopped_stream_is_reset_and_told_b209() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.outgoing.stopped(stream(1), ResetCode::ExcessiveLoad);
    assert_eq!(bench.urgent(), [reset(1, ResetCode::Cancelled)]);
    assert_eq!(
        bench.events(),
        [Event::StreamStopped {
            stream: stream(1),
            code: ResetCode::ExcessiveLoad
        }]
    );
    assert!(bench.outgoing.is_idle(request(0)));
    assert!(!bench.outgoing.ready(stream(1)));
}

// Rules: B209, B211
#[test]
fn withdrawn_request_resets_its_streams_and_drops_its_datagrams_b209_b211() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.opened(2, 2, 0);
    bench.open(3, 0, 1);
    bench.put(3, b"never", false);
    bench.put(1, b"never", false);
    bench.datagram(0, 0, b"never");
    bench.outgoing.withdraw(request(0), ResetCode::Cancelled);
    assert_eq!(bench.urgent(), [reset(1, ResetCode::Cancelled)]);
    assert_eq!(bench.next(), "nothing");
    assert!(bench.outgoing.owns(stream(2)));
    assert!(!bench.outgoing.datagram(
        request(0),
        1,
        Location::default(),
        None,
        Bytes::from_static(b"late")
    ));
}

// Rules: B347, B351
#[test]
fn object_too_old_resets_its_stream() {
    let mut bench = bench();
    let delivery = Delivery {
        object_timeout: Some(SECOND),
        ..DELIVERY
    };
    bench.outgoing.serve(request(0), delivery);
    bench.opened(1, 0, 0);
    bench.opened(2, 2, 0);
    bench.store.began = Some(Time::ZERO);
    bench.put(1, b"a", false);
    bench.now = Time::ZERO + SECOND;
    assert_eq!(bench.next(), "write 1 a", "just in time");
    bench.wrote(0, Room::More);
    bench.now = bench.now + Duration::from_micros(1);
    assert_eq!(bench.next(), "nothing");
    assert_eq!(bench.urgent(), [reset(1, ResetCode::DeliveryTimeout)]);
    assert_eq!(bench.events(), [Event::StreamExpired { stream: stream(1) }]);
    // the other request has no timeout
    bench.put(2, b"b", false);
    assert_eq!(bench.next(), "write 2 b");
}

// Rules: B354
#[test]
fn subgroup_not_acknowledged_in_time_is_reset() {
    let mut bench = bench();
    let delivery = Delivery {
        subgroup_timeout: Some(SECOND),
        ..DELIVERY
    };
    bench.outgoing.serve(request(0), delivery);
    for n in 1..4 {
        bench.opened(n, 0, n);
    }
    assert_eq!(bench.outgoing.poll_timeout(), None, "no end is known");
    // the end of 1 is known early, that of 2 when it is handed over, that of 3 never
    assert!(bench.outgoing.end_known(bench.now, stream(1)));
    bench.now = bench.now + SECOND / 2;
    assert!(
        bench.outgoing.end_known(bench.now, stream(1)),
        "again: no difference"
    );
    bench.put(2, b"", true);
    assert_eq!(bench.next(), "write 2  fin");
    bench.wrote(0, Room::More);
    let first = Time::ZERO + SECOND;
    assert_eq!(bench.outgoing.poll_timeout().map(|(at, _)| at), Some(first));
    bench.outgoing.handle_timeout(first);
    assert_eq!(bench.urgent(), [reset(1, ResetCode::DeliveryTimeout)]);
    bench.outgoing.handle_timeout(first + SECOND / 2);
    assert_eq!(bench.urgent(), [reset(2, ResetCode::DeliveryTimeout)]);
    assert_eq!(bench.outgoing.poll_timeout(), None);
    assert!(bench.outgoing.owns(stream(3)));
}

#[test]
fn acknowledged_subgroup_has_no_timeout() {
    let mut bench = bench();
    let delivery = Delivery {
        subgroup_timeout: Some(SECOND),
        ..DELIVERY
    };
    bench.outgoing.serve(request(0), delivery);
    bench.opened(1, 0, 0);
    bench.put(1, b"", true);
    bench.next();
    bench.wrote(0, Room::More);
    assert!(bench.outgoing.poll_timeout().is_some());
    bench.outgoing.acked(stream(1));
    assert_eq!(bench.outgoing.poll_timeout(), None);
}

// Rules: B210
#[test]
fn datagrams_wait_for_room_and_the_oldest_is_dropped() {
    let mut bench = bench();
    bench.datagram(0, 0, b"zero");
    assert_eq!(bench.next(), "datagram zero");
    bench.answer(Answer::Blocked);
    assert_eq!(bench.next(), "nothing");
    assert!(!bench.outgoing.is_idle(request(0)));
    bench.datagram(0, 1, b"one");
    bench.datagram(0, 2, b"two");
    bench.outgoing.datagram_room();
    assert_eq!(bench.next(), "datagram one");
    bench.answer(Answer::TooLarge);
    assert_eq!(bench.next(), "datagram two");
    bench.answer(Answer::Done);
    assert_eq!(bench.next(), "nothing");
    assert!(bench.outgoing.is_idle(request(0)));
}

// Rules: B353
#[test]
fn datagram_too_old_by_either_timeout_is_dropped() {
    for delivery in [
        Delivery {
            object_timeout: Some(SECOND),
            subgroup_timeout: Some(2 * SECOND),
            ..DELIVERY
        },
        Delivery {
            subgroup_timeout: Some(SECOND),
            ..DELIVERY
        },
    ] {
        let mut bench = bench();
        bench.outgoing.serve(request(0), delivery);
        bench.datagram(0, 0, b"old");
        bench.now = bench.now + SECOND + Duration::from_micros(1);
        bench.datagram(0, 1, b"new");
        assert_eq!(bench.next(), "datagram new");
    }
}

#[test]
fn requests_of_equal_priority_share_the_connection() {
    let mut bench = bench();
    bench.opened(1, 0, 0);
    bench.opened(2, 2, 0);
    let mut left = String::new();
    for _ in 0..3 {
        bench.put(1, b"1", false);
        bench.put(2, b"2", false);
    }
    for _ in 0..6 {
        let output = bench.next();
        left.push_str(output.split(' ').nth(1).unwrap());
        bench.wrote(1, Room::More);
    }
    assert_eq!(left, "121212");
}

#[test]
fn stream_that_the_transport_lost_is_forgotten() {
    let mut bench = bench();
    bench.open(1, 0, 0);
    bench.put(1, b"a", false);
    assert_eq!(bench.next(), "open 1");
    bench.answer(Answer::Gone);
    assert!(!bench.outgoing.owns(stream(1)));
    bench.opened(2, 0, 0);
    bench.put(2, b"a", false);
    bench.next();
    bench.answer(Answer::Gone);
    assert!(!bench.outgoing.owns(stream(2)));
    assert!(bench.outgoing.is_idle(request(0)));
    assert_eq!(bench.urgent(), []);
    // Whoever has the bytes is told, once, even if the transport tells later why.
    bench.outgoing.stopped(stream(2), ResetCode::InternalError);
    let told = std::iter::from_fn(|| bench.outgoing.poll_event());
    let stopped = |n| Event::StreamStopped {
        stream: stream(n),
        code: ResetCode::Cancelled,
    };
    assert_eq!(told.collect::<Vec<_>>(), [stopped(1), stopped(2)]);
}
