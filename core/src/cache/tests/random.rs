//! Random calls, each compared with what the model does.

use proptest::prelude::*;

use super::model::{Class, GROUPS, Held, Model, ModelTrack, OBJECTS, Place, TRACKS, places};
use super::*;

#[derive(Clone, Debug)]
enum Call {
    Insert {
        track: usize,
        at: Place,
        filling: u8,
        late: u64,
    },
    Absent {
        track: usize,
        from: Place,
        to: Place,
        evidence: Evidence,
    },
    Walk {
        track: usize,
        from: Place,
        to: Place,
        descending: bool,
    },
    Pin(usize, u64),
    Unpin(usize, u64),
    Live(usize, Option<u64>),
    Duration(usize, Option<u64>),
    Open(usize),
    Close(usize),
    Forget(usize),
    Relieve(u64),
    Wait(u64),
}

fn call() -> impl Strategy<Value = Call> {
    let track = 0..TRACKS;
    let place = || (0..GROUPS, 0..=OBJECTS);
    let evidence = prop_oneof![Just(Evidence::Stated), Just(Evidence::Inferred)];
    prop_oneof![
        12 => (track.clone(), (0..GROUPS, 0..OBJECTS), 0..20_u8, 0..3_u64).prop_map(
            |(track, at, filling, late)| Call::Insert { track, at, filling: filling / 19, late },
        ),
        2 => (track.clone(), place(), place(), evidence).prop_map(
            |(track, from, to, evidence)| Call::Absent { track, from, to, evidence },
        ),
        4 => (track.clone(), place(), place(), any::<bool>()).prop_map(
            |(track, from, to, descending)| Call::Walk { track, from, to, descending },
        ),
        2 => (track.clone(), 0..GROUPS).prop_map(|(track, group)| Call::Pin(track, group)),
        2 => (track.clone(), 0..GROUPS).prop_map(|(track, group)| Call::Unpin(track, group)),
        2 => (track.clone(), prop::option::of(0..GROUPS))
            .prop_map(|(track, group)| Call::Live(track, group)),
        1 => (track.clone(), prop::option::of(0..9_u64))
            .prop_map(|(track, duration)| Call::Duration(track, duration)),
        1 => track.clone().prop_map(Call::Open),
        1 => track.clone().prop_map(Call::Close),
        1 => track.prop_map(Call::Forget),
        1 => (0..4 * COST).prop_map(Call::Relieve),
        2 => (1..6_u64).prop_map(Call::Wait),
    ]
}

/// The cache and the model side by side.
struct Both {
    f: Fixture,
    model: Model,
}

impl Both {
    fn new(limits: &Limits) -> Self {
        let f = fixture(limits.clone());
        let mut model = Model {
            limits: limits.clone(),
            clock: 0,
            now: 0,
            tracks: vec![ModelTrack::default(); TRACKS],
        };
        (0..TRACKS).for_each(|track| model.open(track));
        Self { f, model }
    }

    fn now(&self) -> Time {
        seconds(self.model.now)
    }

    fn name(track: usize) -> FullTrackName {
        name(["a", "b", "c"][track])
    }

