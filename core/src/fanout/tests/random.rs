//! Random operations: whoever keeps up loses nothing, gets nothing twice and nothing out of order; and memory comes back.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// A new group with so many subgroups.
    Group(u64),
    /// An object begins on a subgroup's stream, with so much payload.
    Begin(usize, u64),
    /// So much of its payload arrives.
    Payload(usize, usize),
    Fin(usize),
    Reset(usize),
    Subscribe(bool),
    Stall(usize, bool),
    Unsubscribe(usize),
    Forward(usize, bool),
    Stop(usize, usize),
    Settle,
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1_u64..4).prop_map(Op::Group),
        12 => (any::<usize>(), 0_u64..3000).prop_map(|(at, length)| Op::Begin(at, length)),
        12 => (any::<usize>(), 1_usize..2000).prop_map(|(at, length)| Op::Payload(at, length)),
        3 => any::<usize>().prop_map(Op::Fin),
        1 => any::<usize>().prop_map(Op::Reset),
        2 => any::<bool>().prop_map(Op::Subscribe),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, on)| Op::Stall(at, on)),
        1 => any::<usize>().prop_map(Op::Unsubscribe),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, on)| Op::Forward(at, on)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(at, which)| Op::Stop(at, which)),
        12 => Just(Op::Settle),
        1 => (0_u64..2000).prop_map(Op::Pass),
    ]
}

/// A stream that a source has open.
struct Feed {
    stream: IngestId,
    group: u64,
    subgroup: u64,
    next: u64,
    left: u64,
}

/// What was published, and who should have what.
struct Play {
    stage: Stage,
    group: u64,
    feeds: Vec<Feed>,
    /// Every object: its length, and how many subscribers there were.
    published: Vec<(u64, u64, u64, u64, usize)>,
    /// Subgroups that were ended properly.
    ended: BTreeSet<(u64, u64)>,
    subscribers: Vec<ConnectionId>,
    /// Subscribers that never withdrew anything.
    faithful: BTreeSet<ConnectionId>,
    joined: BTreeMap<ConnectionId, usize>,
}

fn content(group: u64, id: u64, length: u64) -> Vec<u8> {
    (0..length)
        .map(|n| (n ^ (id * 7) ^ (group * 31)).to_le_bytes()[0])
        .collect()
}

impl Play {
    fn new() -> Self {
        Self {
            stage: Stage::with_limits(Limits {
                max_subscriber_lag: 200_000,
                max_live_groups: 1000,
                ..Limits::default()
            }),
            group: 0,
            feeds: Vec::new(),
            published: Vec::new(),
            ended: BTreeSet::new(),
            subscribers: Vec::new(),
            faithful: BTreeSet::new(),
            joined: BTreeMap::new(),
        }
    }

    fn subscriber(&self, at: usize) -> Option<ConnectionId> {
        let count = self.subscribers.len();
        (count > 0).then(|| self.subscribers[at % count])
    }

    fn feed(&mut self, at: usize) -> Option<&mut Feed> {
        let count = self.feeds.len();
        (count > 0).then(|| &mut self.feeds[at % count])
    }

