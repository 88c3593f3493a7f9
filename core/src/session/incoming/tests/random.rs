//! Random streams, datagrams and requests in random order: what must hold whatever the peer and the application do.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Open,
    /// Writes the start of something to the stream of this age.
    Write(usize, Bytes),
    Fin(usize),
    Reset(usize),
    Blocked(usize),
    Bind(u64),
    Fetch(u64),
    Done(u64, Option<u64>),
    Forget(u64),
    Pause(usize),
    Resume(usize),
    Stop(usize),
    Datagram(u64, u64),
    Wait(u64),
}

/// A subgroup's stream, or a part of one, of one of a few tracks; contradictions are likely.
fn any_bytes() -> impl Strategy<Value = Bytes> {
    let whole = (
        0..4_u64,
        0..3_u64,
        proptest::collection::vec(0..4_u64, 0..3),
        0..3_u8,
    )
        .prop_map(|(alias, group, gaps, kind)| {
            let mut to = BytesMut::new();
            let profile = Draft::D18.profile();
            if kind == 0 {
                let id = RequestId(100 + alias);
                let mut encoder =
                    FetchEncoder::new(profile, id, GroupOrder::Ascending, &mut to).unwrap();
                encoder.entry(&fetched(at(group, 1), 1), &mut to).unwrap();
                to.extend_from_slice(b"x");
                return to.freeze();
            }
            let header = SubgroupHeader {
                end_of_group: kind == 1,
                ..header(group)
            };
            encode_subgroup_header(profile, TrackAlias(alias), &header, false, &mut to).unwrap();
            let mut previous: Option<ObjectId> = None;
            for gap in gaps {
                let id = previous.map_or(gap, |previous| previous.0 + 1 + gap);
                let object = ObjectHeader {
                    id: ObjectId(id),
                    properties: Properties::default(),
                    status: ObjectStatus::Normal,
                    payload_length: 1,
                };
                encode_object_header(profile, false, previous, &object, &mut to).unwrap();
                to.extend_from_slice(b"x");
                previous = Some(object.id);
            }
            to.freeze()
        });
    (whole, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(bytes, cut, some)| {
        if some {
            bytes.slice(..=cut.index(bytes.len()))
        } else {
            bytes
        }
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let request = 0..4_u64;
    let stream = 0..4_usize;
    prop_oneof![
        3 => Just(Op::Open),
        6 => (stream.clone(), any_bytes()).prop_map(|(stream, bytes)| Op::Write(stream, bytes)),
        2 => stream.clone().prop_map(Op::Fin),
        1 => stream.clone().prop_map(Op::Reset),
        1 => stream.clone().prop_map(Op::Blocked),
        3 => request.clone().prop_map(Op::Bind),
        1 => request.clone().prop_map(Op::Fetch),
        1 => (request.clone(), proptest::option::of(0..4_u64))
            .prop_map(|(request, count)| Op::Done(request, count)),
        1 => request.clone().prop_map(Op::Forget),
        1 => stream.clone().prop_map(Op::Pause),
        1 => stream.clone().prop_map(Op::Resume),
        1 => stream.prop_map(Op::Stop),
        1 => (request, 0..5_u64).prop_map(|(alias, object)| Op::Datagram(alias, object)),
        1 => (0..2_000_000_u64).prop_map(Op::Wait),
    ]
}

/// What the application knows after everything told so far.
#[derive(Default)]
struct Told {
    open: BTreeSet<StreamId>,
    ended: BTreeSet<StreamId>,
    stopped: BTreeSet<StreamId>,
}

impl Told {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only some events come from here"
    )]
    fn hear(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Stop { stream, .. } => {
                assert!(self.stopped.insert(*stream), "{stream} stopped twice");
            }
            Outcome::Event(Event::SubgroupOpened { stream, .. }) => {
                assert!(!self.stopped.contains(stream) && !self.ended.contains(stream));
                assert!(self.open.insert(*stream), "{stream} opened twice");
            }
            Outcome::Event(Event::Object { stream, .. } | Event::Payload { stream, .. }) => {
                assert!(self.open.contains(stream), "{stream} is not open");
            }
            Outcome::Event(Event::SubgroupEnded { stream, .. }) => {
                assert!(self.open.remove(stream), "{stream} was not open");
                self.ended.insert(*stream);
            }
            _ => {}
        }
    }
}

struct Run {
    bench: Bench,
    told: Told,
    /// In order of opening.
    streams: Vec<StreamId>,
    next_request: u64,
    /// The requests by alias; a request is bound once.
    bound: BTreeMap<u64, RequestId>,
    fetched: BTreeSet<u64>,
}

impl Run {
    fn stream(&self, age: usize) -> StreamId {
        let at = self.streams.len().saturating_sub(1 + age);
        self.streams.get(at).copied().unwrap_or(stream(999))
    }

