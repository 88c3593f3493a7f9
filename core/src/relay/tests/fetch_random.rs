//! Random tracks, caches, publishers and ranges: whatever happens, a FETCH is answered with what the track is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fetch_wire::{DOWN, UP, payload};
use super::*;
use crate::wire::param::GroupOrder;

/// The objects of a track.
type Model = BTreeMap<(u64, u64), Vec<u8>>;

/// Something that is done to a relay.
#[derive(Clone, Debug)]
enum Step {
    /// The publisher publishes a group.
    Publish,
    /// A peer asks for a range.
    Fetch {
        peer: usize,
        start: (u64, u64),
        end: (u64, u64),
        down: bool,
    },
    /// A publisher answers what it was asked, whole or up to a number of entries, after which it breaks off.
    Answer { publisher: usize, most: usize },
    /// The transport of a peer stops taking anything, or takes it again.
    Stall { peer: usize, deaf: bool },
    /// The cache loses what it can.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0_u64..6, 0_u64..5);
    prop_oneof![
        2 => Just(Step::Publish),
        4 => (0_usize..2, place(), place(), any::<bool>()).prop_map(|(peer, start, end, down)| {
            Step::Fetch { peer, start, end, down }
        }),
        4 => (0_usize..2, 0_usize..6).prop_map(|(publisher, most)| Step::Answer { publisher, most }),
        1 => (0_usize..2, any::<bool>()).prop_map(|(peer, deaf)| Step::Stall { peer, deaf }),
        1 => Just(Step::Forget),
    ]
}

/// Which objects of each group exist.
fn shapes() -> impl Strategy<Value = Vec<Vec<bool>>> {
    prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.7), 0..5), 6)
}

struct Play {
    rig: Rig,
    model: Model,
    shapes: Vec<Vec<bool>>,
    publishers: Vec<ConnectionId>,
    /// The relay's SUBSCRIBE at the first publisher.
    up: RequestId,
    peers: Vec<ConnectionId>,
    /// What was asked, and what the largest object was then.
    asked: Vec<Asked>,
    answered: BTreeMap<ConnectionId, usize>,
    next_group: usize,
}

struct Asked {
    peer: ConnectionId,
    id: RequestId,
    start: Location,
    end: Location,
    order: GroupOrder,
    largest: Option<Location>,
}

impl Play {
    fn new(drafts: (Draft, Draft), settings: Settings, shapes: Vec<Vec<bool>>) -> Self {
        let mut rig = Rig::with(settings);
        let first = rig.publisher(drafts.0);
        let subscriber = rig.connect(drafts.1);
        rig.subscribe(subscriber, "v");
        let up = rig.only_asked(first);
        rig.accept(first, up);
        // It knows the past of the track, but does not publish it.
        let second = rig.publisher(drafts.1);
        if let [(id, _)] = rig.asked(second)[..] {
            rig.refuse(second, id, RequestCode::NotSupported);
        }
        let peers = vec![rig.connect(drafts.1), rig.connect(drafts.0)];
        Self {
            rig,
            model: Model::new(),
            shapes,
            publishers: vec![first, second],
            up,
            peers,
            asked: Vec::new(),
            answered: BTreeMap::new(),
            next_group: 0,
        }
    }