    fn push_payload(&mut self, at: usize, most: usize) {
        let Some(feed) = self.feed(at) else { return };
        let count = feed.left.min(u64::try_from(most).unwrap());
        if count == 0 {
            return;
        }
        let (stream, group, id) = (feed.stream, feed.group, feed.next - 1);
        let before = feed.left;
        feed.left -= count;
        let subgroup = feed.subgroup;
        let length = self
            .published
            .iter()
            .find(|object| (object.0, object.1, object.2) == (group, subgroup, id))
            .unwrap()
            .3;
        let all = content(group, id, length);
        let from = usize::try_from(length - before).unwrap();
        let to = from + usize::try_from(count).unwrap();
        self.stage.payload(stream, &all[from..to]);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Group(subgroups) => {
                for subgroup in 0..subgroups {
                    let stream = self.stage.open(self.group, subgroup);
                    self.feeds.push(Feed {
                        stream,
                        group: self.group,
                        subgroup,
                        next: subgroup,
                        left: 0,
                    });
                }
                self.group += 1;
            }
            Op::Begin(at, length) => {
                let count = self.published.len();
                let Some(feed) = self.feed(at).filter(|feed| feed.left == 0) else {
                    return;
                };
                // Ids of subgroups never meet.
                let id = feed.next * 8 + feed.subgroup;
                feed.next = id + 1;
                feed.left = length;
                let (stream, group, subgroup) = (feed.stream, feed.group, feed.subgroup);
                self.stage.begin(stream, id, length);
                self.published.push((group, subgroup, id, length, count));
            }
            Op::Payload(at, most) => self.push_payload(at, most),
            Op::Fin(at) => {
                if self.feed(at).is_some_and(|feed| feed.left == 0) {
                    let feed = self.feeds.remove(at % self.feeds.len());
                    self.stage.fin(feed.stream);
                    self.ended.insert((feed.group, feed.subgroup));
                }
            }
            Op::Reset(at) => {
                if self.feed(at).is_some() {
                    let feed = self.feeds.remove(at % self.feeds.len());
                    self.stage.reset(feed.stream, ResetCode::InternalError);
                }
            }
            Op::Subscribe(new) => {
                if self.subscribers.len() < 8 {
                    let draft = if new { Draft::D18 } else { Draft::D16 };
                    let subscriber = self.stage.subscriber(draft, &Parameters::default());
                    self.subscribers.push(subscriber);
                    self.faithful.insert(subscriber);
                    self.joined.insert(subscriber, self.published.len());
                }
            }
            Op::Settle => self.stage.settle(),
            Op::Pass(ms) => self.stage.pass(Duration::from_millis(ms)),
            Op::Stall(..) | Op::Unsubscribe(_) | Op::Forward(..) | Op::Stop(..) => {
                self.run_subscriber(op);
            }
        }
    }

    fn run_subscriber(&mut self, op: Op) {
        let (Op::Stall(at, _) | Op::Unsubscribe(at) | Op::Forward(at, _) | Op::Stop(at, _)) = op
        else {
            return;
        };
        let Some(subscriber) = self.subscriber(at) else {
            return;
        };
        match op {
            Op::Stall(_, on) => {
                let peer = self.stage.peer(subscriber);
                peer.stalled = on;
                peer.bite = if on { 333 } else { usize::MAX };
            }
            Op::Unsubscribe(_) => {
                self.faithful.remove(&subscriber);
                self.stage.fanout.unsubscribe(subscriber, REQUEST);
            }
            Op::Forward(_, on) => {
                self.faithful.remove(&subscriber);
                let now = self.stage.now;
                // It may be gone.
                drop(
                    self.stage
                        .fanout
                        .update(now, subscriber, REQUEST, &forward(on)),
                );
            }
            Op::Stop(_, which) => {
                let open: Vec<StreamId> = self
                    .stage
                    .peer(subscriber)
                    .wires
                    .iter()
                    .filter(|(_, wire)| !wire.fin && wire.reset.is_none())
                    .map(|(stream, _)| *stream)
                    .collect();
                if open.is_empty() {
                    return;
                }
                let stream = open[which % open.len()];
                if !self.stage.fanout.has_stream(subscriber, stream) {
                    return; // It is about to be reset.
                }
                self.faithful.remove(&subscriber);
                let peer = self.stage.peer(subscriber);
                peer.wires.get_mut(&stream).unwrap().reset = Some(ResetCode::Cancelled);
                peer.ready.remove(&stream);
                self.stage.fanout.stream_stopped(subscriber, stream);
            }
            Op::Group(_)
            | Op::Begin(..)
            | Op::Payload(..)
            | Op::Fin(_)
            | Op::Reset(_)
            | Op::Subscribe(_)
            | Op::Settle
            | Op::Pass(_) => {}
        }
    }

    /// Nobody got anything that was not published, twice, or out of order within a stream.
    fn check_soundness(&self) {
        for subscriber in &self.subscribers {
            let mut seen = BTreeSet::new();
            for got in self.stage.got(*subscriber) {
                let mut last = None;
                let count = got.objects.len();
                for (n, (id, payload)) in got.objects.iter().enumerate() {
                    assert!(last < Some(*id), "{got:?}");
                    last = Some(*id);
                    let object = self
                        .published
                        .iter()
                        .find(|object| {
                            (object.0, object.1, object.2) == (got.group, got.subgroup, *id)
                        })
                        .unwrap();
                    let whole = !(got.cut && n + 1 == count);
                    let all = content(got.group, *id, object.3);
                    assert_eq!(payload[..], all[..payload.len()]);
                    if whole {
                        assert_eq!(payload.len(), all.len());
                        assert!(seen.insert((got.group, *id)), "twice: {got:?}");
                    }
                }
            }
        }
    }

    /// Whoever withdrew nothing and was not ended has every object of every subgroup that ended properly.
    fn check_completeness(&self) {
        for subscriber in &self.faithful {
            if !self.stage.done(*subscriber).is_empty() {
                continue;
            }
            let got = self.stage.got(*subscriber);
            let joined = self.joined[subscriber];
            for (group, subgroup) in &self.ended {
                let expected: Vec<u64> = self.published[joined..]
                    .iter()
                    .filter(|object| (object.0, object.1) == (*group, *subgroup))
                    .map(|object| object.2)
                    .collect();
                let streams: Vec<&Got> = got
                    .iter()
                    .filter(|got| (got.group, got.subgroup) == (*group, *subgroup))
                    .filter(|got| !got.objects.is_empty())
                    .collect();
                let ids: Vec<u64> = streams
                    .iter()
                    .flat_map(|got| got.objects.iter().map(|(id, _)| *id))
                    .collect();
                assert_eq!(ids, expected, "group {group} subgroup {subgroup}");
                assert!(streams.iter().all(|got| got.fin));
                assert_eq!(streams.len(), usize::from(!expected.is_empty()));
            }
        }
    }

    fn finish(&mut self) {
        for subscriber in self.subscribers.clone() {
            self.stage.peer(subscriber).stalled = false;
        }
        self.stage.settle();
        self.check_soundness();
        self.check_completeness();
        let now = self.stage.now;
        let track = self.stage.track;
        self.stage
            .fanout
            .close_track(now, track, DoneCode::TrackEnded, "");
        self.stage.settle();
        assert_eq!(self.stage.used(), 0);
        assert!(self.stage.fanout.tracks.is_empty());
        assert!(self.stage.fanout.ingests.is_empty());
        assert_eq!(self.stage.fanout.subscriptions, 0);
        assert_eq!(self.stage.fanout.unsettled, 0);
        for peer in self.stage.fanout.connections.values() {
            assert!(peer.subscriptions.is_empty());
            assert!(peer.outgoing.streams.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // Rules: B300
    #[test]
    fn nothing_is_lost_duplicated_or_reordered(ops in prop::collection::vec(op(), 1..150)) {
        let mut play = Play::new();
        for op in ops {
            play.run(op);
        }
        play.finish();
    }
}

/// A step of one of two sources that bring the same subgroup.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A source brings so many bytes more, and begins and ends what it comes to.
    Bring(bool, usize),
    Reset(bool),
    Settle,
    Stall(bool),
    Join,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (any::<bool>(), 1_usize..900).prop_map(|(one, bytes)| Step::Bring(one, bytes)),
        1 => any::<bool>().prop_map(Step::Reset),
        8 => Just(Step::Settle),
        2 => any::<bool>().prop_map(Step::Stall),
        1 => Just(Step::Join),
    ]
}

