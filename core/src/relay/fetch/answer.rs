//! What a FETCH is answered: where its range ends, from what is known here or from a publisher.

use super::super::routes::Origin;
use super::super::tracks::{Upstream, no_such_track};
use super::super::{Relay, overloaded};
use super::order::{end_of_range, wire_end};
use super::request::{Fetch, Patience, Phase, Starved};
use super::upstream::Started;
use crate::cache::Look;
use crate::code::RequestCode;
use crate::fanout::TrackId;
use crate::relay::room::no_room_for_names;
use crate::session::{Refusal, Response};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{self, FetchOk, FetchRange, RequestOk};
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

/// What is to become of a FETCH.
enum Judgement {
    /// It ends here, perhaps with the track.
    Grant(Position, bool),
    Refuse(RequestCode, &'static str),
    /// A publisher is to be asked for the range from here on.
    Ask(Position),
}

const NOTHING: &str = "nothing was published yet";
const BEYOND: &str = "the range starts after what was published";

impl Relay {
    /// FETCH: answered at once if it is known where its range ends.
    pub(in crate::relay) fn fetch(&mut self, now: Time, origin: Origin, request: message::Fetch) {
        let FetchRange::Standalone { track, start, end } = request.range else {
            // The session knows what these mean.
            let refusal = Refusal::new(RequestCode::InternalError, "a joining FETCH");
            return self.respond(now, origin, Response::Error(refusal));
        };
        if self.fetching.fetches.len() >= self.settings.limits.max_fetches {
            let refusal = overloaded("too many FETCHes");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let range = Span::new(Position::of(start), end_of_range(end));
        if range.to < range.from {
            let refusal =
                Refusal::new(RequestCode::InvalidRange, "the range ends before it starts");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let Some(room) = self.room_for_track(origin.connection, &track) else {
            return self.respond(now, origin, Response::Error(no_room_for_names()));
        };
        let timeout = request.parameters.fill_timeout;
        let timeout = timeout.map(|millis| std::time::Duration::from_millis(millis.0));
        let order = request.parameters.group_order.unwrap_or_default();
        let fetch = Fetch::new((track.clone(), room), order, range, timeout);
        self.fetching.open(&track).fetches.insert(origin);
        self.fetching.fetches.insert(origin, fetch);
        match self.judge(now, &track, range) {
            Judgement::Grant(end, is_last) => self.grant(now, origin, end, is_last),
            Judgement::Refuse(code, reason) => {
                self.refuse_fetch(now, origin, Refusal::new(code, reason));
            }
            Judgement::Ask(from) => {
                if let Some(fetch) = self.fetching.fetches.get_mut(&origin) {
                    fetch.phase = Phase::Asking(from);
                }
                self.ask_for_end(now, origin);
            }
        }
    }

    fn judge(&mut self, now: Time, name: &FullTrackName, range: Span) -> Judgement {
        let Some(id) = self.fetching.tracks.get(name).map(|past| past.id) else {
            return Judgement::Ask(range.from);
        };
        if let Some(live) = self.live_edge(name) {
            let fanout = &self.publisher.fanout;
            let largest = fanout.largest(live);
            if let Some(largest) = largest {
                self.fetching.cache.reach(id, largest);
            }
            return until(range, largest, fanout.end(live).is_some());
        }
        let cache = &mut self.fetching.cache;
        let largest = cache.largest(id);
        if cache.end_of_track(id).is_some() {
            return until(range, largest, true);
        }
        let unseen = largest.map_or(range.from, |at| range.from.max(Position::after(at)));
        let mut at = unseen;
        while let Some(look) = cache.look(now, id, at, range.to) {
            match look {
                Look::Absent(to) => at = to,
                // The largest object is before this: it can only be missing.
                Look::Missing(_) | Look::Object(..) => return Judgement::Ask(at),
            }
        }
        Judgement::Grant(range.to, false)
    }

    /// The track in memory, if its largest location is told to us as it grows.
    fn live_edge(&self, name: &FullTrackName) -> Option<TrackId> {
        let track = self.tracks.get(name)?;
        let mut upstreams = track.upstreams.iter();
        // One that was only now told to go on tells with its answer how far it is.
        let sends = upstreams.any(|(origin, upstream)| {
            matches!(upstream, Upstream::Established { forward: true, .. })
                && !self.resuming.contains_key(origin)
        });
        track.live.filter(|_| sends)
    }

    /// Asks a publisher where the range of a FETCH ends, by a fill for what is missing of it; if there is none left to
    /// ask, does without.
    pub(super) fn ask_for_end(&mut self, now: Time, origin: Origin) {
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return;
        };
        let Phase::Asking(from) = fetch.phase else {
            return;
        };
        let wanted = Span::new(from, fetch.end);
        let publishers = self.fillers(origin, from);
        if fetch.patience == Patience::Over {
            // Nothing is waited for. Without a publisher there is nothing to be had later either.
            return match publishers.is_empty() {
                true => self.do_without(now, origin),
                false => self.grant(now, origin, wanted.to, false),
            };
        }
        if let Some(id) = self.fill_for_end(origin, wanted) {
            let end = self.fetching.fills.get(&id).and_then(|fill| fill.end);
            match end {
                Some(end) => self.grant(now, origin, end, false),
                None => {
                    self.join_fill(origin, id);
                    self.starve(now, origin, None);
                }
            }
            return;
        }
        match self.start_fill(now, origin, wanted, &publishers) {
            Started::Yes | Started::Crowded => self.starve(now, origin, None),
            Started::NoPublisher => self.do_without(now, origin),
        }
    }

    /// No publisher tells where the range of a FETCH ends: it is answered from what is known, if anything is.
    fn do_without(&mut self, now: Time, origin: Origin) {
        let track = self.fetching.track_of(origin);
        let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
            return;
        };
        if !matches!(fetch.phase, Phase::Asking(_)) {
            return;
        }
        let (start, end) = (fetch.start, fetch.end);
        let refusal = fetch.refusal.take();
        let largest = track.and_then(|track| self.fetching.cache.largest(track));
        let known = largest.filter(|at| Position::of(*at) >= start);
        match (known, refusal) {
            // The publisher has nothing from there on, or had nothing at all when it said so: what is known is all that
            // there is.
            (Some(largest), Some(refusal)) if refusal.code == RequestCode::InvalidRange => {
                self.grant(now, origin, Position::after(largest), false);
            }
            (Some(_), _) => self.grant(now, origin, end, false),
            (None, Some(refusal)) if refusal.code != RequestCode::Redirect => {
                self.refuse_fetch(now, origin, refusal);
            }
            (None, _) => self.refuse_fetch(now, origin, no_such_track()),
        }
    }

