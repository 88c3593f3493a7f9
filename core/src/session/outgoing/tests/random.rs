//! Random verbs and answers: what must hold whatever the transport and the application do.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Serve(u64, u8, bool),
    Withdraw(u64),
    Open(u64, u64, u8),
    Put(u64, usize, bool),
    EndKnown(u64),
    Reset(u64),
    Stopped(u64),
    Acked(u64),
    Writable(u64),
    Priority(u64, u8),
    Datagram(u64, u64),
    CanOpen,
    DatagramRoom,
    Wait(u64),
    /// Polls once and answers: how much is taken, and what there is room for.
    Pump(usize, u8),
}

fn any_op() -> impl Strategy<Value = Op> {
    let request = 0..3_u64;
    let stream = 0..8_u64;
    prop_oneof![
        2 => (request.clone(), 0..3_u8, any::<bool>())
            .prop_map(|(request, priority, timeout)| Op::Serve(request, priority, timeout)),
        1 => request.clone().prop_map(Op::Withdraw),
        3 => (request.clone(), 0..3_u64, 0..3_u8)
            .prop_map(|(request, group, priority)| Op::Open(request, group, priority)),
        6 => (stream.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(stream, length, fin)| Op::Put(stream, length, fin)),
        1 => stream.clone().prop_map(Op::EndKnown),
        1 => stream.clone().prop_map(Op::Reset),
        1 => stream.clone().prop_map(Op::Stopped),
        2 => stream.clone().prop_map(Op::Acked),
        2 => stream.clone().prop_map(Op::Writable),
        1 => (stream, 0..3_u8).prop_map(|(stream, priority)| Op::Priority(stream, priority)),
        2 => (request, 0..9_u64).prop_map(|(request, object)| Op::Datagram(request, object)),
        1 => Just(Op::CanOpen),
        1 => Just(Op::DatagramRoom),
        1 => (0..1_500_000_u64).prop_map(Op::Wait),
        12 => (0..5_usize, 0..6_u8).prop_map(|(taken, room)| Op::Pump(taken, room)),
    ]
}

struct Run {
    bench: Bench,
    opened: u64,
    told_full: bool,
}

impl Run {
    fn step(&mut self, op: &Op) {
        let now = self.bench.now;
        let outgoing = &mut self.bench.outgoing;
        match op {
            Op::Serve(id, priority, timeout) => {
                let timeout = timeout.then_some(SECOND);
                let delivery = Delivery {
                    subscriber_priority: *priority,
                    object_timeout: timeout,
                    subgroup_timeout: timeout,
                    ..DELIVERY
                };
                outgoing.serve(request(*id), delivery);
            }
            Op::Withdraw(id) => outgoing.withdraw(request(*id), ResetCode::Cancelled),
            Op::Open(of, group, priority) => {
                let content = Content::Subgroup(GroupId(*group), SubgroupId(0));
                let id = stream(self.opened);
                match outgoing.open(id, request(*of), content, *priority) {
                    Ok(()) => self.opened += 1,
                    Err(OpenError::Full) => self.told_full = true,
                    Err(OpenError::UnknownRequest) => {}
                }
            }
            Op::Put(n, length, fin) => {
                if outgoing.owns(stream(*n)) {
                    self.bench.store.put(stream(*n), &b"abcd"[..*length], *fin);
                    outgoing.ready(stream(*n));
                }
            }
            Op::EndKnown(n) => {
                outgoing.end_known(now, stream(*n));
            }
            Op::Reset(n) => {
                outgoing.reset(stream(*n), ResetCode::Cancelled);
            }
            Op::Stopped(n) => outgoing.stopped(stream(*n), ResetCode::Cancelled),
            Op::Acked(n) => outgoing.acked(stream(*n)),
            Op::Writable(n) => outgoing.writable(stream(*n)),
            Op::Priority(n, priority) => {
                outgoing.set_publisher_priority(stream(*n), *priority);
            }
            Op::Datagram(of, object) => {
                let location = Location {
                    group: GroupId(0),
                    object: ObjectId(*object),
                };
                let bytes = Bytes::from_static(b"d");
                outgoing.datagram(request(*of), 1, location, Some(now), bytes);
            }
            Op::CanOpen => outgoing.can_open(),
            Op::DatagramRoom => outgoing.datagram_room(),
            Op::Wait(micros) => {
                self.bench.now = now + Duration::from_micros(*micros);
                outgoing.handle_timeout(self.bench.now);
            }
            Op::Pump(taken, room) => self.pump(*taken, *room),
        }
    }

    fn pump(&mut self, taken: usize, room: u8) {
        let (now, store) = (self.bench.now, &mut self.bench.store);
        self.bench.outgoing.new_turn();
        let Some(output) = self.bench.outgoing.poll_data(now, store) else {
            return;
        };
        let answer = match (&output, room) {
            (_, 5) => Answer::Gone,
            (Output::Open { .. } | Output::Datagram(_), 0) => Answer::Blocked,
            (Output::Datagram(_), 1) => Answer::TooLarge,
            (Output::Open { .. } | Output::Datagram(_), _) => Answer::Done,
            (Output::Write { bytes, fin, .. }, _) => {
                assert!(*fin || !bytes.is_empty());
                let taken = taken.min(bytes.len());
                let room = match room {
                    _ if taken == bytes.len() => Room::More,
                    0 => Room::ConnectionFull,
                    _ => Room::StreamFull,
                };
                Answer::Wrote { taken, room }
            }
            other => panic!("{other:?}"),
        };
        self.bench.answer(answer);
    }

    fn check(&mut self) {
        while let Some(event) = self.bench.outgoing.poll_event() {
            if event == Event::CanOpenStream {
                assert!(self.told_full, "nobody waits");
                self.told_full = false;
            }
        }
        let outgoing = &mut self.bench.outgoing;
        while outgoing.poll_urgent().is_some() {}
        let unfinished = |stream: &&Stream| stream.state != State::Finished;
        assert_eq!(
            outgoing.streams.values().filter(unfinished).count(),
            outgoing.unfinished
        );
        assert!(outgoing.unfinished <= outgoing.max_open);
        assert!(outgoing.streams.len() - outgoing.unfinished <= outgoing.max_open);
        assert!(outgoing.datagrams.len() <= outgoing.max_datagrams);
        for (id, served) in &outgoing.requests {
            let mine = |stream: &&Stream| stream.request == *id && stream.state != State::Finished;
            assert_eq!(
                outgoing.streams.values().filter(mine).count(),
                served.unfinished
            );
            let mine = |datagram: &&Datagram| datagram.request == *id;
            assert_eq!(
                outgoing.datagrams.iter().filter(mine).count(),
                served.datagrams
            );
        }
        for datagram in &outgoing.datagrams {
            assert!(outgoing.schedule.contains(Key::Datagram(datagram.number)));
        }
        for (id, stream) in &outgoing.streams {
            let offered = outgoing.schedule.contains(Key::Stream(*id));
            let able = stream.ready && matches!(stream.state, State::Waiting | State::Open);
            assert_eq!(offered, able, "{id} {stream:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happens_the_tables_agree(ops in proptest::collection::vec(any_op(), 1..80)) {
        let mut run = Run { bench: bench(), opened: 0, told_full: false };
        for op in &ops {
            run.step(op);
            run.check();
        }
    }
}