    fn largest(&self) -> Option<Location> {
        let ((group, object), _) = self.model.last_key_value()?;
        Some(at(*group, *object))
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish => self.publish(),
            Step::Fetch {
                peer,
                start,
                end,
                down,
            } => {
                let (start, end) = (at(start.0, start.1), at(end.0, end.1));
                let backwards = end.group < start.group
                    || end.group == start.group && end.object.0 != 0 && end.object < start.object;
                if backwards {
                    return;
                }
                let order = if down { DOWN } else { UP };
                let peer = self.peers[peer];
                let largest = self.largest();
                let id = self.rig.fetch(peer, start, end, order);
                self.asked.push(Asked {
                    peer,
                    id,
                    start,
                    end,
                    order,
                    largest,
                });
            }
            Step::Answer { publisher, most } => self.answer(publisher, most),
            Step::Stall { peer, deaf } => {
                let peer = self.peers[peer];
                if deaf {
                    self.rig.far_mut(peer).deaf = true;
                } else {
                    self.rig.recover(peer);
                }
            }
            Step::Forget => {
                self.rig.relay.fetching.relieve_all();
            }
        }
    }

    /// The next group: its objects in two subgroups, the even ones and the odd ones.
    fn publish(&mut self) {
        let Some(shape) = self.shapes.get(self.next_group).cloned() else {
            return;
        };
        let group = u64::try_from(self.next_group).unwrap();
        self.next_group += 1;
        for parity in 0..2 {
            let mut feed = None;
            for (object, _) in shape.iter().enumerate().filter(|(_, exists)| **exists) {
                let object = u64::try_from(object).unwrap();
                if object % 2 != parity {
                    continue;
                }
                let here = at(group, object);
                let up = self.up;
                let publisher = self.publishers[0];
                let feed =
                    feed.get_or_insert_with(|| self.rig.open(publisher, up, header(group, parity)));
                self.rig.object(feed, object, &payload(here));
                self.model.insert((group, object), payload(here));
            }
            if let Some(feed) = feed {
                self.rig.fin(&feed);
            }
        }
    }

    /// Answers the FETCHes that a publisher has got since, as the track is now.
    fn answer(&mut self, publisher: usize, most: usize) {
        let connection = self.publishers[publisher];
        let all = self.rig.fetches_asked(connection);
        let done = self.answered.entry(connection).or_insert(0);
        let (first, count) = (*done, all.len());
        *done = count;
        for (id, start, end, order) in all.into_iter().skip(first) {
            if self.rig.withdrawn(connection, id) {
                continue;
            }
            let largest = self.largest().filter(|largest| *largest >= start);
            let Some(largest) = largest else {
                self.rig.refuse(connection, id, RequestCode::InvalidRange);
                continue;
            };
            let after = at(largest.group.0, largest.object.0 + 1);
            let is_beyond = end.group > largest.group
                || end.group == largest.group && (end.object.0 == 0 || end > after);
            self.rig
                .grant(connection, id, if is_beyond { after } else { end });
            self.supply_model(connection, id, (start, end, order), most);
        }
    }

    fn supply_model(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        (start, end, order): (Location, Location, GroupOrder),
        most: usize,
    ) {
        let objects = within(&self.model, start, end, order);
        if self.rig.withdrawn(connection, id) {
            return;
        }
        let mut supply = self.rig.supply(connection, id);
        let is_cut = most < 4 && most < objects.len();
        for (here, payload) in objects
            .into_iter()
            .take(if is_cut { most } else { usize::MAX })
        {
            if self.rig.withdrawn(connection, id) {
                return;
            }
            let subgroup = SubgroupId(here.object.0 % 2);
            let mut entry = fetch_wire::entry(here, payload.len(), Properties::default());
            if let crate::wire::object::FetchEntry::Object(object) = &mut entry {
                object.subgroup = Some(subgroup);
            }
            self.rig.supply_entry(&mut supply, &entry);
            if self.rig.withdrawn(connection, id) {
                return;
            }
            self.rig.send_supply(&supply, &payload);
        }
        if self.rig.withdrawn(connection, id) {
            return;
        }
        if is_cut {
            self.rig.reset_supply(&supply, ResetCode::InternalError);
        } else {
            self.rig.end_supply(&supply);
        }
    }

    /// Lets everything come to its end, and compares.
    fn finish(mut self) {
        for peer in self.peers.clone() {
            self.rig.recover(peer);
        }
        for _ in 0..40 {
            self.answer(0, usize::MAX);
            self.answer(1, usize::MAX);
        }
        for asked in &self.asked {
            self.compare(asked);
        }
        self.rig.end();
    }

    fn compare(&self, asked: &Asked) {
        let got = self.rig.got(asked.peer, asked.id);
        let last = |end: Location| {
            if end.object.0 == 0 {
                u64::MAX
            } else {
                end.object.0
            }
        };
        let ok = match self.rig.answer(asked.peer, asked.id) {
            Some(Response::FetchOk(ok)) => ok,
            Some(Response::Error(refusal)) => {
                let is_beyond = asked.largest.is_none_or(|largest| largest < asked.start);
                assert!(is_beyond, "refused: {refusal:?}");
                assert_eq!(refusal.code, RequestCode::InvalidRange);
                return;
            }
            other => panic!("not answered: {other:?}"),
        };
        assert_eq!(got.last().map(String::as_str), Some("end"), "{got:?}");
        let (end, wanted) = (ok.end, asked.end);
        assert!((end.group, last(end)) <= (wanted.group, last(wanted)));
        // Every object of the range is there, unless it was said to be unknown; nothing else is.
        let expected = within(&self.model, asked.start, ok.end, asked.order);
        let mut expected = expected.into_iter().peekable();
        for entry in &got {
            if let Some(unknown) = entry.strip_prefix("unknown to ") {
                let last = parse(unknown);
                while let Some((here, _)) = expected.peek()
                    && !is_after(*here, last, asked.order)
                {
                    expected.next();
                }
            } else if let Some(none) = entry.strip_prefix("none to ") {
                let last = parse(none);
                let next = expected.peek().map(|(here, _)| *here);
                let is_true = next.is_none_or(|here| is_after(here, last, asked.order));
                assert!(is_true, "{got:?} lacks {next:?}");
            } else if entry != "end" {
                let (here, payload) = expected.next().unwrap_or_else(|| panic!("{got:?}"));
                let payload = payload.escape_ascii();
                assert_eq!(*entry, format!("{here} {payload}"), "{got:?}");
            }
        }
        assert_eq!(expected.next(), None, "{got:?}");
    }
}

