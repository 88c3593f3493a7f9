//! Fills: asked for at one publisher after another, and what becomes of them.

use log::debug;

use super::super::Relay;
use super::super::routes::Origin;
use super::super::sources::UPSTREAM_PRIORITY;
use super::super::tracks::{Upstream, no_such_track};
use super::Due;
use super::fill::{Ahead, Fill, FillId};
use super::order::{Rest, end_of_range, wire_end};
use super::request::Phase;
use crate::cache::Evidence;
use crate::code::{RequestCode, ResetCode};
use crate::session::{Misuse, Refusal, Request};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{Fetch, FetchOk, FetchRange};
use crate::wire::name::FullTrackName;
use crate::wire::param::{GroupOrder, Parameters};
use crate::wire::property::Properties;

/// What became of the wish for a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    Yes,
    /// There is no room for one now, here or at the publishers.
    Crowded,
    /// There is nobody to ask.
    NoPublisher,
}

/// How a fill ended before its time.
pub(super) struct Failure {
    /// Whether the publisher cannot tell what is left of it.
    pub(super) is_blamed: bool,
    pub(super) refusal: Option<Refusal>,
    /// To withdraw it with, if the publisher does not know yet.
    pub(super) cancel: Option<ResetCode>,
}

impl Failure {
    /// The publisher is not asked again for what is left.
    pub(super) const BROKEN: Self = Self {
        is_blamed: true,
        refusal: None,
        cancel: None,
    };

    pub(super) const fn cancel(code: ResetCode) -> Self {
        Self {
            is_blamed: true,
            refusal: None,
            cancel: Some(code),
        }
    }
}