/// How far a source is in the subgroup.
struct Course {
    stream: Option<IngestId>,
    object: usize,
    /// `None`: the object was not begun yet.
    offset: Option<usize>,
}

impl Course {
    fn bring(&mut self, stage: &mut Stage, lengths: &[u64], bytes: usize) {
        let mut bytes = bytes;
        while let Some(stream) = self.stream {
            let Some(length) = lengths.get(self.object) else {
                stage.fin(stream);
                self.stream = None;
                return;
            };
            let id = count(self.object);
            let all = content(0, id, *length);
            let offset = *self.offset.get_or_insert_with(|| {
                stage.begin(stream, id, *length);
                0
            });
            let end = all.len().min(offset.saturating_add(bytes));
            stage.payload(stream, &all[offset..end]);
            bytes -= end - offset;
            self.offset = Some(end);
            if end < all.len() {
                return;
            }
            self.object += 1;
            self.offset = None;
            if bytes == 0 {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_sources_are_as_good_as_one(
        lengths in prop::collection::vec(0_u64..1500, 1..12),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut stage = Stage::new();
        let first = stage.plain_subscriber();
        let mut courses = [SOURCE, SourceId(2)].map(|source| Course {
            stream: Some(stage.open_from(source, header(0, 0))),
            object: 0,
            offset: None,
        });
        let mut was_reset = false;
        for step in steps {
            match step {
                Step::Bring(one, bytes) => {
                    courses[usize::from(one)].bring(&mut stage, &lengths, bytes);
                }
                Step::Reset(one) => {
                    // One at most, so that the other can finish.
                    if !was_reset && let Some(stream) = courses[usize::from(one)].stream.take() {
                        was_reset = true;
                        stage.reset(stream, ResetCode::InternalError);
                    }
                }
                Step::Settle => stage.settle(),
                Step::Stall(on) => stage.peer(first).stalled = on,
                Step::Join => {
                    if stage.peers.len() < 4 {
                        stage.plain_subscriber();
                    }
                }
            }
        }
        for course in &mut courses {
            course.bring(&mut stage, &lengths, usize::MAX);
        }
        stage.peer(first).stalled = false;
        stage.settle();
        let expected: Vec<_> = (0..)
            .zip(&lengths)
            .map(|(id, length)| (id, content(0, id, *length)))
            .collect();
        let got = stage.got(first);
        prop_assert_eq!(got.len(), 1);
        prop_assert!(got[0].fin);
        prop_assert_eq!(&got[0].objects, &expected);
        for subscriber in stage.peers.keys() {
            for got in stage.got(*subscriber) {
                prop_assert!(got.fin);
                prop_assert_eq!(&got.objects[..], &expected[expected.len() - got.objects.len()..]);
            }
        }
        prop_assert_eq!(stage.used(), 0);
    }
}