    #[expect(clippy::too_many_lines, reason = "one arm per call")]
    fn apply(&mut self, call: Call) -> Result<(), TestCaseError> {
        let now = self.now();
        let (cache, model) = (&mut self.f.cache, &mut self.model);
        match call {
            Call::Insert {
                track,
                at,
                filling,
                late,
            } => {
                let arrived = model.now.saturating_sub(late);
                let mut payload = vec![filling; PAYLOAD];
                payload.resize(PAYLOAD + usize::from(filling), 0);
                let object = Object {
                    payload: Pieces::from(Bytes::from(payload)),
                    arrived: seconds(arrived),
                    ..object(0)
                };
                let location = Location::new(at.0, at.1);
                let inserted = cache.insert(now, self.f.tracks[track], location, object);
                let held = Held {
                    filling,
                    arrived,
                    awaited: false,
                };
                prop_assert_eq!(inserted.ok(), model.insert(track, at, held));
            }
            Call::Absent {
                track,
                from,
                to,
                evidence,
            } => {
                let marked = cache.mark_absent(self.f.tracks[track], span(from, to), evidence);
                let expected = model.mark_absent(track, from, to, evidence);
                prop_assert_eq!(marked.is_ok(), expected);
            }
            Call::Walk {
                track,
                from,
                to,
                descending,
            } => {
                return self.walk(track, from, to, descending);
            }
            Call::Pin(track, group) => {
                cache.pin(self.f.tracks[track], GroupId(group));
                if model.tracks[track].is_there() {
                    *model.tracks[track].pins.entry(group).or_default() += 1;
                    model.settle_group(track, group);
                    model.settle_track(track);
                }
            }
            Call::Unpin(track, group) => {
                cache.unpin(self.f.tracks[track], GroupId(group));
                model.unpin(track, group);
            }
            Call::Live(track, group) => {
                cache.set_live(self.f.tracks[track], group.map(GroupId));
                model.set_live(track, group);
            }
            Call::Duration(track, duration) => {
                let wanted = duration.map(Duration::from_secs);
                cache.set_max_duration(self.f.tracks[track], wanted);
                model.set_duration(track, duration);
            }
            Call::Open(track) => {
                self.f.tracks[track] = cache.open(&Self::name(track));
                model.open(track);
            }
            Call::Close(track) => {
                cache.close(self.f.tracks[track]);
                model.close(track);
            }
            Call::Forget(track) => {
                cache.forget(&Self::name(track));
                let before = std::mem::take(&mut model.tracks[track]);
                if before.is_there() {
                    model.tracks[track] = ModelTrack {
                        age: before.age,
                        opened: before.opened,
                        kept: before.kept,
                        pins: before.pins,
                        ..ModelTrack::default()
                    };
                    model.settle_track(track);
                }
            }
            Call::Relieve(bytes) => {
                let before = model.used();
                model.shrink(before.saturating_sub(bytes));
                prop_assert_eq!(cache.relieve(bytes), before - model.used());
            }
            Call::Wait(time) => {
                model.now += time;
                cache.handle_timeout(seconds(model.now));
                model.expire();
            }
        }
        Ok(())
    }

    fn walk(
        &mut self,
        track: usize,
        from: Place,
        to: Place,
        descending: bool,
    ) -> Result<(), TestCaseError> {
        let now = self.now();
        self.model.expire();
        let mut expected: Vec<Place> = places(from, to).collect();
        if descending {
            expected.sort_by_key(|(group, object)| (std::cmp::Reverse(*group), *object));
        }
        let mut found = Vec::new();
        let whole = span(from, to);
        if descending {
            let (id, mut to) = (self.f.tracks[track], whole.to);
            let mut last = None;
            while let Some(look) = self.f.cache.look_back(now, id, whole.from, to) {
                let (next, class) = match look {
                    LookBack::Group(group) => {
                        let part = Span::group(group).intersection(Span::new(whole.from, to));
                        self.ascend(track, part, &mut found)?;
                        to = part.from;
                        last = None;
                        continue;
                    }
                    LookBack::Absent(next) => (next, Class::Absent),
                    LookBack::Missing(next) => (next, Class::Missing),
                };
                prop_assert!(next < to && last != Some(class), "a run told in two");
                last = Some(class);
                let mut run: Vec<Place> = within(Span::new(next, to)).collect();
                run.sort_by_key(|(group, object)| (std::cmp::Reverse(*group), *object));
                found.extend(run.into_iter().map(|place| (place, class)));
                to = next;
            }
        } else {
            self.ascend(track, whole, &mut found)?;
        }
        let state = &self.model.tracks[track];
        let classes = expected
            .into_iter()
            .map(|place| (place, state.class(place)));
        prop_assert_eq!(found, classes.collect::<Vec<_>>());
        Ok(())
    }