/// The objects of a range as it is written, in this order.
fn within(
    model: &Model,
    start: Location,
    end: Location,
    order: GroupOrder,
) -> Vec<(Location, Vec<u8>)> {
    let is_in = |here: Location| {
        here >= start
            && (here.group < end.group
                || here.group == end.group && (end.object.0 == 0 || here.object < end.object))
    };
    let objects = model.iter();
    let objects = objects.map(|((group, object), payload)| (at(*group, *object), payload.clone()));
    let mut objects: Vec<_> = objects.filter(|(here, _)| is_in(*here)).collect();
    if order == DOWN {
        objects.sort_by_key(|(here, _)| (std::cmp::Reverse(here.group), here.object));
    }
    objects
}

/// Whether a location comes after another in this order.
fn is_after(here: Location, other: Location, order: GroupOrder) -> bool {
    if here.group == other.group {
        return here.object > other.object;
    }
    (here.group > other.group) == (order == UP)
}

fn parse(text: &str) -> Location {
    let numbers = text.trim_matches(['{', '}']).split(", ");
    let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
    at(numbers[0], numbers[1])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_fetch_brings_what_the_track_is(
        pair in 0_usize..4,
        shapes in shapes(),
        steps in prop::collection::vec(step(), 1..25),
        tracks in prop::sample::select(vec![0_usize, 1, 100]),
        groups in 1_usize..4,
        ahead in prop::sample::select(vec![0_u64, 500, 1 << 20]),
        fills in 1_usize..4,
    ) {
        let mut settings = Settings::default();
        settings.cache.max_tracks = tracks;
        settings.cache.max_groups_per_track = groups;
        settings.limits.max_fetch_ahead = ahead;
        settings.limits.max_fills_per_track = fills;
        settings.fetches.max_ahead_entries = 2;
        let mut play = Play::new(DRAFT_PAIRS[pair], settings, shapes);
        for step in &steps {
            play.take(step);
        }
        play.finish();
    }
}