    /// Answers a FETCH whose range ends here, if it does not end before.
    pub(super) fn grant(&mut self, now: Time, origin: Origin, end: Position, is_last: bool) {
        let Some(track) = self.fetching.track_of(origin) else {
            return;
        };
        let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
            return;
        };
        let end_of_track = is_last && end <= fetch.end;
        fetch.end = fetch.end.min(end);
        fetch.rest.clip(fetch.end);
        fetch.phase = Phase::Serving;
        fetch.fed(now);
        let (order, end) = (fetch.order, wire_end(fetch.start, fetch.end));
        let live = self.tracks.get(&fetch.name).and_then(|track| track.live);
        let properties = live
            .and_then(|live| self.publisher.fanout.properties(live))
            .or_else(|| Some(self.fetching.cache.description(track)?.0))
            .cloned()
            .unwrap_or_default();
        let ok = FetchOk {
            request_id: None,
            end_of_track,
            end,
            parameters: Parameters::default(),
            properties,
        };
        let Origin {
            connection,
            request,
        } = origin;
        let updates = std::mem::take(&mut fetch.updates);
        self.fetching.arm(origin);
        if !self
            .publisher
            .open_fetch(now, connection, request, ok, order)
        {
            self.fetching.remove(origin);
            return;
        }
        for update in updates {
            self.update_fetch(now, origin, update);
        }
    }

    /// REQUEST_UPDATE of a FETCH: all that it could bring is a token, or a priority that the session knows.
    pub(in crate::relay) fn update_fetch(&mut self, now: Time, origin: Origin, update: RequestId) {
        let Origin {
            connection,
            request,
        } = origin;
        match self.fetching.fetches.get_mut(&origin) {
            Some(fetch) if !fetch.is_serving() => fetch.updates.push(update),
            Some(_) | None => {
                let ok = Ok(RequestOk::default());
                self.publisher
                    .respond_to_update(now, connection, request, update, ok);
            }
        }
    }

    pub(super) fn refuse_fetch(&mut self, now: Time, origin: Origin, refusal: Refusal) {
        self.fetching.remove(origin);
        self.respond(now, origin, Response::Error(refusal));
    }

    /// A FETCH cannot go on at this position, or not be answered if there is none.
    pub(super) fn starve(&mut self, now: Time, origin: Origin, at: Option<Position>) {
        let usual = self.settings.limits.fill_timeout;
        let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
            return;
        };
        if fetch.starved.is_some_and(|starved| starved.at == at) {
            return;
        }
        fetch.fed(now);
        let patience = match fetch.patience {
            Patience::Usual => usual,
            Patience::Limited(left) => left.min(usual),
            Patience::Over => std::time::Duration::ZERO,
        };
        fetch.starved = Some(Starved {
            since: now,
            at,
            deadline: now + patience,
        });
        self.fetching.arm(origin);
    }

    /// A FETCH has waited for publishers long enough, unless one sends after all.
    pub(super) fn patience_over(&mut self, now: Time, origin: Origin) {
        let usual = self.settings.limits.fill_timeout;
        let fetching = &mut self.fetching;
        let Some(fetch) = fetching.fetches.get_mut(&origin) else {
            return;
        };
        fetch.armed = None;
        let Some(starved) = fetch.starved.as_mut() else {
            return;
        };
        let fills = &fetching.fills;
        let heard = fetch
            .fills
            .iter()
            .filter_map(|id| Some(fills.get(id)?.heard));
        let patient = heard.max().map(|heard| heard + usual);
        if let Some(later) = patient.filter(|later| *later > now)
            && fetch.patience == Patience::Usual
        {
            starved.deadline = later;
            return fetching.arm(origin);
        }
        let was_usual = fetch.patience == Patience::Usual;
        fetch.patience = Patience::Over;
        fetch.starved = None;
        if was_usual && !fetch.is_serving() {
            fetch.refusal = Some(Refusal::new(
                RequestCode::Timeout,
                "the publisher did not answer",
            ));
            return self.do_without(now, origin);
        }
        fetching.ready.insert(origin);
    }
}

/// The answer for a track whose largest location is known.
fn until(range: Span, largest: Option<Location>, is_ended: bool) -> Judgement {
    let Some(largest) = largest else {
        return Judgement::Refuse(RequestCode::InvalidRange, NOTHING);
    };
    if range.from > Position::of(largest) {
        return Judgement::Refuse(RequestCode::InvalidRange, BEYOND);
    }
    let end = Position::after(largest);
    Judgement::Grant(end, is_ended)
}