    fn ascend(
        &mut self,
        track: usize,
        whole: Span,
        found: &mut Vec<(Place, Class)>,
    ) -> Result<(), TestCaseError> {
        let now = self.now();
        let (mut from, mut last) = (whole.from, None);
        while let Some(look) = self.f.cache.look(now, self.f.tracks[track], from, whole.to) {
            let (to, class) = match look {
                Look::Object(at, object) => {
                    prop_assert_eq!(Position::of(at), from);
                    self.model.touch(track, at.group.0);
                    let extra = object.payload.iter().map(Bytes::len).sum::<usize>() - PAYLOAD;
                    (from.next(), Class::Object(u8::from(extra > 0)))
                }
                Look::Absent(to) => (to, Class::Absent),
                Look::Missing(to) => (to, Class::Missing),
            };
            prop_assert!(from < to && to <= whole.to);
            let object = matches!(class, Class::Object(_));
            prop_assert!(object || last != Some(class), "a run told in two");
            last = Some(class);
            found.extend(within(Span::new(from, to)).map(|place| (place, class)));
            from = to;
        }
        Ok(())
    }

    /// Whether both hold the same.
    fn compare(&self) -> Result<(), TestCaseError> {
        let (cache, model) = (&self.f.cache, &self.model);
        prop_assert_eq!(cache.used(), model.used());
        prop_assert_eq!(cache.filled(), model.filled());
        let spared = cache.used() == cache.filled();
        prop_assert!(cache.used() <= model.limits.max_bytes || spared);
        for (track, state) in model.tracks.iter().enumerate() {
            let id = self.f.tracks[track];
            prop_assert_eq!(cache.find(&Self::name(track)).is_some(), state.is_there());
            let held: Vec<Place> = places((0, 0), (GROUPS, 0))
                .filter(|(group, object)| self.f.holds(track, *group, *object))
                .collect();
            let expected: Vec<Place> = state.objects.keys().copied().collect();
            prop_assert_eq!(held, expected);
            let largest = cache.largest(id).map(|at| (at.group.0, at.object.0));
            prop_assert_eq!(largest, state.largest);
        }
        let kept = model.tracks.iter().filter(|track| track.kept).count();
        prop_assert_eq!(cache.books.kept, kept);
        prop_assert!(kept <= model.limits.max_tracks);
        let due = cache.poll_timeout().map(|(due, _)| due);
        if let Some(latest) = model.due() {
            prop_assert!(due.is_some_and(|due| due <= seconds(latest)));
        }
        prop_assert!(due.is_none() || model.used() > 0);
        Ok(())
    }
}

/// The places within a span.
fn within(span: Span) -> impl Iterator<Item = Place> {
    places((0, 0), (GROUPS, 0)).filter(move |(group, object)| span.contains(at(*group, *object)))
}

proptest! {
    #[test]
    fn the_cache_does_what_a_naive_one_does(
        calls in prop::collection::vec(call(), 1..80),
        max_tracks in 0..=TRACKS,
        max_groups_per_track in 0..4_usize,
        max_objects in 0..12_u64,
        max_age in prop_oneof![Just(10), Just(1000)],
    ) {
        let limits = Limits {
            max_tracks,
            max_groups_per_track,
            max_bytes: max_objects * COST,
            max_age: Duration::from_secs(max_age),
            ..Limits::default()
        };
        let mut both = Both::new(&limits);
        for call in calls {
            both.apply(call)?;
            both.compare()?;
        }
        // Nothing is left once all is forgotten.
        for track in 0..TRACKS {
            both.f.cache.forget(&Both::name(track));
        }
        let cache = &both.f.cache;
        prop_assert_eq!((cache.used(), cache.filled()), (0, 0));
        prop_assert!(cache.poll_timeout().is_none());
        prop_assert!(cache.books.groups.is_empty() && cache.books.live.is_empty());
    }
}