    fn request(&self, alias: u64) -> RequestId {
        self.bound.get(&alias).copied().unwrap_or(RequestId(999))
    }

    fn step(&mut self, op: &Op) -> Result<(), Error> {
        let now = self.bench.now;
        let incoming = &mut self.bench.incoming;
        match op {
            Op::Open => {
                let id = stream((0..).nth(self.streams.len()).unwrap_or(0));
                self.streams.push(id);
                incoming.opened(id);
            }
            Op::Bind(alias) => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                let free = !matches!(incoming.aliases.get(&TrackAlias(*alias)), Some(Some(_)));
                if free {
                    self.bound.insert(*alias, request);
                    incoming.bind(now, request, TrackAlias(*alias), 128)?;
                }
            }
            Op::Fetch(n) => {
                if self.fetched.insert(*n) {
                    incoming.expect_fetch(RequestId(100 + n), GroupOrder::Ascending);
                }
            }
            Op::Datagram(alias, object) => {
                let object = DatagramObject {
                    location: at(1, *object),
                    priority: None,
                    properties: Properties::default(),
                    status: ObjectStatus::Normal,
                    end_of_group: false,
                    payload: Bytes::new(),
                };
                let profile = Draft::D18.profile();
                if let Ok(bytes) = encode_datagram(profile, TrackAlias(*alias), &object) {
                    incoming.datagram(now, &bytes)?;
                }
            }
            Op::Done(alias, count) => {
                let request = self.request(*alias);
                self.bench.incoming.done(now, request, *count, SECOND);
            }
            Op::Forget(alias) => {
                let request = self.request(*alias);
                self.bench.incoming.forget(request, ResetCode::Cancelled);
            }
            Op::Wait(micros) => self.bench.wait(Duration::from_micros(*micros)),
            Op::Write(age, _)
            | Op::Fin(age)
            | Op::Reset(age)
            | Op::Blocked(age)
            | Op::Pause(age)
            | Op::Resume(age)
            | Op::Stop(age) => {
                let id = self.stream(*age);
                self.on_stream(op, id)?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are not about a stream"
    )]
    fn on_stream(&mut self, op: &Op, id: StreamId) -> Result<(), Error> {
        let now = self.bench.now;
        let incoming = &mut self.bench.incoming;
        // the transport answers only where it was asked
        let asked = incoming.readable.contains(&id);
        match op {
            Op::Write(_, bytes) if asked => {
                incoming.answered(now, id, Answer::Data(bytes.clone()))?;
            }
            Op::Fin(_) if asked => incoming.answered(now, id, Answer::Fin)?,
            Op::Reset(_) if asked => incoming.answered(now, id, Answer::Reset(1))?,
            Op::Blocked(_) if asked => {
                incoming.answered(now, id, Answer::Blocked)?;
                incoming.readable(id);
            }
            Op::Pause(_) => incoming.pause(id),
            Op::Resume(_) => incoming.resume(id),
            Op::Stop(_) => incoming.stop(now, id, ResetCode::Cancelled),
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self) {
        while let Some(outcome) = self.bench.incoming.poll_outcome() {
            self.told.hear(&outcome);
        }
        let incoming = &self.bench.incoming;
        let limits = limits();
        assert!(incoming.streams.len() <= 4);
        assert!(incoming.early_streams.len() <= limits.max_early_streams);
        assert!(incoming.early_datagrams.len() <= limits.max_early_datagrams);
        assert!(incoming.ended_aliases.len() <= limits.max_ended_aliases);
        let paused = incoming.streams.values().filter(|stream| stream.paused);
        assert!(paused.count() <= limits.max_paused_streams);
        let known: BTreeSet<StreamId> = incoming.streams.keys().copied().collect();
        assert!(incoming.readable.is_subset(&known));
        assert!(self.told.open.is_subset(&known), "ended without a word");
        for (_, id) in &incoming.early_streams {
            assert!(incoming.streams[id].content.is_early());
        }
        for (request, receiving) in &incoming.requests {
            let open = incoming
                .streams
                .values()
                .filter(|stream| stream.content.request() == Some(*request));
            assert_eq!(open.count(), receiving.open, "request {}", request.0);
        }
        let live: BTreeSet<RequestId> = incoming.aliases.values().flatten().copied().collect();
        for stream in incoming.streams.values() {
            if let Some(request) = stream.content.request() {
                assert!(incoming.requests.contains_key(&request));
            }
        }
        for request in incoming.ending.iter().chain(&live) {
            assert!(incoming.requests.contains_key(request));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happens_the_tables_agree(ops in proptest::collection::vec(any_op(), 1..60)) {
        let mut run = Run {
            bench: bench(),
            told: Told::default(),
            streams: Vec::new(),
            next_request: 0,
            bound: BTreeMap::new(),
            fetched: BTreeSet::new(),
        };
        for op in &ops {
            if run.step(op).is_err() {
                break;
            }
            run.check();
        }
    }
}
