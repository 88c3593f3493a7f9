//! A FETCH goes on: through the cache, in its order, as far as its stream has room.

use super::super::Relay;
use super::super::routes::Origin;
use super::order::{Step, last_of};
use super::request::{Fetch, Patience, Phase};
use super::upstream::Started;
use crate::cache::{Look, Object};
use crate::fetches::Fed;
use crate::ledger::Pieces;
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::Location;
use crate::wire::object::{FetchEntry, FetchObject};
use crate::wire::param::GroupOrder;

/// How far a FETCH that comes to a hole looks for others to ask for at once, in objects and runs.
const MAX_LOOK_AHEAD: usize = 256;

/// What is to be done about something that the cache does not know.
enum Verdict {
    /// It is on its way.
    Wait,
    /// Nobody can tell.
    Unknown(Span),
    /// Something changed: to be looked at again.
    Again,
}

impl Relay {
    /// Feeds a FETCH until it has enough, or has to wait.
    pub(super) fn advance(&mut self, now: Time, origin: Origin) {
        self.go_on(now, origin);
        self.fetching.arm(origin);
        if let Some(fetch) = self.fetching.fetches.get(&origin) {
            self.fetching.touched.extend(fetch.fills.iter().copied());
        }
    }

    fn go_on(&mut self, now: Time, origin: Origin) {
        loop {
            let Some(track) = self.fetching.track_of(origin) else {
                return;
            };
            let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
                return;
            };
            if let Phase::Asking(_) = fetch.phase {
                return self.ask_for_end(now, origin);
            }
            if !fetch.hungry {
                // Not for want of objects.
                return fetch.fed(now);
            }
            match fetch.rest.step(now, &mut self.fetching.cache, track) {
                None => return self.complete_fetch(now, origin),
                Some(Step::Object(location, object)) => {
                    if !self.feed_object(now, origin, location, object) {
                        return;
                    }
                }
                Some(Step::Absent(span)) => fetch.skip(span),
                Some(Step::Missing(span)) => match self.missing(now, origin, span) {
                    Verdict::Wait => return,
                    Verdict::Again => {}
                    Verdict::Unknown(span) => {
                        if !self.feed_unknown(now, origin, span) {
                            return;
                        }
                    }
                },
            }
        }
    }

    fn complete_fetch(&mut self, now: Time, origin: Origin) {
        self.fetching.remove(origin);
        let Origin {
            connection,
            request,
        } = origin;
        self.publisher.end_fetch(now, connection, request);
    }

    /// Whether it was taken and there is room for more.
    fn feed_object(&mut self, now: Time, origin: Origin, at: Location, object: Object) -> bool {
        let entry = FetchEntry::Object(FetchObject {
            location: at,
            subgroup: object.subgroup,
            priority: object.priority,
            properties: object.properties,
            payload_length: object.payload.len(),
        });
        let here = Span::inclusive(at, at);
        self.feed(now, origin, entry, &object.payload, |fetch| {
            fetch.rest.pass(here);
            fetch.skipped = None;
        })
    }

    /// Tells that nobody knows what is in a span, and first, if that is so, that there is nothing before it: left
    /// unsaid, that would be unknown as well (§ End of Range).
    fn feed_unknown(&mut self, now: Time, origin: Origin, span: Span) -> bool {
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return false;
        };
        let last = last_of(span, fetch.order);
        if let Some(skipped) = fetch.skipped {
            let entry = FetchEntry::NonExistent(skipped);
            let nothing = Pieces::default();
            if !self.feed(now, origin, entry, &nothing, |fetch| fetch.skipped = None) {
                return false;
            }
        }
        let entry = FetchEntry::Unknown(last);
        self.feed(now, origin, entry, &Pieces::default(), |fetch| {
            fetch.rest.pass(span);
        })
    }

    /// Gives a FETCH an entry; `taken` is called if there was room for it. Whether there is more room.
    fn feed(
        &mut self,
        now: Time,
        origin: Origin,
        entry: FetchEntry,
        payload: &Pieces,
        taken: impl FnOnce(&mut Fetch),
    ) -> bool {
        let Origin {
            connection,
            request,
        } = origin;
        let fed = self
            .publisher
            .feed_fetch(now, connection, request, entry, payload);
        let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
            return false;
        };
        match fed {
            Fed::More | Fed::Enough => {
                taken(fetch);
                fetch.is_begun = true;
            }
            Fed::Full | Fed::Gone => {}
        }
        fetch.fed(now);
        fetch.hungry = fed == Fed::More;
        if fed == Fed::Gone {
            self.fetching.remove(origin);
        }
        fed == Fed::More
    }

    /// The cache does not know a span with which what is left of a FETCH begins.
    fn missing(&mut self, now: Time, origin: Origin, span: Span) -> Verdict {
        let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
            return Verdict::Wait;
        };
        let Some(at) = fetch.rest.first() else {
            return Verdict::Again;
        };
        let (is_between_groups, patience) = (fetch.rest.is_between_groups(), fetch.patience);
        let arriving = self.arriving(origin, span);
        let span = match arriving.map(Position::of) {
            None => span,
            Some(arriving) if is_between_groups => {
                let above = Position::after_group(arriving.group());
                if above >= span.to {
                    return self.enter_group(origin);
                }
                Span::new(above, span.to)
            }
            Some(arriving) if arriving == at && patience != Patience::Over => {
                self.await_arrival(now, origin, at);
                return Verdict::Wait;
            }
            Some(arriving) if arriving == at => span,
            Some(arriving) => Span::new(span.from, arriving),
        };
        if patience == Patience::Over {
            return Verdict::Unknown(span);
        }
        if let Some(id) = self.fill_at(origin, at) {
            self.join_fill(origin, id);
            self.starve(now, origin, Some(at));
            return Verdict::Wait;
        }
        let publishers = self.fillers(origin, at);
        if publishers.is_empty() {
            return self.unknown(origin, at, span);
        }
        let wanted = self.with_next_holes(now, origin, span);
        let wanted = self.not_asked(origin, at, wanted);
        match self.start_fill(now, origin, wanted, &publishers) {
            Started::NoPublisher => self.unknown(origin, at, span),
            Started::Crowded => {
                self.starve(now, origin, Some(at));
                Verdict::Wait
            }
            Started::Yes => {
                self.look_ahead(now, origin, wanted);
                self.starve(now, origin, Some(at));
                Verdict::Wait
            }
        }
    }

    /// A hole and those that follow it with nothing but gaps in between: they are asked for as one.
    fn with_next_holes(&mut self, now: Time, origin: Origin, span: Span) -> Span {
        let track = self.fetching.track_of(origin);
        let fetch = self.fetching.fetches.get(&origin);
        let (Some(track), Some(fetch)) = (track, fetch) else {
            return span;
        };
        let mut whole = span;
        for part in fetch.rest.parts() {
            let end = match fetch.order {
                GroupOrder::Ascending => part.to,
                GroupOrder::Descending => part.to.min(Position::after_group(span.from.group())),
            };
            let mut at = span.to;
            if !part.contains(span.from) || at >= end {
                continue;
            }
            while let Some(look) = self.fetching.cache.look(now, track, at, end) {
                match look {
                    Look::Absent(to) => at = to,
                    Look::Missing(to) => {
                        whole.to = to;
                        at = to;
                    }
                    Look::Object(..) => break,
                }
            }
        }
        let added = Span::new(span.to, whole.to);
        match self.arriving(origin, added) {
            Some(arriving) => Span::new(span.from, Position::of(arriving)),
            None => whole,
        }
    }

    fn enter_group(&mut self, origin: Origin) -> Verdict {
        if let Some(fetch) = self.fetching.fetches.get_mut(&origin) {
            fetch.rest.enter_group();
        }
        Verdict::Again
    }

    /// The first object of a span of which a part has come from a live publisher.
    fn arriving(&self, origin: Origin, span: Span) -> Option<Location> {
        let fetch = self.fetching.fetches.get(&origin)?;
        let live = self.tracks.get(&fetch.name)?.live?;
        let (from, to) = (span.from.location(), span.to.location());
        self.publisher.fanout.arriving(live, from, to)
    }

    fn await_arrival(&mut self, now: Time, origin: Origin, at: Position) {
        if let Some(fetch) = self.fetching.fetches.get(&origin)
            && let Some(past) = self.fetching.tracks.get_mut(&fetch.name)
        {
            past.arrivals.insert(origin);
        }
        self.starve(now, origin, Some(at));
    }

    /// The part of a span that no publisher left to ask could tell of, where it begins.
    fn unknown(&mut self, origin: Origin, at: Position, span: Span) -> Verdict {
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return Verdict::Wait;
        };
        let mut part = span;
        for publisher in self.publishers_for(&fetch.name, origin.connection) {
            let failed = fetch.failed.get(&publisher);
            if let Some(failed) = failed.and_then(|spans| spans.around(at)) {
                part = part.intersection(failed);
            }
        }
        if !fetch.rest.is_between_groups() {
            return Verdict::Unknown(part);
        }
        // The last of these groups comes first: whole groups from there down.
        let from = if part.from > span.from {
            part.from.next_group_start()
        } else {
            part.from
        };
        if part.to < span.to || from >= span.to {
            return self.enter_group(origin);
        }
        Verdict::Unknown(Span::new(from, span.to))
    }

    /// The part of a missing span, where it begins, that other fills do not tell of.
    fn not_asked(&self, origin: Origin, at: Position, span: Span) -> Span {
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return span;
        };
        let past = self.fetching.tracks.get(&fetch.name);
        let fills = past.into_iter().flat_map(|past| past.fills.iter());
        let mut wanted = span;
        for fill in fills.filter_map(|id| self.fetching.fills.get(id)) {
            if fill.done || fill.at.connection == origin.connection {
                continue;
            }
            for part in fill.rest.parts() {
                let both = part.intersection(wanted);
                if both.is_empty() {
                    continue;
                }
                if both.from > at {
                    wanted.to = both.from;
                } else if fetch.rest.is_between_groups() {
                    wanted.from = both.to.next_group_start();
                }
            }
        }
        if wanted.contains(at) { wanted } else { span }
    }

    /// Asks for what else is missing further on, so that it is there when its turn comes.
    fn look_ahead(&mut self, now: Time, origin: Origin, asked: Span) {
        let most = self.settings.limits.max_fills_ahead;
        let Some(track) = self.fetching.track_of(origin) else {
            return;
        };
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return;
        };
        let mut rest = fetch.rest.clone();
        rest.pass(asked);
        for _ in 0..MAX_LOOK_AHEAD {
            let asked = self.fetching.fetches.get(&origin);
            if asked.is_none_or(|fetch| fetch.fills.len() >= most) {
                return;
            }
            match rest.step(now, &mut self.fetching.cache, track) {
                None => return,
                Some(Step::Object(at, _)) => rest.pass(Span::inclusive(at, at)),
                Some(Step::Absent(span)) => rest.pass(span),
                Some(Step::Missing(span)) => {
                    if let Some(at) = rest.first() {
                        self.ask_ahead(now, origin, at, span);
                    }
                    rest.pass(span);
                }
            }
        }
    }

    fn ask_ahead(&mut self, now: Time, origin: Origin, at: Position, span: Span) {
        if let Some(id) = self.fill_at(origin, at) {
            return self.join_fill(origin, id);
        }
        if self.arriving(origin, span).is_some() {
            return;
        }
        let publishers = self.fillers(origin, at);
        let wanted = self.with_next_holes(now, origin, span);
        let wanted = self.not_asked(origin, at, wanted);
        // If there is no room now, there will be when its turn comes.
        let _started = self.start_fill(now, origin, wanted, &publishers);
    }
}