impl Relay {
    /// The publishers that may know what is at a position and were not asked by this FETCH in vain, the one to ask first
    /// before the others. Whoever asks is not among them.
    pub(super) fn fillers(&self, origin: Origin, at: Position) -> Vec<ConnectionId> {
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return Vec::new();
        };
        let mut publishers = self.publishers_for(&fetch.name, origin.connection);
        publishers.retain(|publisher| !fetch.has_failed(*publisher, at));
        publishers
    }

    /// The publishers of a track: those that send it, then those that announced it. § Multiple Publishers: any will do.
    pub(super) fn publishers_for(
        &self,
        name: &FullTrackName,
        asker: ConnectionId,
    ) -> Vec<ConnectionId> {
        let upstreams = self.tracks.get(name).map(|track| &track.upstreams);
        let sending = upstreams
            .into_iter()
            .flatten()
            .filter(|(_, upstream)| matches!(upstream, Upstream::Established { .. }))
            .map(|(origin, _)| origin.connection);
        let announced = self.routes.publishers_of(&name.namespace);
        let announced = announced.into_iter().map(|origin| origin.connection);
        let from_link = self.is_link(asker);
        let mut publishers: Vec<ConnectionId> = Vec::new();
        for publisher in sending.chain(announced) {
            // What is asked over a link is answered from here.
            let is_far = from_link && self.is_link(publisher);
            if publisher != asker && !is_far && !publishers.contains(&publisher) {
                publishers.push(publisher);
            }
        }
        publishers
    }

    /// A fill that tells, or told, where this range ends.
    pub(super) fn fill_for_end(&self, origin: Origin, wanted: Span) -> Option<FillId> {
        let fetch = self.fetching.fetches.get(&origin)?;
        let past = self.fetching.tracks.get(&fetch.name)?;
        let mut fills = past
            .fills
            .iter()
            .filter_map(|id| Some((*id, self.fetching.fills.get(id)?)));
        fills
            .find(|(_, fill)| {
                !fill.done
                    && fill.at.connection != origin.connection
                    && fill.span.from <= wanted.from
                    && wanted.to <= fill.span.to
                    && !fetch.has_failed(fill.at.connection, wanted.from)
            })
            .map(|(id, _)| id)
    }

    /// A fill that will tell of a position.
    pub(super) fn fill_at(&self, origin: Origin, at: Position) -> Option<FillId> {
        let fetch = self.fetching.fetches.get(&origin)?;
        let past = self.fetching.tracks.get(&fetch.name)?;
        past.fills.iter().copied().find(|id| {
            self.fetching.fills.get(id).is_some_and(|fill| {
                fill.covers(at)
                    && fill.at.connection != origin.connection
                    && !fetch.has_failed(fill.at.connection, at)
            })
        })
    }

    /// A FETCH waits for a fill.
    pub(super) fn join_fill(&mut self, origin: Origin, id: FillId) {
        if let Some(fill) = self.fetching.fills.get_mut(&id)
            && let Some(fetch) = self.fetching.fetches.get_mut(&origin)
        {
            fill.waiters.insert(origin);
            fetch.fills.insert(id);
            self.fetching.touched.insert(id);
        }
    }

    /// Asks for a span at the first of these publishers that takes the request.
    pub(super) fn start_fill(
        &mut self,
        now: Time,
        origin: Origin,
        span: Span,
        publishers: &[ConnectionId],
    ) -> Started {
        if publishers.is_empty() {
            return Started::NoPublisher;
        }
        let Some(fetch) = self.fetching.fetches.get(&origin) else {
            return Started::NoPublisher;
        };
        let (name, order) = (fetch.name.clone(), fetch.order);
        if !self.has_room_for_fill(now, &name) {
            self.fetching.crowded.insert(origin);
            return Started::Crowded;
        }
        let most_spans = self.settings.limits.max_fill_spans;
        let mut is_blocked = false;
        for publisher in publishers {
            match self.request_fill(now, *publisher, &name, span, order) {
                Ok(request) => {
                    let at = Origin {
                        connection: *publisher,
                        request,
                    };
                    self.enter_fill(now, origin, at, &name, span, order);
                    return Started::Yes;
                }
                Err(Misuse::Blocked) => is_blocked = true,
                Err(misuse) => {
                    debug!("{publisher}: cannot be asked for {name}: {misuse}");
                    if let Some(fetch) = self.fetching.fetches.get_mut(&origin) {
                        fetch.fail(*publisher, span, most_spans);
                    }
                }
            }
        }
        if is_blocked {
            self.fetching.crowded.insert(origin);
            return Started::Crowded;
        }
        Started::NoPublisher
    }

    fn request_fill(
        &mut self,
        now: Time,
        publisher: ConnectionId,
        name: &FullTrackName,
        span: Span,
        order: GroupOrder,
    ) -> Result<RequestId, Misuse> {
        let session = self
            .publisher
            .peers
            .session(publisher)
            .ok_or(Misuse::Closed)?;
        let request = |end| {
            Request::Fetch(Fetch {
                request_id: RequestId(0),
                range: FetchRange::Standalone {
                    track: name.clone(),
                    start: span.from.location(),
                    end,
                },
                parameters: Parameters {
                    group_order: Some(order),
                    subscriber_priority: Some(UPSTREAM_PRIORITY),
                    ..Parameters::default()
                },
            })
        };
        match session.request(now, request(wire_end(span.from, span.to))) {
            // An end that no object of the publisher's can have.
            Err(Misuse::NotExpressible(_)) => {
                let end = Location::new((1 << 62) - 1, 0);
                session.request(now, request(end))
            }
            outcome => outcome,
        }
    }

    fn enter_fill(
        &mut self,
        now: Time,
        origin: Origin,
        at: Origin,
        name: &FullTrackName,
        span: Span,
        order: GroupOrder,
    ) {
        let deadline = now + self.settings.limits.answer_timeout;
        let fetching = &mut self.fetching;
        let id = FillId(fetching.next_fill);
        fetching.next_fill += 1;
        let past = fetching.open(name);
        past.fills.insert(id);
        let track = past.id;
        let fill = Fill {
            name: name.clone(),
            track,
            span,
            order,
            rest: Rest::new(span, order),
            at,
            done: false,
            end: None,
            ended: false,
            deadline: Some(deadline),
            heard: now,
            presumed: Vec::new(),
            partial: None,
            ahead: Ahead::default(),
            waiters: std::collections::BTreeSet::new(),
            paused: false,
        };
        debug!("{}: asked for {span:?} of {name}", at.connection);
        fetching.fills.insert(id, fill);
        fetching.asked.insert(at, id);
        fetching.deadlines.insert((deadline, Due::Fill(id)));
        self.join_fill(origin, id);
    }

    /// Whether there is room for another fill, if need be in the place of one that its readers hold back.
    fn has_room_for_fill(&mut self, now: Time, name: &FullTrackName) -> bool {
        let limits = &self.settings.limits;
        let (most, most_of_track) = (limits.max_fills, limits.max_fills_per_track);
        let fetching = &self.fetching;
        let of_track = fetching.tracks.get(name).map(|past| &past.fills);
        let is_idle = |id: &&FillId| fetching.fills.get(id).is_some_and(Fill::is_idle);
        let victim = if of_track.is_some_and(|fills| fills.len() >= most_of_track) {
            of_track.into_iter().flatten().find(is_idle).copied()
        } else if fetching.fills.len() >= most {
            fetching.fills.keys().find(is_idle).copied()
        } else {
            return true;
        };
        if let Some(victim) = victim {
            self.drop_fill(now, victim, ResetCode::Cancelled);
        }
        victim.is_some()
    }

    /// Whether a request is one of the fills'.
    pub(in crate::relay) fn is_fill(&self, at: Origin) -> bool {
        self.fetching.asked.contains_key(&at)
    }

    /// FETCH_OK for a fill.
    pub(in crate::relay) fn fill_granted(&mut self, now: Time, at: Origin, ok: FetchOk) {
        let Some(&id) = self.fetching.asked.get(&at) else {
            return;
        };
        let draft = self.publisher.peers.session(at.connection);
        let draft = draft.and_then(|session| session.draft());
        let fetching = &mut self.fetching;
        let Some(fill) = fetching.fills.get_mut(&id) else {
            return;
        };
        fill.heard = now;
        if let Some(deadline) = fill.deadline.take() {
            fetching.deadlines.remove(&(deadline, Due::Fill(id)));
        }
        let told = end_of_range(ok.end);
        let end = told.min(fill.span.to).max(fill.span.from);
        fill.end = Some(end);
        fill.rest.clip(end);
        let (track, name, span) = (fill.track, fill.name.clone(), fill.span);
        let presumed = std::mem::take(&mut fill.presumed);
        let ended = fill.ended;
        let is_live = self
            .tracks
            .get(&name)
            .is_some_and(|track| track.live.is_some());
        if let Some(draft) = draft
            && !is_live
        {
            // In memory of their own, since they stay.
            let bytes = bytes::Bytes::copy_from_slice(ok.properties.bytes());
            let properties = Properties::from_bytes(bytes, ok.properties.integers());
            fetching.cache.describe(track, properties, draft);
        }
        let last = end.previous().filter(|_| end < span.to && span.from < end);
        if let Some(last) = last
            && !end.is_group_start()
        {
            fetching.cache.reach(track, last.location());
        }
        for span in presumed {
            let span = span.intersection(Span::new(Position::START, end));
            self.mark_absent(now, id, span, Evidence::Inferred);
        }
        let is_last = ok.end_of_track && end == told;
        if is_last {
            let beyond = Span::new(end, Position::END);
            self.mark_absent(now, id, beyond, Evidence::Stated);
        }
        self.tell_end(now, id, end, is_last);
        if ended {
            self.fill_complete(now, id);
        }
    }

    /// Where a fill's range ends is known: FETCHes that waited for that are answered.
    fn tell_end(&mut self, now: Time, id: FillId, end: Position, is_last: bool) {
        let Some(fill) = self.fetching.fills.get(&id) else {
            return;
        };
        let (span, publisher) = (fill.span, fill.at.connection);
        let most = self.settings.limits.max_fill_spans;
        for origin in fill.waiters.clone() {
            let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
                continue;
            };
            match fetch.phase {
                Phase::Asking(from) if span.from <= from && fetch.end <= span.to => {
                    let end = if end < span.to { end } else { fetch.end };
                    self.grant(now, origin, end, is_last);
                }
                Phase::Asking(_) => {}
                Phase::Serving => fetch.fail(publisher, Span::new(end, span.to), most),
            }
            self.fetching.ready.insert(origin);
        }
    }

    /// A publisher refused a fill.
    pub(in crate::relay) fn fill_refused(&mut self, now: Time, at: Origin, refusal: &Refusal) {
        let Some(&id) = self.fetching.asked.get(&at) else {
            return;
        };
        let code = refusal.code;
        let reason = refusal.reason.escape_ascii();
        debug!("{}: FETCH refused: {code} ({reason})", at.connection);
        // A redirect is for us, not for those who asked us.
        let passed_on = if code == RequestCode::Redirect {
            no_such_track()
        } else {
            refusal.clone()
        };
        if code == RequestCode::UnsupportedExtension {
            self.refuse_readers(now, id, &passed_on);
        }
        let failure = Failure {
            refusal: Some(passed_on),
            ..Failure::BROKEN
        };
        self.fill_failed(now, id, failure);
    }

    /// The track has a property without which it must not be processed, and which is not known: whoever waits for a fill
    /// of it is refused, or broken off (§ Mandatory Track Properties).
    fn refuse_readers(&mut self, now: Time, id: FillId, refusal: &Refusal) {
        let waiters = self
            .fetching
            .fills
            .get(&id)
            .map(|fill| fill.waiters.clone());
        for origin in waiters.into_iter().flatten() {
            let fetch = self.fetching.fetches.get(&origin);
            if fetch.is_some_and(super::Fetch::is_serving) {
                self.break_fetch(now, origin, ResetCode::InternalError);
            } else {
                self.refuse_fetch(now, origin, refusal.clone());
            }
        }
    }

    /// A publisher does not answer.
    pub(super) fn fill_unanswered(&mut self, now: Time, id: FillId) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        fill.deadline = None;
        let (publisher, name) = (fill.at.connection, fill.name.clone());
        let who = self.describe(publisher);
        self.journal.info(
            now,
            Some(publisher),
            format_args!("{who} did not answer a FETCH of {name}"),
        );
        let refusal = Refusal::new(RequestCode::Timeout, "the publisher did not answer");
        let failure = Failure {
            refusal: Some(refusal),
            ..Failure::cancel(ResetCode::Cancelled)
        };
        self.fill_failed(now, id, failure);
    }

    /// A fill of ours was ended by its publisher, or with it. False if it is none.
    pub(super) fn fill_broken(&mut self, now: Time, at: Origin) -> bool {
        let Some(&id) = self.fetching.asked.get(&at) else {
            return false;
        };
        self.fill_failed(now, id, Failure::BROKEN);
        true
    }

    /// The track of a fill, if a request is one.
    pub(in crate::relay) fn track_of_fill(&self, at: Origin) -> Option<FullTrackName> {
        let id = self.fetching.asked.get(&at)?;
        Some(self.fetching.fills.get(id)?.name.clone())
    }

    /// A fill ends before it is complete: those who wait ask elsewhere for the rest.
    pub(super) fn fill_failed(&mut self, now: Time, id: FillId, failure: Failure) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        if fill.done {
            return;
        }
        let (at, left) = (fill.at, fill.rest.finish());
        let end = fill.end;
        let most = self.settings.limits.max_fill_spans;
        for origin in fill.waiters.clone() {
            let Some(fetch) = self.fetching.fetches.get_mut(&origin) else {
                continue;
            };
            if failure.is_blamed {
                let each = left.iter();
                each.for_each(|span| fetch.fail(at.connection, *span, most));
            }
            if end.is_none() && failure.refusal.is_some() {
                fetch.refusal.clone_from(&failure.refusal);
            }
        }
        self.settle_fill(id);
        if let Some(code) = failure.cancel {
            self.cancel(now, at, code);
        }
    }

    /// A fill is over; what it brought stays until it was read.
    pub(super) fn settle_fill(&mut self, id: FillId) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        fill.done = true;
        fill.partial = None;
        self.fetching.asked.remove(&fill.at);
        if let Some(deadline) = fill.deadline.take() {
            self.fetching.deadlines.remove(&(deadline, Due::Fill(id)));
        }
        self.fetching.touched.insert(id);
        self.wake_waiters(id);
    }

    pub(super) fn wake_waiters(&mut self, id: FillId) {
        if let Some(fill) = self.fetching.fills.get(&id) {
            self.fetching.ready.extend(fill.waiters.iter().copied());
        }
    }

    /// A publisher takes requests again.
    pub(in crate::relay) fn retry_fills(&mut self) {
        let crowded = std::mem::take(&mut self.fetching.crowded);
        self.fetching.ready.extend(crowded);
    }

    /// Forgets a fill, withdrawing it if it runs. Whoever waited for it looks again.
    pub(super) fn drop_fill(&mut self, now: Time, id: FillId, code: ResetCode) {
        self.wake_waiters(id);
        let Some(fill) = self.fetching.fills.remove(&id) else {
            return;
        };
        let fetching = &mut self.fetching;
        for group in fill.ahead.pinned() {
            fetching.cache.unpin(fill.track, group);
        }
        if let Some(deadline) = fill.deadline {
            fetching.deadlines.remove(&(deadline, Due::Fill(id)));
        }
        for origin in &fill.waiters {
            if let Some(fetch) = fetching.fetches.get_mut(origin) {
                fetch.fills.remove(&id);
            }
        }
        fetching.touched.remove(&id);
        if let Some(past) = fetching.tracks.get_mut(&fill.name) {
            past.fills.remove(&id);
        }
        fetching.close_if_idle(&fill.name);
        if fetching.asked.remove(&fill.at).is_some() {
            self.cancel(now, fill.at, code);
        }
        self.retry_fills();
    }

    /// Lets go of what was read, of fills that nobody waits for, and holds back those that are too far ahead.
    pub(super) fn trim_fills(&mut self, now: Time) {
        while let Some(id) = self.fetching.touched.pop_first() {
            self.trim_fill(now, id);
        }
    }

    fn trim_fill(&mut self, now: Time, id: FillId) {
        let fetching = &mut self.fetching;
        let Some(fill) = fetching.fills.get_mut(&id) else {
            return;
        };
        let fetches = &mut fetching.fetches;
        let span = fill.span;
        fill.waiters.retain(|origin| {
            let Some(fetch) = fetches.get_mut(origin) else {
                return false;
            };
            let waits = fetch.rest.meets(span);
            if !waits {
                fetch.fills.remove(&id);
            }
            waits
        });
        while let Some(front) = fill.ahead.front() {
            let front = Position::of(front);
            let has_read = |origin| {
                let fetch = fetches.get(origin);
                fetch.is_some_and(|fetch| !fetch.rest.contains(front))
            };
            if !fill.waiters.iter().any(has_read) && !fill.waiters.is_empty() {
                break;
            }
            if let Some(group) = fill.ahead.pop() {
                fetching.cache.unpin(fill.track, group);
            }
        }
        if fill.waiters.is_empty() || fill.done && fill.ahead.is_empty() {
            return self.drop_fill(now, id, ResetCode::Cancelled);
        }
        let most = self.settings.limits.max_fetch_ahead;
        let (is_ahead, at) = (fill.ahead.bytes > most, fill.at);
        if fill.done || is_ahead == fill.paused || fill.paused && fill.ahead.bytes > most / 2 {
            return;
        }
        fill.paused = is_ahead;
        if let Some(session) = self.publisher.peers.session(at.connection) {
            if is_ahead {
                session.pause_fetch(at.request);
            } else {
                session.resume_fetch(at.request);
            }
        }
    }
}
